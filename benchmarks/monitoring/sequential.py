"""Is a quality alert true when somebody looks after every label? Null streams, power, and months that really fell.

Streams: labels come one by one and the figure so far is compared with a baseline of 2,000 rows after each of them.
Nothing has changed in a null stream, so every alarm is false; in the others quality fell by so much. The level is 5% of
all looks together, both sides. `peeked z` is the fixed-n interval of the difference looked at the same way. The
intervals are those of the product: `python -m benchmarks.monitoring.sequential check` compares them look by look.

Months: a model is fitted on the first months of a real table, its baseline is the next one (temporal), and labels of
each later month come day by day; the product judges after every day. Truth is an independent unpaired DeLong test.

    python -m benchmarks.monitoring.sequential streams [--streams 10000]
    python -m benchmarks.monitoring.sequential months
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaincinv, expit, logit, ndtri

from mlspine.stats.interval import delong_auc
from mlspine.stats.sequential import EXACT_BELOW, log_e_value, radius

Array = np.ndarray[Any, np.dtype[Any]]

LEVEL = 0.95
Z = float(ndtri(0.975))
BASELINE_ROWS = 2_000
RARER, ROWS = 30, 100  # as monitoring.performance asks for
SEED = 20_261


class Looks(NamedTuple):
    """What one stream shows at each look: whether each rule says worse, or better; shape (looks,) each."""

    worse: dict[str, Array]
    better: dict[str, Array]


class Case(NamedTuple):
    """A kind of stream: its name, labels per stream, tolerance, and how one is drawn for a fall of so much."""

    name: str
    labels: int
    tolerance: float
    falls: tuple[float, ...]
    draw: Callable[[np.random.Generator, float, int], Looks]


# ---------------------------------------------------------------- area under the curve


def auc_path(positive: Array, score: Array) -> tuple[Array, Array, Array, Array]:
    """AUC and DeLong's variance after each label, and the counts of both classes; each shape (n,).

    From the kernel of all pairs, cumulated along the order of arrival: an independent rendering of DeLong.
    """
    up, down = score[positive], score[~positive]
    kernel = (up[:, None] > down[None, :]) + 0.5 * (up[:, None] == down[None, :])
    per_up, per_down = np.cumsum(kernel, axis=1), np.cumsum(kernel, axis=0)
    total, up_squares, down_squares = (
        np.cumsum(per_up, axis=0),
        np.cumsum(per_up**2, axis=0),
        np.cumsum(per_down**2, axis=1),
    )
    m, n = np.cumsum(positive), np.cumsum(~positive)
    at = np.maximum(m - 1, 0), np.maximum(n - 1, 0)
    with np.errstate(all="ignore"):
        auc = total[at] / (m * n)
        above = (up_squares[at] / n**2 - m * auc**2) / (m - 1)
        below = (down_squares[at] / m**2 - n * auc**2) / (n - 1)
        variance = np.maximum(above, 0) / m + np.maximum(below, 0) / n
    enough = (m > 1) & (n > 1)
    return np.where(enough, auc, np.nan), np.where(enough, variance, np.nan), m, n


def auc_limits(auc: Array, variance: Array, smaller: Array) -> tuple[Array, Array]:
    """95% limits as `stats.interval.delong_auc` forms them."""
    se = np.sqrt(variance)
    with np.errstate(all="ignore"):
        half, middle = Z * se / (auc * (1 - auc)), logit(auc)
        room = 1.0 - 0.025 ** (1.0 / np.maximum(smaller, 1))
    plain = (auc > 0) & (auc < 1) & (se >= 1e-12)
    lo = np.where(plain, expit(middle - half), np.maximum(0.0, auc - room))
    return lo, np.where(plain, expit(middle + half), np.minimum(1.0, auc + room))


def auc_stream(separation: float, share: float) -> Callable[[np.random.Generator, float, int], Looks]:
    """Normal scores whose classes lie `separation` apart; a fall takes the separation down to that AUC less so much."""

    def draw(rng: np.random.Generator, fall: float, labels: int) -> Looks:
        base = delong_auc(*_scored(rng, separation, share, BASELINE_ROWS))
        lower = float(np.sqrt(2) * ndtri(_area(separation) - fall))
        auc, variance, m, n = auc_path(*_scored(rng, lower, share, labels))
        lo, hi = auc_limits(auc, variance, np.minimum(m, n))
        use = (np.minimum(m, n) >= RARER) & (m + n >= ROWS)
        change = auc - base.value
        up = ((hi - auc) ** 2 + (base.value - base.lo) ** 2) / Z**2
        down = ((auc - lo) ** 2 + (base.hi - base.value) ** 2) / Z**2
        return _looks(change, up, down, use, scale=0.04)

    return draw


def _scored(rng: np.random.Generator, separation: float, share: float, n: int) -> tuple[Array, Array]:
    positive = rng.random(n) < share
    return positive, rng.normal(size=n) + separation * positive


def _area(separation: float) -> float:
    from scipy.special import ndtr

    return float(ndtr(separation / np.sqrt(2)))


# ---------------------------------------------------------------- shares and means


def share_stream(right: float) -> Callable[[np.random.Generator, float, int], Looks]:
    """Right answers at a rate; few wrong ones are judged by the exact e-process, as the product does."""

    def draw(rng: np.random.Generator, fall: float, labels: int) -> Looks:
        base, base_lo, base_hi = _wilson(rng.binomial(BASELINE_ROWS, right), np.array(float(BASELINE_ROWS)))
        hits, n = np.cumsum(rng.random(labels) < right - fall), np.arange(1.0, labels + 1)
        share, lo, hi = _wilson(hits, n)
        up = ((hi - share) ** 2 + (base - base_lo) ** 2) / Z**2
        down = ((share - lo) ** 2 + (base_hi - base) ** 2) / Z**2
        found = _looks(share - base, up, down, np.ones(labels, bool), scale=0.04)
        few = np.minimum(hits, n - hits) < EXACT_BELOW
        worse, better = _exact(hits, n, base, base_lo, base_hi)
        found.worse["mlspine"][few], found.better["mlspine"][few] = worse[few], better[few]
        return found

    return draw


def _exact(hits: Array, n: Array, base: Array, base_lo: Array, base_hi: Array) -> tuple[Array, Array]:
    """Whether the e-process rejects every share within the baseline's limits; each side spends half of the error."""
    half = (1 + LEVEL) / 2
    wider = float(ndtri((1 + half) / 2)) / Z
    low, high = base - (base - base_lo) * wider, np.minimum(base + (base_hi - base) * wider, 1 - 1e-12)
    bound = -np.log(1 - half)
    share = hits / n
    worse = (share < low) & (log_e_value(hits, n, low) >= bound)
    return worse, (share > high) & (log_e_value(hits, n, high) >= bound)


def _wilson(hits: Array, n: Array) -> tuple[Array, Array, Array]:
    share = hits / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return share, np.maximum(0.0, centre - half), np.minimum(1.0, centre + half)


def error_stream(rng: np.random.Generator, fall: float, labels: int) -> Looks:
    """Mean absolute error of skew (exponential) errors of mean 1; a fall is a rise of the mean by so much."""
    base = rng.exponential(size=BASELINE_ROWS)
    errors = rng.exponential(1.0 + fall, size=labels)
    n = np.arange(1.0, labels + 1)
    mean = np.cumsum(errors) / n
    with np.errstate(all="ignore"):
        variance = (np.cumsum(errors**2) - n * mean**2) / (n - 1) / n + base.var(ddof=1) / BASELINE_ROWS
    found = _looks(mean - base.mean(), variance, variance, n >= ROWS, scale=0.1)
    return Looks(found.better, found.worse)  # higher is worse


# ---------------------------------------------------------------- streams


CASES = (
    Case("AUC 0.856, 30% positive", 600, 0.02, (0.02, 0.05, 0.1), auc_stream(1.5, 0.3)),
    Case("AUC 0.961, 8% positive", 600, 0.02, (0.02, 0.05, 0.1), auc_stream(2.5, 0.08)),
    Case("accuracy 0.90", 5_000, 0.02, (0.02, 0.04, 0.08), share_stream(0.9)),
    Case("accuracy 0.995 (rare errors)", 5_000, 0.02, (0.01, 0.02, 0.04), share_stream(0.995)),
    Case("mean absolute error 1 (skew)", 5_000, 0.05, (0.05, 0.1, 0.2), error_stream),
)


def _looks(change: Array, up: Array, down: Array, use: Array, *, scale: float) -> Looks:
    with np.errstate(invalid="ignore"):
        halves = {
            "peeked z": (Z * np.sqrt(up), Z * np.sqrt(down)),
            "mlspine": (radius(up, scale=scale, level=LEVEL), radius(down, scale=scale, level=LEVEL)),
        }
        return Looks(
            {rule: use & (change + high < 0) for rule, (high, _) in halves.items()},
            {rule: use & (change - low > 0) for rule, (_, low) in halves.items()},
        )


def streams(count: int, only: int | None, report: Callable[[str], None]) -> None:
    """The table of all cases, or of one: false alarms of null streams, then power."""
    report(f"{'':<38}{'rule':<10}{'called (either side)':<28}{'called worse':<28}median labels")
    for number, case in enumerate(CASES):
        if only is not None and number != only:
            continue
        for fall in (0.0, *case.falls):
            trials = count if fall == 0 else max(1, count // 10)
            rng = np.random.default_rng([SEED, number, int(fall * 1000)])
            either: dict[str, int] = {}
            worse: dict[str, list[float]] = {}
            for _ in range(trials):
                found = case.draw(rng, fall, case.labels)
                for rule, flags in found.worse.items():
                    first = int(np.argmax(flags)) + 1 if flags.any() else np.inf
                    worse.setdefault(rule, []).append(first)
                    either[rule] = either.get(rule, 0) + bool(flags.any() or found.better[rule].any())
            label = f"{case.name}, {case.labels:,}" if fall == 0 else f"   worse by {fall}"
            for rule, firsts in worse.items():
                hits = sum(first < np.inf for first in firsts)
                middle = np.median(firsts)
                report(
                    f"{label:<38}{rule:<10}{_share(either[rule], trials):<28}{_share(hits, trials):<28}"
                    + (f"{middle:,.0f}" if middle < np.inf else "-")
                )
                label = ""


def _share(hits: int, n: int) -> str:
    lo = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, 0.025))
    hi = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 0.975))
    return f"{hits / n:6.2%} [{lo:.2%}, {hi:.2%}]"


def check(report: Callable[[str], None]) -> None:
    """The vectorised intervals against those of the product, at some looks of some streams."""
    from mlspine.stats import sequential
    from mlspine.stats.interval import wilson

    rng = np.random.default_rng(SEED)
    worst = 0.0
    for _ in range(20):
        positive, score = _scored(rng, 1.5, 0.3, 400)
        auc, variance, m, n = auc_path(positive, score)
        lo, hi = auc_limits(auc, variance, np.minimum(m, n))
        base = wilson(900, 1000)
        for look in (60, 150, 399):
            a = delong_auc(positive[: look + 1], score[: look + 1])
            worst = max(worst, abs(a.value - auc[look]), abs(a.lo - lo[look]), abs(a.hi - hi[look]))
            d = sequential.difference(a, base, scale=0.04, level=LEVEL)
            up = ((hi[look] - auc[look]) ** 2 + (base.value - base.lo) ** 2) / Z**2
            worst = max(worst, abs(d.hi - d.value - float(radius(up, scale=0.04, level=LEVEL))))
    report(f"largest difference to the product's intervals, 60 looks: {worst:.1e}")
    assert worst < 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", choices=("streams", "months", "check"))
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--case", type=int, choices=range(len(CASES)), help="only this kind of stream")
    given = parser.parse_args()
    began = time.monotonic()
    print(f"python -m benchmarks.monitoring.sequential {given.part}", flush=True)

    def report(line: str) -> None:
        print(line, flush=True)

    if given.part == "streams":
        check(report)
        report(
            f"{given.streams} null streams of each kind (a tenth with a fall), looked at after every label, level 5%"
        )
        streams(given.streams, given.case, report)
    elif given.part == "check":
        check(report)
    else:
        from benchmarks.monitoring.sequential_months import study

        study(report)
    print(f"took {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
