"""How often the promotion gate errs: candidates that are no better, truly better, or worse, on rows of each size.

Answers are drawn, not fitted, so the true gain is known without any rule of ours: each row gets a truth, both
answers follow from it with a stated recall and false-positive rate, and they agree beyond chance as two models
of one problem do. A slice trial splits its rows into ten parts that are all alike.

    python benchmarks/gate.py [--trials 400] [--seed 0]
"""

from __future__ import annotations

import argparse
import platform
import time
from typing import NamedTuple

import numpy as np
import scipy

import mlspine
from mlspine.governance.promotion import Comparison, Mode, Slice, judge
from mlspine.stats.interval import wilson
from mlspine.stats.paired import paired_gain

PREVALENCE, RECALL, FALSE_POSITIVE, AGREEMENT = 0.3, 0.7, 0.1, 0.7
SIZES = (200, 1_000, 5_000, 20_000)
NUMBER_SIZES = (200, 1_000)
SLICES = 10
COMMAND = "python benchmarks/gate.py --trials {} --seed {}"


class Case(NamedTuple):
    """What is true, which mode judges it, and what passing then means."""

    label: str
    mode: Mode
    recall: float
    meaning: str


def f1(recall: float) -> float:
    """Population F1 of a model with this recall."""
    hits = PREVALENCE * recall
    return 2 * hits / (2 * hits + PREVALENCE * (1 - recall) + (1 - PREVALENCE) * FALSE_POSITIVE)


def recall_for(target: float) -> float:
    """The recall at which population F1 is `target`."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if f1(middle) < target else (low, middle)
    return low


CASES = (
    Case("equal", "new recipe", RECALL, "wrongly promoted"),
    Case("F1 better by 0.03", "new recipe", recall_for(f1(RECALL) + 0.03), "promoted"),
    Case("F1 better by 0.05", "new recipe", recall_for(f1(RECALL) + 0.05), "promoted"),
    Case("equal", "refresh", RECALL, "accepted"),
    Case("F1 worse by 0.02", "refresh", recall_for(f1(RECALL) - 0.02), "wrongly accepted"),
)


def drawn(recall: float, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, Production's answers, the candidate's: flags, shape (rows,)."""
    truth = rng.random(rows) < PREVALENCE
    one, other = rng.random(rows), rng.random(rows)
    other = np.where(rng.random(rows) < AGREEMENT, one, other)
    before = one < np.where(truth, RECALL, FALSE_POSITIVE)
    after = other < np.where(truth, recall, FALSE_POSITIVE)
    return truth.astype(int), before.astype(int), after.astype(int)


def passes(case: Case, rows: int, rng: np.random.Generator, *, slices: int = 0) -> tuple[bool, bool]:
    """Whether one drawn candidate passes, and whether a slice stood against it."""
    truth, before, after = drawn(case.recall, rows, rng)
    gain = paired_gain("binary", truth, before, after, (0, 1))
    parts = np.arange(rows) % max(slices, 1)
    judged = tuple(
        Slice(
            name=str(at),
            gain=paired_gain("binary", truth[parts == at], before[parts == at], after[parts == at], (0, 1)),
        )
        for at in range(slices)
    )
    verdict = judge(Comparison(model="m", candidate=2, production=1, gain=gain, slices=judged), case.mode)
    return verdict.passed, bool(verdict.worse)


def numbers_pass(better: float, rows: int, rng: np.random.Generator) -> bool:
    """The same for a regression with long-tailed errors: the candidate's are `better` smaller on average."""
    shared = rng.lognormal(0.0, 1.0, rows)
    before = shared * rng.lognormal(0.0, 0.3, rows)
    after = shared * rng.lognormal(0.0, 0.3, rows) * (1.0 - better)
    gain = paired_gain("regression", np.zeros(rows), before, after, ())
    return judge(Comparison(model="m", candidate=2, production=1, gain=gain), "new recipe").passed


def line(label: str, rows: int, count: int, trials: int, meaning: str) -> str:
    share = wilson(count, trials)
    return (
        f"  {label:<34} {rows:>7,} rows  {share.value:>7.1%}  [{share.lo:.1%}, {share.hi:.1%}]"
        f"  {count} of {trials} {meaning}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, trials, began = np.random.default_rng(options.seed), options.trials, time.process_time()
    print(COMMAND.format(trials, options.seed))
    print(
        f"mlspine {mlspine.__version__}, numpy {np.__version__}, scipy {scipy.__version__},"
        f" CPython {platform.python_version()}\n"
    )
    print(f"F1, Production {f1(RECALL):.3f}; share that passes, Wilson 95% interval:\n")
    for case in CASES:
        for rows in SIZES:
            count = sum(passes(case, rows, rng)[0] for _ in range(trials))
            print(line(f"{case.label}, {case.mode}", rows, count, trials, case.meaning))
    few = trials // 10
    print("\nslice guard, ten slices, all alike; share in which a slice stood against an equal candidate:\n")
    for rows in (1_000, 5_000):
        count = sum(passes(CASES[3], rows, rng, slices=SLICES)[1] for _ in range(few))
        print(line("equal, ten slices", rows, count, few, "stopped by a slice"))
    print("\nmean absolute error, long-tailed; share that passes:\n")
    for better, meaning in ((0.0, "wrongly promoted"), (0.05, "promoted")):
        for rows in NUMBER_SIZES:
            count = sum(numbers_pass(better, rows, rng) for _ in range(few * 3))
            label = f"error smaller by {better:.0%}, new recipe" if better else "equal, new recipe"
            print(line(label, rows, count, few * 3, meaning))
    print(f"\n{time.process_time() - began:.0f} s CPU")


if __name__ == "__main__":
    main()
