"""What is measured of two releases beyond their counts: how far apart they are, and what labels say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlspine.core.columns import to_jsonable_rows
from mlspine.core.errors import Invalid, MlspineError, Unavailable
from mlspine.core.types import Metric, PerformanceReport, Release
from mlspine.monitoring.performance import tolerance_of
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Deployer
from mlspine.registry.release import read_recorded, read_release
from mlspine.registry.service import Registry
from mlspine.rollouts.apart import apart, order_says, taken
from mlspine.rollouts.deciding import LEVEL, Evidence
from mlspine.rollouts.store import Rollout
from mlspine.stats import sequential

QUALITY_EVERY_MS = 60_000
LABELS_TO_COMPARE = 100


class Beyond:
    """Asks the loaded releases and monitoring. most: the mean disagreement that is taken at most."""

    def __init__(
        self,
        *,
        registry: Registry,
        deployer: Deployer,
        monitoring: Monitoring,
        clock: Callable[[], int],
        most: float,
    ) -> None:
        self._registry = registry
        self._deployer = deployer
        self._monitoring = monitoring
        self._clock = clock
        self._most = most
        self._quality: dict[str, tuple[int, Evidence | None]] = {}

    def measured(self, rollout: Rollout) -> Rollout:
        """The roll-out with its bound, as soon as both releases can be asked their recorded rows."""
        if rollout.bound >= 0 or not rollout.against:
            return rollout
        try:
            found = self._apart(rollout)
        except Unavailable:
            return rollout  # not loaded yet, or busy: at the next look
        except Invalid:
            # They take different rows: nothing is compared on them, and what is asked along fails there too.
            return msgspec.structs.replace(rollout, bound=self._most)
        return msgspec.structs.replace(rollout, bound=taken(found, self._most), agreement=found.agreement)

    def others(self, rollout: Rollout) -> tuple[Evidence, ...]:
        """What recorded rows and labels say."""
        quality = self._of_labels(rollout)
        return (order_says(rollout.agreement), *((quality,) if quality else ()))

    # ------------------------------------------------------------ inside

    def _apart(self, rollout: Rollout) -> Any:
        older, newer = (self._release(each) for each in (rollout.against_hash, rollout.release_hash))
        releases = [older] if older[1].signature.inputs != newer[1].signature.inputs else [older, newer]
        rows: list[dict[str, Any]] = []
        for path, release in releases:
            rows += to_jsonable_rows(read_recorded(path, release)[0], release.signature.inputs)
        if not rows:
            raise Invalid("no rows were recorded")
        asked = [self._deployer.ask(each, rows) for each in (rollout.against_hash, rollout.release_hash)]
        return apart(asked[0], asked[1], older[1].signature, newer[1].signature)

    def _release(self, release_hash: str) -> tuple[Path, Release]:
        path = Path(self._registry.by_hash(release_hash).path)
        return path, read_release(path)

    def _of_labels(self, rollout: Rollout) -> Evidence | None:
        now = self._clock()
        at_ms, known = self._quality.get(rollout.id, (-QUALITY_EVERY_MS, None))
        if now - at_ms >= QUALITY_EVERY_MS:
            try:
                known = quality_says(self._monitoring.quality(rollout.endpoint), rollout)
            except MlspineError:
                known = None  # monitoring raises an alert of its own about it
            self._quality[rollout.id] = now, known
        return known


def quality_says(reports: list[PerformanceReport], rollout: Rollout) -> Evidence | None:
    """The newer release's measured quality against the older one's, valid at every look; None before enough labels."""
    newest = {each.release_hash: each for each in reports}
    pair = newest.get(rollout.against_hash), newest.get(rollout.release_hash)
    if pair[0] is None or pair[1] is None:
        return None
    older = _primary(pair[0])
    newer = next((each for each in pair[1].metrics if older is not None and each.name == older.name), None)
    if older is None or newer is None or older.interval is None or newer.interval is None:
        return None
    if min(older.rows, newer.rows) < LABELS_TO_COMPARE:
        return None
    limit = tolerance_of(older.name, older.interval.value)
    change = sequential.difference(newer.interval, older.interval, scale=2 * limit, level=LEVEL)
    loss = -change.value if older.higher_is_better else change.value
    certain = change.hi < 0 if older.higher_is_better else change.lo > 0
    return Evidence(
        metric="quality",
        older=older.interval.value,
        newer=newer.interval.value,
        against=certain and loss >= limit,
        says=f"{newer.name} {newer.interval.value:.3f} on {newer.rows:,} labelled rows, {older.interval.value:.3f} on"
        f" {older.rows:,} of the older release (tolerance {limit:.3g})",
    )


def _primary(report: PerformanceReport) -> Metric | None:
    name = report.baseline.name if report.baseline is not None else ""
    known = [each for each in report.metrics if each.interval is not None]
    return next((each for each in known if each.name == name), known[0] if known else None)
