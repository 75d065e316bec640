"""When the garbage collector runs: when few objects live, rather than whenever many were made.

Left alone it starts after so many allocations, in the middle of a quarter of a second's worth of requests that wait to
be logged, and walks through all of them: a pause of 5 to 7 ms, several times a second at full load. Right after they
were written there is next to nothing to walk through.
"""

from __future__ import annotations

import gc

MIDDLE_EVERY = 40  # calls, so about every ten seconds
ALL_EVERY = 2400  # about every ten minutes


class Tidying:
    """Collects garbage when it is told to, and not otherwise."""

    def __init__(self) -> None:
        self._calls = 0

    def begin(self) -> None:
        """What is loaded by now stays: it is not looked through any more. From here on only `tidy` collects."""
        gc.collect()
        gc.freeze()
        gc.disable()

    def tidy(self) -> None:
        """Collect the young objects; now and then the older ones too."""
        self._calls += 1
        generation = 2 if self._calls % ALL_EVERY == 0 else 1 if self._calls % MIDDLE_EVERY == 0 else 0
        gc.collect(generation)
