"""The sentences of a report of causes. Pure."""

from __future__ import annotations

import datetime

import msgspec

from mlspine.core.types import CauseReport, FeatureVerdict, Suspect
from mlspine.stats.influence import Credit, Influence

CYCLE_DAYS = 2.0  # of log before a daily cycle can be told from a step


def suspicion(
    verdict: FeatureVerdict, credit: Credit, influence: Influence | None, output: str, *, days_of_log: float
) -> str:
    """Why one column is suspected: what changed, what it made of the answers, and what goes with it."""
    said = [verdict.why]
    if influence is not None:
        way = "lower" if influence.shift > 0 else "higher"
        said.append(
            f"with its old shares back, mean {output} would be {abs(influence.shift):.3g} {way}; answers change by"
            f" {influence.moved:.3g} on average, {influence.noise:.2g} by chance"
        )
    if credit.explains:
        listed = ", ".join(credit.explains[:4]) + (", ..." if len(credit.explains) > 4 else "")
        said.append(f"explains most of the change of {listed}")
    if 0 < days_of_log < CYCLE_DAYS:
        said.append("less than two days of log: a daily cycle would look like an onset")
    return "; ".join(said)


def answer(report: CauseReport, *, beyond_chance: bool) -> CauseReport:
    """The report with its sentence."""
    return msgspec.structs.replace(report, says=_sentence(report, beyond_chance))


def _sentence(report: CauseReport, beyond_chance: bool) -> str:
    moved = f"mean {report.output} {report.before:.3g} -> {report.now:.3g}"
    said = []
    if not beyond_chance or not report.suspects:
        said.append(f"{moved}; no column changed beyond chance")
    else:
        first = report.suspects[0]
        said.append(f"{first.name} is the likeliest cause ({first.influence:.0%} of what changed the answers); {moved}")
        if first.onset_at_ms:
            said.append(f"since {when(first)}")
    if report.segments:
        segment = report.segments[0]
        said.append(f"look at {segment.column} = {segment.level}: {segment.why}")
    if report.interaction:
        said.append(report.interaction)
    if report.skew:
        said.append(f"served otherwise than learned: {report.skew[0]}")
    return ". ".join(f"{each[0].upper() if i else each[0]}{each[1:]}" for i, each in enumerate(said))


def when(suspect: Suspect) -> str:
    """The onset with its interval; "" when it cannot be told.

    >>> when(Suspect(name="x", influence=1.0, onset_at_ms=7_200_000, onset_lo_ms=3_600_000, onset_hi_ms=10_800_000))
    '1970-01-01 02:00 UTC (between 01:00 and 03:00)'
    """
    if not suspect.onset_at_ms:
        return ""
    at, lo, hi = (
        datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC)
        for ms in (suspect.onset_at_ms, suspect.onset_lo_ms, suspect.onset_hi_ms)
    )
    day = "" if lo.date() == hi.date() == at.date() else "%Y-%m-%d "
    return f"{at:%Y-%m-%d %H:%M} UTC (between {lo.strftime(day + '%H:%M')} and {hi.strftime(day + '%H:%M')})"
