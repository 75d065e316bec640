"""The promotion gate: is a candidate better than Production, or is that noise? Pure: numbers in, verdict out.

Two questions, by how the candidate came about. A *new recipe* must prove a gain: more than the margin, and above
zero with 95% confidence. A *refresh* (the same recipe on other rows) must prove no loss: with 95% confidence not
worse by the margin, its recorded predictions reproduced. Either way no slice of the rows may be clearly worse.
"""

from __future__ import annotations

import math
from typing import Literal

from mlspine.core.late import special
from mlspine.core.types import Struct
from mlspine.stats.paired import Gain

Mode = Literal["new recipe", "refresh"]
Status = Literal["PASSED", "REFUSED", "NOT_ESTIMABLE", "PRODUCTION_ITSELF"]

MARGIN = 0.02  # F1: absolute; error of numbers: share of Production's
SLICE_LOSS = 0.05
SLICE_ROWS = 50
CONFIDENCE = 0.95
SHOWN_SLICES = 3
NAMES = {"f1": "F1", "macro_f1": "macro F1", "mae": "mean absolute error"}


class Slice(Struct, frozen=True, kw_only=True):
    """One part of the rows, such as "city = Oslo", and the gain there."""

    name: str
    gain: Gain


class Comparison(Struct, frozen=True, kw_only=True):
    """What was measured. rows_from: "labelled log rows" or the file; excluded: rows one of the two had seen.

    unproven: why it cannot be shown that neither has seen the rows, "" when it is shown. same_release: the
    candidate is Production's own release. reproduced of recorded: the candidate's recorded predictions.
    """

    model: str
    candidate: int
    production: int
    gain: Gain
    slices: tuple[Slice, ...] = ()
    rows_from: str = ""
    excluded: int = 0
    unproven: str = ""
    same_release: bool = False
    recorded: int = 0
    reproduced: int = 0


class Verdict(Struct, frozen=True, kw_only=True):
    """What the gate says, with everything it stands on. needed: rows that would decide, 0 where more would not."""

    status: Status
    mode: Mode
    margin: float
    bar: str
    comparison: Comparison
    slices_judged: int
    worse: tuple[Slice, ...]
    needed: int
    paragraph: str

    @property
    def passed(self) -> bool:
        return self.status == "PASSED"


def judge(comparison: Comparison, mode: Mode) -> Verdict:
    """The verdict on one comparison. Whoever asks acts on it: nothing is moved here."""
    worse = _worse_slices(comparison.slices)
    status, needed, why = _decide(comparison, mode, worse)
    return Verdict(
        status=status,
        mode=mode,
        margin=MARGIN,
        bar=_bar(comparison.gain, mode),
        comparison=comparison,
        slices_judged=len(_judged(comparison.slices)),
        worse=worse,
        needed=needed,
        paragraph=" ".join([_headline(comparison, status), *why, *_basis(comparison, status)]),
    )


def _decide(comparison: Comparison, mode: Mode, worse: tuple[Slice, ...]) -> tuple[Status, int, list[str]]:
    gain = comparison.gain
    if comparison.same_release:
        return "PRODUCTION_ITSELF", 0, ["It is the release that is in Production: there is nothing to compare."]
    if gain.interval is None:
        return "NOT_ESTIMABLE", gain.needed, _not_estimable(gain)
    if gain.differing == 0:
        same = f"It gives the same answer as Production to each of {gain.rows:,} rows."
        return "PRODUCTION_ITSELF", 0, [same]
    problems = [*_broken(comparison), *_against(gain, mode), *_told_slices(worse)]
    if problems:
        return "REFUSED", _rows_to_decide(gain, mode), [_measured(gain), *problems]
    return "PASSED", 0, [_measured(gain), _met(gain, mode)]


# ---------------------------------------------------------------- the bars


def _against(gain: Gain, mode: Mode) -> list[str]:
    """Why the gain does not do, in words; nothing when it does."""
    assert gain.interval is not None
    value, bound = gain.interval.value, gain.interval.lo
    if mode == "refresh":
        if bound > -MARGIN:
            return []
        if value <= -MARGIN:
            return [f"A refresh may not be worse by {_size(gain, MARGIN)} or more, and it is."]
        more = _rows_to_decide(gain, mode)
        return [
            f"A refresh must be shown not to be worse by {_size(gain, MARGIN)}; on these rows it may be"
            f" by {_size(gain, -bound)}.{_would_decide(more)}"
        ]
    if bound <= 0.0 < value:
        more = _rows_to_decide(gain, mode)
        return [f"A gain of this size is within noise on {gain.rows:,} rows.{_would_decide(more)}"]
    if value <= MARGIN:
        return [f"A new recipe must gain more than {_size(gain, MARGIN)}."]
    return []


def _met(gain: Gain, mode: Mode) -> str:
    if mode == "refresh":
        return f"As a refresh it had to be shown not to be worse by {_size(gain, MARGIN)}, and it is."
    return f"As a new recipe it had to gain more than {_size(gain, MARGIN)}, above zero with 95% confidence."


def _bar(gain: Gain, mode: Mode) -> str:
    kind = "relative" if gain.relative else "absolute"
    if mode == "refresh":
        return f"lower 95% bound of the gain in {NAMES.get(gain.metric, gain.metric)} above -{MARGIN} ({kind})"
    return f"gain in {NAMES.get(gain.metric, gain.metric)} above {MARGIN} ({kind}) and its lower 95% bound above 0"


def _rows_to_decide(gain: Gain, mode: Mode) -> int:
    """Rows on which a gain of this size would clear its bar; 0 where more rows would not help."""
    if gain.interval is None or gain.interval.lo >= gain.interval.value:
        return 0
    value, spread = gain.interval.value, gain.interval.value - gain.interval.lo
    room = value + MARGIN if mode == "refresh" else value
    if room <= 0.0 or (mode == "new recipe" and value <= MARGIN) or spread <= room:
        return 0
    return math.ceil(gain.rows * (spread / room) ** 2)


# ---------------------------------------------------------------- slices


def _judged(slices: tuple[Slice, ...]) -> list[Slice]:
    return [each for each in slices if each.gain.rows >= SLICE_ROWS and each.gain.interval is not None]


def _worse_slices(slices: tuple[Slice, ...]) -> tuple[Slice, ...]:
    """Slices that lose more than SLICE_LOSS, and surely some; the confidence is shared by all (Bonferroni)."""
    judged = _judged(slices)
    z = float(special.ndtri(1.0 - (1.0 - CONFIDENCE) / max(len(judged), 1)))
    worse = [each for each in judged if (at := _value(each)) < -SLICE_LOSS and at + z * each.gain.error < 0.0]
    return tuple(sorted(worse, key=_value))


def _value(part: Slice) -> float:
    return part.gain.interval.value if part.gain.interval else 0.0


# ---------------------------------------------------------------- words


def _headline(comparison: Comparison, status: Status) -> str:
    name = f"{comparison.model}:{comparison.candidate}"
    return {
        "PASSED": f"{name} passes the gate against version {comparison.production}.",
        "REFUSED": f"{name} does not pass the gate against version {comparison.production}.",
        "NOT_ESTIMABLE": f"{name} against version {comparison.production}: NOT ESTIMABLE.",
        "PRODUCTION_ITSELF": f"{name} is Production itself.",
    }[status]


def _measured(gain: Gain) -> str:
    assert gain.interval is not None
    metric, kind = NAMES.get(gain.metric, gain.metric), "of Production's error" if gain.relative else "absolute"
    sign = "lower" if gain.relative else "higher"
    value, lo, hi = gain.interval.value, gain.interval.lo, gain.interval.hi
    if value < 0:
        sign, value, lo, hi = ("higher" if gain.relative else "lower"), -value, -hi, -lo
    shown = [f"{each:.1%}" if gain.relative else f"{each:.4f}" for each in (value, lo, hi)]
    return (
        f"On {gain.rows:,} rows its {metric} is {gain.candidate:.4g} against {gain.production:.4g}:"
        f" {shown[0]} {sign} ({kind}; 90% interval {shown[1]} to {shown[2]}, whose end nearer to a loss is the"
        " one-sided 95% bound)."
    )


def _not_estimable(gain: Gain) -> list[str]:
    told = [f"{gain.reason[:1].upper()}{gain.reason[1:]}."]
    return [*told, f"About {gain.needed:,} labelled rows are needed."] if gain.needed > gain.rows else told


def _broken(comparison: Comparison) -> list[str]:
    if comparison.reproduced == comparison.recorded:
        return []
    return [f"It reproduces only {comparison.reproduced} of {comparison.recorded} predictions recorded at ship."]


def _told_slices(worse: tuple[Slice, ...]) -> list[str]:
    if not worse:
        return []
    shown = "; ".join(
        f"{each.name} ({_size(each.gain, -_value(each))} worse on {each.gain.rows:,} rows)"
        for each in worse[:SHOWN_SLICES]
    )
    more = f" and {len(worse) - SHOWN_SLICES} more" if len(worse) > SHOWN_SLICES else ""
    return [f"It is clearly worse in parts of the rows: {shown}{more}."]


def _basis(comparison: Comparison, status: Status) -> list[str]:
    """Which rows these are, and how it is known that neither model has seen them."""
    if status == "PRODUCTION_ITSELF" and comparison.same_release:
        return []
    told = f"The rows: {comparison.rows_from}" if comparison.rows_from else ""
    if comparison.excluded:
        told += f", less {comparison.excluded:,} that one of the two was fitted on"
    told = f"{told}." if told else ""
    doubt = f"That neither was fitted on them is not proved: {comparison.unproven}." if comparison.unproven else ""
    return [each for each in (told, doubt) if each]


def _would_decide(rows: int) -> str:
    return f" About {rows:,} rows would decide." if rows else ""


def _size(gain: Gain, amount: float) -> str:
    return f"{amount:.1%}" if gain.relative else f"{amount:.3g}"
