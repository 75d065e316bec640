"""A process that answers and ingests until it is killed, started as a module with FOLDER and ROUND.

Every request id is written to `FOLDER/answered-ROUND` once its rows are in the spool.
"""

from __future__ import annotations

import itertools
import sys
import threading
from pathlib import Path

from mlspine.predictions import ingest, segment
from tests.unit.predictions.conftest import BASE_MS, HOUR_MS, RELEASE, Log, sample

PATHS = ("live", "live", "candidate", "rule")
CANDIDATE = "c" * 64


def main(folder: Path, round_: str) -> None:
    # Small parts and early merges: many moments at which a kill could hurt.
    ingest.MAX_ROWS = 40
    segment.MERGE_FILES = 4
    log = Log(folder)
    log.writer._rotate_bytes = 20_000
    threading.Thread(target=answer, args=(log, folder / f"answered-{round_}"), daemon=True).start()
    while True:
        log.predictions.ingest()
        log.predictions.housekeep()


def answer(log: Log, told: Path) -> None:
    with told.open("a") as file:
        for n in itertools.count():
            rows, at_ms, path = sample(1 + n % 7, n), BASE_MS + n % 3 * HOUR_MS, PATHS[n % len(PATHS)]
            request_id = log.answer(rows, at_ms=at_ms, path=path, release=CANDIDATE if path == "candidate" else RELEASE)
            log.answer(rows, at_ms=at_ms, path="shadow", release=CANDIDATE, request_id=request_id)
            file.write(f"{request_id} {1 + n % 7}\n")
            file.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
