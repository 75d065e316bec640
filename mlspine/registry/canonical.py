"""One pickle for one value: the same bytes in whichever process, and from whichever copy, it was written.

A pickle writes a text once and refers back to it where the *same object* comes again. Which equal texts are one
object depends on what a process imported and on whether a value was loaded or built, so two pickles of equal
models differ. Here every text that was written before is referred to, whoever held it.
"""

from __future__ import annotations

import pickle
import pickletools
import struct

_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_GETS = ("BINGET", "LONG_BINGET")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT", "GET")  # of older protocols


def canonical(data: bytes) -> bytes:
    """The pickle with each text in it once, and without frames, which only speed up reading from a stream.

    Takes protocol 4 or later; an older one comes back as it is.

    >>> one, other = "".join(["a", "b"]), "".join(["a", "b"])
    >>> pickle.dumps([one, one], 5) == pickle.dumps([one, other], 5)
    False
    >>> canonical(pickle.dumps([one, one], 5)) == canonical(pickle.dumps([one, other], 5))
    True
    """
    written = bytearray()
    places: list[int] = []  # memo of the pickle as given -> memo of the one written
    texts: dict[str, int] = {}
    remembered = 0
    steps = list(pickletools.genops(data))
    ends = [at or 0 for _, _, at in steps[1:]] + [len(data)]
    text: str | None = None  # written just now, or known and left to the memo step that follows
    for (step, value, at), end in zip(steps, ends, strict=True):
        if step.name in _PUTS:
            return data
        if step.name == "FRAME":
            continue
        if step.name == "MEMOIZE":
            if text is not None and text in texts:
                places.append(texts[text])
                text = None
                continue
            if text is not None:
                texts[text] = remembered
            places.append(remembered)
            remembered += 1
        elif step.name in _TEXTS and value in texts:
            written += _get(texts[value])
            text = value
            continue
        elif step.name in _GETS:
            written += _get(places[int(value or 0)])
            text = None
            continue
        written += data[at:end]
        text = value if step.name in _TEXTS else None
    return bytes(written)


def _get(place: int) -> bytes:
    return pickle.BINGET + bytes([place]) if place < 256 else pickle.LONG_BINGET + struct.pack("<I", place)
