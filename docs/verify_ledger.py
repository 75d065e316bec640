"""Verify an exported mlspine ledger with the standard library alone.

    mlspine ledger --json > ledger.json
    python verify_ledger.py ledger.json [HASH-OF-THE-NEWEST-LINE]

Reads JSON lines or one JSON array, oldest line first. The optional hash, noted down from some line at an
earlier time, must be that of a line in the file: then nothing up to there was changed, added or cut off
either. Prints the first line that is not as it was written and ends with 1; ends with 0 when all are.
"""

# ruff: noqa: T201
import hashlib
import json
import sys


def first_bad(lines):
    """(number, why) of the first line that does not continue the chain, or None."""
    previous = "0" * 64
    for number, line in enumerate(lines, start=1):
        content = {key: value for key, value in line.items() if key != "entry_hash"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        if line["seq"] != number:
            return number, "a line is missing or out of order"
        if line["previous_hash"] != previous:
            return number, "it does not continue the line before"
        if line["entry_hash"] != hashlib.sha256(text.encode("ascii")).hexdigest():
            return number, "its content was changed"
        previous = line["entry_hash"]
    return None


def main(path, known_hash=None):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    lines = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines()]
    bad = first_bad(lines)
    if bad is not None:
        print(f"BROKEN at line {bad[0]}: {bad[1]}")
        return 1
    if known_hash and known_hash not in {line["entry_hash"] for line in lines}:
        print(f"BROKEN: no line has the hash {known_hash}; lines were cut off or rewritten")
        return 1
    print(f"intact: {len(lines)} lines" + (f", newest {lines[-1]['entry_hash']}" if lines else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
