"""Libraries that cost a tenth of a second and more to load, loaded when the first of their names is used.

Whatever starts, `mlspine up` above all, would otherwise wait for statistics and queries nobody has asked for yet.

>>> float(special.ndtri(0.5))
0.0
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class Late:
    """Stands for a module until it is needed; Python's own import lock makes the first use safe in threads."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


if TYPE_CHECKING:
    import duckdb as duckdb
    import jinja2 as jinja2
    from scipy import special as special
else:
    duckdb = Late("duckdb")
    jinja2 = Late("jinja2")
    special = Late("scipy.special")
