"""docs/speed.md shows what benchmarks/results/serving.txt says, word for word.

`python -m benchmarks.serving.page` puts the results into the page; a test says when they differ.
"""

from __future__ import annotations

import re

from benchmarks.serving.rivals import ROOT

RESULT = ROOT / "benchmarks" / "results" / "serving.txt"
PAGE = ROOT / "docs" / "speed.md"
BLOCK = re.compile(r"(<!-- results -->\n```text\n).*?(^```\n<!-- end -->)", re.DOTALL | re.MULTILINE)


def filled(page: str, results: str) -> str:
    """The page with these results; raises ValueError when it has no place for them."""
    made, count = BLOCK.subn(lambda found: found[1] + results.rstrip("\n") + "\n" + found[2], page)
    if count != 1:
        raise ValueError("the page has no place for the results")
    return made


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(), RESULT.read_text()))


if __name__ == "__main__":
    main()
