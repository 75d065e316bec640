"""How far does chance reach? The effect size that unchanged data exceed only so often.

Inverse of the tails in `stats/distance.py`, from what a report keeps of an effect: its noise, which is its
expected size when nothing changed. All of them shrink with the square root of 1/n + 1/m over a window of n and
a reference of m rows, which is what `rows_until` turns round.

Sources: as in `stats/distance.py`.
"""

from __future__ import annotations

import math

from mlspine.core.late import special
from mlspine.stats import distance
from mlspine.stats.distance import Floats

_HALVINGS = 40
_LEAST = 1e-12  # of 1/rows: beyond any window


def difference_reach(noise: float, level: float) -> float:
    """The |difference| of two means or rates that chance exceeds with probability `level`.

    >>> round(difference_reach(float(distance.difference_noise(1.0)), 0.05), 3)
    1.96
    """
    return noise / float(distance.difference_noise(1.0)) * -float(special.ndtri(level / 2))


def js_reach(noise: float, bins: int, level: float) -> float:
    """The Jensen-Shannon distance over `bins` that chance exceeds with probability `level`.

    >>> reach = js_reach(float(distance.js_noise(10, 1 / 500)), 10, 0.001)
    >>> round(float(distance.js_p(reach, 10, 1 / 500)), 6)
    0.001
    """
    freedom = max(bins - 1, 1)
    return noise * math.sqrt(float(special.chdtri(freedom, level)) / freedom)


def tv_reach(noise: float, shares: Floats, level: float, *, v: float) -> float:
    """The total variation that chance exceeds with probability `level` at most.

    shares: of the reference; rare levels may be pooled, the noise of all of them makes up for it.

    >>> import numpy as np
    >>> p = np.array([0.5, 0.3, 0.2])
    >>> reach = tv_reach(float(distance.tv_noise(p, 1 / 500)), p, 0.001, v=1 / 500)
    >>> round(float(distance.tv_p(reach, p, 1 / 500)), 6)
    0.001
    """
    pooled = float(distance.tv_noise(shares, v))
    if pooled <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if float(distance.tv_p(middle, shares, v)) > level:
            low = middle
        else:
            high = middle
    return high * max(1.0, noise / pooled)


def rows_until(value: float, reach: float, *, rows: int, reference_rows: int = 0) -> int:
    """Rows of a window in which an effect of this size would be beyond chance, when chance reaches `reach` now.

    reference_rows: 0 for many more than the window has. Returns 0 when no window is large enough, since the
    reference itself is too small.

    >>> rows_until(0.1, 0.2, rows=500), rows_until(0.1, 0.2, rows=500, reference_rows=1000)
    (2000, 0)
    """
    if value <= 0:
        return 0
    of_reference = 1 / reference_rows if reference_rows else 0.0
    needed = (1 / rows + of_reference) * (value / reach) ** 2 - of_reference
    return math.ceil(round(1 / needed, 6)) if needed > _LEAST else 0
