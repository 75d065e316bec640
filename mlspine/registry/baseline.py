"""The baseline of a release.

Apart from `release.py`, which the serving processes read releases with: they judge nothing, and the statistics
behind a baseline would cost each of their starts a third of a second.
"""

from __future__ import annotations

from pathlib import Path

from mlspine.core.types import Release
from mlspine.registry.release import read_baseline_bytes
from mlspine.stats.baseline import Baseline, decode_baseline


def read_baseline(path: Path, release: Release) -> Baseline:
    """What live data is judged by; raises NotFound or Corrupt like every file of a release."""
    return decode_baseline(read_baseline_bytes(path, release))
