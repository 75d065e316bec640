"""`python -m benchmarks.serving.rivals install [NAME...]`: environments of the rivals, all of them without names."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.serving.rivals import PACKAGES, install


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["install"])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PACKAGES)}")
    options = parser.parse_args()
    unknown = set(options.names) - PACKAGES.keys()
    if unknown:
        parser.error(f"no rival named {', '.join(sorted(unknown))}; there are {', '.join(PACKAGES)}")
    failed = 0
    for name in options.names or PACKAGES:
        began = time.monotonic()
        try:
            install(name)
        except RuntimeError as exc:
            failed = 1
            print(exc)
        else:
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
