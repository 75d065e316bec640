"""Decoding of structs made safe for threads.

msgspec works out a struct's fields at its first decoding, and shows them to other threads before it is done: a
second thread that decodes the same struct in that moment reads an unfinished table and the process dies
(seen in 2 of about 480 starts that loaded two releases side by side; msgspec 0.22, CPython 3.11).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


def learn_structs() -> int:
    """Work out every struct of mlspine that is imported by now; returns how many.

    Each process calls it once, after its imports and before its second thread.
    """
    count = 0
    for kind in _below(msgspec.Struct):
        if kind.__module__.startswith("mlspine."):
            # Some hold arrays, which only a decoder with a hook can read; the table is built all the same.
            msgspec.json.Decoder(kind, dec_hook=lambda kind, value: value)
            count += 1
    return count


def _below(kind: type) -> Iterator[type]:
    each: type
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
