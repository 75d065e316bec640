"""The inference process with one row per model call: what batching brings is measured against it.

`python -m benchmarks.serving.unbatched` takes the arguments of `mlspine.web.inference`.
"""

from __future__ import annotations

import sys
from typing import Any

from mlspine.serving.batcher import Batcher
from mlspine.web.inference import main

_begin = Batcher.__init__


def _begin_with_one(self: Batcher, **rest: Any) -> None:
    _begin(self, **rest)
    if not hasattr(self, "_max_call_rows"):
        raise AttributeError("the limit of rows per model call is elsewhere now")
    self._max_call_rows = 1


if __name__ == "__main__":
    Batcher.__init__ = _begin_with_one  # type: ignore[method-assign]
    sys.exit(main())
