"""atheris walks through the paths of our own HTTP/1.1: `.venv-soak/bin/python -m tests.soak.walk SECONDS [CORPUS]`."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path


def main(seconds: int, corpus: str = "") -> None:
    """Walk for so long; atheris ends the process, with another status than 0 when a check failed."""
    import atheris  # in an environment of its own, see `make soak`

    with atheris.instrument_imports(include=["mlspine.web.http1"]):
        from tests.soak.mutating import SEEDS, parts
        from tests.soak.parser import check

    def one_input(data: bytes) -> None:
        """The last four bytes say how the rest is cut."""
        raw = data[:-4]
        check(raw, parts(raw, random.Random(data[-4:])))

    with tempfile.TemporaryDirectory() as folder:
        place = Path(corpus or folder)
        for number, raw in enumerate(SEEDS):
            (place / f"seed-{number}").write_bytes(raw + b"cuts")
        words = [sys.argv[0], str(place), f"-max_total_time={seconds}", "-max_len=4096", "-print_final_stats=1"]
        atheris.Setup([*words, "-rss_limit_mb=2048", f"-artifact_prefix={folder}/"], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:3])
