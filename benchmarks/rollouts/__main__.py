"""Is a canary right? Identical releases wrongly taken back, planted faults found, on simulated traffic.

Constants were chosen on seed 1; the figures are of another one. The rule is the product's, vectorised in `rules.py` by
the same formulas; `check` holds it against `rollouts.deciding.decide` look by look. Rivals: the z-test of two shares
over everything so far, looked at each time, and the exact 2x2 e-process in blocks (Turner, Ly & Grünwald 2024) at the
same level. Intervals: Clopper and Pearson, 95%.

    python -m benchmarks.rollouts [--seed 2] [--rollouts 5000] [--write]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import betaincinv

from benchmarks.rollouts import comparing, rules, worlds
from benchmarks.rollouts.rules import NEVER
from benchmarks.rollouts.worlds import World
from mlspine.rollouts.counts import MINUTE_MS, Counts, Minute
from mlspine.rollouts.deciding import CanaryPlan, decide

Array = np.ndarray[Any, np.dtype[Any]]
Report = Callable[[str], None]

RESULTS = Path(__file__).parents[1] / "results" / "rollouts.txt"
AT_ONCE = 500  # rollouts held in memory together
WITHIN = 400  # candidate requests

KINDS: dict[str, dict[str, Any]] = {
    "three steps of 10 min, 10 min, the rest": {"ends": (10, 20)},
    "three steps of 8 hours": {"ends": (480, 960)},
    "8 hours, requests by customers, 20 of them broken": {"ends": (480, 960), "units": True},
    "the same, customers not told apart": {"ends": (480, 960), "units": True, "seen_again": False},
}


def harmless(rng: np.random.Generator, count: int, report: Report) -> None:
    """Identical releases: how many are taken back."""
    report(
        f"\nIdentical releases, {count:,} rollouts of a day each: 1% to 3% of requests fail by the hour, six outages"
    )
    report("a day, 60 requests a minute. Taken back, or stopped for the share dealt:")
    report(f"{'':<52}{'mlspine':<26}{'evidence':>9}{'guard':>7}{'share':>7}  {'2x2 blocks':<12}peeked z")
    for name, kind in KINDS.items():
        found: list[rules.Returned] = []
        rival: list[float] = [0.0, 0.0]
        for _ in range(count // AT_ONCE):
            world = worlds.day(rng, AT_ONCE, **kind)
            found.append(rules.product(world))
            rival[0] += float((rules.two_by_two(world) < NEVER).sum())
            rival[1] += float((rules.pooled_z(world) < NEVER).sum())
        wrong = [int(sum((getattr(each, part) < NEVER).sum() for each in found)) for part in rules.Returned._fields]
        any_ = int(sum((each.any < NEVER).sum() for each in found))
        n = AT_ONCE * len(found)
        report(
            f"{name:<52}{share(any_, n):<26}{wrong[0]:>9,}{wrong[1]:>7,}{wrong[2]:>7,}  "
            f"{rival[0] / n:<12.2%}{rival[1] / n:.2%}"
        )


def slow(rng: np.random.Generator, count: int, report: Report) -> None:
    """Slow answers: identical releases with stalls of one arm alone, and one that is 100 ms slower."""
    world = worlds.day(rng, min(count, 1000), ends=(480, 960), base=(0.005, 0.02), bursts=False, stalls=True)
    back = _without_worst_minute(world)
    report(f"\nSlow answers, {len(back):,} rollouts of identical releases, one arm alone stalls for 5 s every 5 hours:")
    report(f"   taken back {share(int(back.sum()), len(back))}")
    found, requests, _ = _planted(rng, min(count, 1000), rate=0.98, base=0.01, per_look=100.0)
    report("   every answer of the candidate 100 ms later, above the target: seen after")
    report(
        f"   {np.median(requests):.0f} of its requests (median), {np.quantile(requests, 0.95):.0f} (95%); {found:.1%}"
    )
    report("   the product waits for a second minute of it, since one alone is no evidence")


def errors(rng: np.random.Generator, count: int, report: Report) -> None:
    """Planted errors: found within WITHIN candidate requests, and failed answers until then."""
    report(f"\n5% errors planted, candidate at 5%, looks every 5 s, {count:,} rollouts each; without the guards:")
    report(f"{'base':<8}{'requests/s':<12}{'found within 400 of its requests':<34}{'requests':<18}failed answers")
    report(f"{'':<54}{'median   95%':<18}median   95%")
    for base in (0.0, 0.001, 0.005, 0.01):
        for per_s in (2, 20, 200):
            looks = int(WITHIN / (per_s * 5 * 0.05)) + 20
            found, requests, failed = _planted(rng, count, rate=0.05, base=base, per_look=per_s * 5.0, looks=looks)
            hits = int((requests <= WITHIN).sum())
            report(
                f"{base:<8.1%}{per_s:<12}{share(hits, count):<34}"
                f"{np.median(requests):<9.0f}{np.quantile(requests, 0.95):<9.0f}"
                f"{np.median(failed):<9.0f}{np.quantile(failed, 0.95):.0f}"
            )
            assert found > 0.9


def dealt(rng: np.random.Generator, count: int, report: Report) -> None:
    """A share that is not the one dealt."""
    report("\nAnother share than dealt (5%), requests until it is called: median, 95%")
    for real in (0.01, 0.10, 0.15, 0.3):
        requests = np.arange(100, 60_000, 100)
        arm = np.cumsum(rng.binomial(100, real, (min(count, 500), len(requests))), axis=1)
        flags = np.stack(
            [rules.misdealt(arm[:, at], np.full(len(arm), float(n)), 0.05) for at, n in enumerate(requests)], axis=1
        )
        first = np.where(flags.any(1), requests[flags.argmax(1)], NEVER)
        said = (
            f"{np.median(first):,.0f}  {np.quantile(first, 0.95):,.0f}"
            if (first < NEVER).mean() > 0.95
            else "not called"
        )
        report(f"   really {real:<6.0%}{said}")


def disagreement(rng: np.random.Generator, count: int, report: Report) -> None:
    """Scores inverted in service, or at ship already, and refitted releases."""
    report(
        f"\nDisagreement on sampled requests, {count} pairs each; taken: the pair's own on 200 recorded rows + 0.1, at"
    )
    report("most 0.5. At 1 request/s and one in five asked along, a watch of 30 minutes compares 360 rows.")
    report(
        f"{'scores (sd of the logit)':<26}{'inverted in service: seen':<28}{'rows':<8}{'at ship: by order':<27}refitted"
    )
    for sharpness in (0.5, 1.0, 2.0, 4.0):
        inverted, refitted, order = [], [], 0
        for _ in range(count):
            older = comparing.scores(rng, 2_200, sharpness)
            again = comparing.refitted(rng, older, 0.3 * sharpness)
            bound = comparing.pair_bound(older, again)
            inverted.append(comparing.first_disagreement(older[200:], 1 - again[200:], bound))
            refitted.append(comparing.first_disagreement(older[200:], again[200:], bound))
            order += comparing.opposed(older[:200], 1 - again[:200])
        seen, wrong = int(sum(each <= 360 for each in inverted)), int(sum(each < NEVER for each in refitted))
        report(
            f"{sharpness:<26}{share(seen, count):<28}{np.median(inverted):<8.0f}{share(order, count):<27}"
            f"{share(wrong, count)}"
        )


def watch(rng: np.random.Generator, count: int, report: Report) -> None:
    """The watch over a switch."""
    report(
        f"\nThe watch over a switch, 30 minutes, {count} each, 1% to 3% fail by the hour, six outages a day throughout:"
    )
    report(
        f"{'requests/s':<12}{'nothing planted: taken back':<30}{'+100 ms: found':<26}{'minute':<9}"
        f"{'5% errors: found':<26}minute"
    )
    for per_s in (1, 10, 100):
        cells = []
        for fault in ("", "slow", "failures"):
            found = [comparing.watched(rng, per_minute=per_s * 60.0, fault=fault)[0] for _ in range(count)]
            hits = [each for each in found if each < NEVER]
            cells.append((share(len(hits), count), f"{np.median(hits):.0f}" if hits else "-"))
        report(f"{per_s:<12}{cells[0][0]:<30}{cells[1][0]:<26}{cells[1][1]:<9}{cells[2][0]:<26}{cells[2][1]}")


def check(rng: np.random.Generator, report: Report) -> None:
    """The vectorised rule and `decide` return the same rollouts at the same minute."""
    plan = CanaryPlan(steps=(5, 25, 50), step_s=1e9)
    same = asked = 0
    for kind in (KINDS["three steps of 8 hours"], KINDS["the same, customers not told apart"]):
        world = worlds.day(rng, 12, **kind)
        found = rules.product(world)
        for run in range(12):
            minutes = [_minute(world, run, look) for look in range(worlds.DAY)]
            end = int(min(found.any[run], worlds.DAY - 1))
            for look in sorted({max(0, end - 1), end, end // 2, end // 3}):
                asked += 1
                said = decide(
                    plan,
                    minutes[: look + 1],
                    step=minutes[look].step,
                    now_ms=look * MINUTE_MS,
                    started_at_ms=0,
                    step_at_ms=0,
                )
                same += (said.action in ("return", "invalid")) == (look >= found.any[run])
    report(f"the vectorised rule and the product's decide at {asked} looks: {same} alike")
    assert same == asked


def share(hits: int, n: int) -> str:
    """A share with its 95% interval by Clopper and Pearson."""
    lo = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, 0.025))
    hi = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 0.975))
    return f"{hits / n:.2%} [{lo:.2%}, {hi:.2%}]"


def _planted(
    rng: np.random.Generator, count: int, *, rate: float, base: float, per_look: float, looks: int = 40
) -> tuple[float, Array, Array]:
    """Share found, and per rollout the candidate's requests and failures until then (NEVER where not found)."""
    world = worlds.planted(rng, count, rate=rate, base=base, per_look=per_look, looks=looks, share=0.05)
    first = rules.product(world).evidence
    rows, at = np.arange(count), np.minimum(first, looks - 1)
    requests, failed = (np.cumsum(each[1], axis=1)[rows, at] for each in (world.requests, world.bad))
    found = first < NEVER
    return float(found.mean()), np.where(found, requests, NEVER), np.where(found, failed, failed)


def _without_worst_minute(world: World) -> Array:
    """Whether the product's rule for slow answers takes it back: with and without the candidate's worst minute."""
    (live, candidate), (bad_live, bad) = world.requests, world.bad
    worst = bad.argmax(axis=1)
    keep = np.ones(bad.shape, dtype=bool)
    keep[np.arange(len(bad)), worst] = False
    without = (live * keep, candidate * keep), (bad_live * keep, bad * keep)
    found = rules.product(world, margin=0.02).evidence < NEVER
    still = rules.product(world._replace(requests=without[0], bad=without[1], first=without[1]), margin=0.02)
    back: Array = found & (still.evidence < NEVER)
    return back


def _minute(world: World, run: int, look: int) -> Minute:
    live, candidate = (
        Counts(int(n[run, look]), int(bad[run, look]), failed_again=int(bad[run, look] - first[run, look]))
        for n, bad, first in zip(world.requests, world.bad, world.first, strict=True)
    )
    return Minute(int(world.step[look]), look * MINUTE_MS, float(world.share[look]), live, candidate)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--rollouts", type=int, default=5_000)
    parser.add_argument("--write", action="store_true", help="keep the text under benchmarks/results")
    given = parser.parse_args()
    began, lines = time.monotonic(), [f"python -m benchmarks.rollouts --seed {given.seed} --rollouts {given.rollouts}"]
    print(lines[0], flush=True)

    def report(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    rng = np.random.default_rng(given.seed)
    check(rng, report)
    harmless(rng, given.rollouts, report)
    slow(rng, given.rollouts, report)
    errors(rng, min(2_000, given.rollouts), report)
    dealt(rng, given.rollouts, report)
    disagreement(rng, 200, report)
    watch(rng, 200, report)
    report(f"\ntook {time.monotonic() - began:.0f} s")
    if given.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
