"""A small but complete story, made without playing one."""

from __future__ import annotations

import msgspec

from mlspine.advisor.advice import Advice
from mlspine.advisor.service import Advised
from mlspine.advisor.stages import Maturity
from mlspine.core.types import Interval, LedgerEntry
from mlspine.demo.figures import (
    AlertLine,
    CameBack,
    CanaryRun,
    Comparison,
    Distribution,
    DriftCell,
    FeatureDrift,
    Machine,
    Moment,
    MonthQuality,
    MonthTraffic,
    Renewal,
    Shipped,
    Story,
    SwitchUnderLoad,
    Traffic,
)

APRIL_MS, JULY_MS, AUGUST_MS = 1_364_774_400_000, 1_372_636_800_000, 1_375_315_200_000


def interval(value: float, half: float = 0.01) -> Interval:
    return Interval(value=value, lo=value - half, hi=value + half)


def quality(month: str, value: float, *, version: int = 1, labelled: int = 27_000) -> MonthQuality:
    return MonthQuality(
        month=month,
        version=version,
        predicted_rows=labelled + 500,
        labelled_rows=labelled,
        metric="auc",
        quality=interval(value),
        status="FINAL",
    )


def comparison(month: str, *, gain: float, half: float = 0.01) -> Comparison:
    return Comparison(
        month=month,
        rows=27_000,
        first=interval(0.68),
        second=interval(0.68 + gain),
        gain=interval(gain, half),
        f1=(0.2, 0.2 + gain),
        f1_gain=interval(gain, half),
    )


def renewal(version: int, verdict: str, *, at_ms: int = AUGUST_MS, paragraph: str = "On 33,329 rows.") -> Renewal:
    return Renewal(
        at_ms=at_ms,
        version=version,
        release_hash=f"{version}" * 64,
        fitted_rows=99_982,
        verdict=verdict,
        passed=verdict == "PASSED",
        metric="F1",
        candidate=0.362,
        production=0.221,
        gain=interval(0.142),
        judged_rows=33_329,
        paragraph=paragraph,
        quality=interval(0.717),
        seconds=6.0,
    )


def advised(*, name: str, settled: bool = False) -> Advised:
    """One addition, one part that is fine and one that is refused; with `settled`, nothing to add."""
    add = Advice(
        kind="add", what=f"somebody told of {name}", why=f"{name} reached nobody", do="mlspine up --notify URL"
    )
    keep = Advice(kind="keep", what="monitoring", why=f"{name} is watched")
    refused = Advice(kind="not yet", what="cluster", why=f"1 model, 2 req/s, {name}")
    return Advised(
        line=f"next: {name}.",
        next=None if settled else add,
        advice=(keep, refused) if settled else (add, keep, refused),
        maturity=Maturity(stage="1-3", level=1, target=1, missing=(), plan=""),
        plan="",
        actual="0.01 CPU-hours in 30 days",
        currency="USD",
    )


def switch(verb: str, from_version: int, to_version: int) -> SwitchUnderLoad:
    return SwitchUnderLoad(
        verb=verb,  # type: ignore[arg-type]
        from_version=from_version,
        to_version=to_version,
        requests=10_508,
        failed=0,
        requests_per_s=1_700.0,
        connections=8,
        p50_s=0.0041,
        p99_s=0.012,
        ready_s=1.4,
        effective_s=0.007,
        seen_by_callers_s=0.006,
        reproduced_rows=100,
        recorded_rows=100,
    )


def story(*, name: str = "temp", **changes: object) -> Story:
    """The story with `name` wherever a name or sentence from outside can stand."""
    made = Story(
        flights=336_776,
        shipped=(
            Shipped(
                version=1,
                release_hash="ab" * 32,
                fitted_on=name,
                fitted_rows=64_973,
                holdout=name,
                holdout_rows=12_633,
                metric="auc",
                quality=interval(0.716),
                seconds=2.5,
            ),
        ),
        renewals=(renewal(2, "REFUSED", at_ms=JULY_MS, paragraph=name), renewal(3, "PASSED", paragraph=name)),
        first_answer_s=5.1,
        moments=(
            Moment(at_ms=APRIL_MS, kind="ship", title=name, detail=name),
            Moment(at_ms=APRIL_MS + 3 * 86_400_000, kind="alert", title=f"{name} has drifted"),
            Moment(at_ms=AUGUST_MS, kind="promote", title=f"{name} promoted"),
        ),
        quality=(
            quality("2013-04", 0.653),
            quality("2013-07", 0.728),
            quality("2013-08", 0.665, labelled=11_000),
            quality("2013-08", 0.712, version=3, labelled=16_000),
            quality("2013-09", 0.711, version=3),
        ),
        comparison=(comparison("2013-08", gain=0.018, half=0.02), comparison("2013-09", gain=0.037)),
        drift=(
            FeatureDrift(
                name=name,
                role="input",
                importance=0.07,
                cells=(
                    DriftCell(month="2013-04", windows=54, warned=6, severity="WARNING"),
                    DriftCell(month="2013-07", windows=54, warned=54, severity="CRITICAL"),
                ),
            ),
            FeatureDrift(
                name="score",
                role="score",
                importance=1.0,
                cells=(DriftCell(month="2013-04", windows=54, warned=0, severity="INFO"),),
            ),
        ),
        windows=108,
        windows_warned=60,
        top=Distribution(
            name=name,
            effect="js",
            value=0.93,
            noise=0.05,
            limit=0.31,
            from_at_ms=AUGUST_MS,
            to_at_ms=AUGUST_MS + 86_400_000,
            rows=520,
            bins=("<= 30", name, "> 45"),
            reference_shares=(0.3, 0.4, 0.3),
            window_shares=(0.0, 0.1, 0.9),
            why=name,
        ),
        alerts=(AlertLine(severity="CRITICAL", title=name, why=name, times=3, windows=40, open=True),),
        switches=(switch("promote", 1, 3), switch("rollback", 3, 1)),
        canary=CanaryRun(
            version=3,
            against=1,
            steps=(25, 50, 100),
            state="promoted",
            why=name,
            requests=6_000,
            by_candidate=2_400,
            failed=0,
            seconds=9.4,
        ),
        came_back=CameBack(
            version=4,
            back_to=3,
            returned=True,
            why=name,
            after_s=3.2,
            requests=3_100,
            by_broken=1_900,
            failed=0,
            answers_after=300,
        ),
        traffic=Traffic(
            flights_sent=256_001,
            requests=25_800,
            failed=0,
            rows_logged=256_001,
            labels_sent=249_400,
            labels_matched=249_400,
            one_by_one=False,
            replay_s=30.2,
            answer_p50_s=0.006,
            answer_p99_s=0.02,
            months=(MonthTraffic(month="2013-04", flights=28_353, labelled=27_587, late_share=0.28),),
        ),
        ledger=(
            LedgerEntry(
                seq=1,
                at_ms=APRIL_MS,
                actor=name,
                action="ship",
                subject=name,
                reason=name,
                facts={},
                previous_hash="0" * 64,
                entry_hash="cd" * 32,
            ),
        ),
        ledger_intact=True,
        ledger_entries=6,
        advised=advised(name=name),
        notes=(name,),
        seconds=71.0,
        seconds_by_step={"replay": 30.2},
        machine=Machine(cpus=2, system="Linux", python="3.11.7", mlspine="0.1.0", libraries={"pandas": "3.0"}),
        finished_at_ms=1_763_712_000_000,
    )
    return msgspec.structs.replace(made, **changes)
