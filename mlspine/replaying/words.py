"""What a replay says in one sentence. Pure."""

from __future__ import annotations

from mlspine.core.types import Interval
from mlspine.replaying.found import Replay, Reproduced, Right, Slice

SURE = 0.05


def verdict(found: Replay) -> str:
    """How often the two disagree, where most, and who was right.

    Everything in it is in the document too; the sentence holds for the rows that were answered again.
    """
    parts = [_disagreement(found)]
    named = [each for each in found.slices if each.named]
    if named:
        parts.append(f"most where {where(named[0])} ({share(named[0].share)} against {share(named[0].rest)} elsewhere)")
    if found.right is not None and found.right.differing:
        parts.append(who(found.right, found.a.version, found.b.version))
    text = "; ".join(parts)
    broken = [each for each in found.reproduced if each.same < each.rows]
    return f"{text}. {' '.join(not_reproduced(each) for each in broken)}".strip() if broken else text


def _disagreement(found: Replay) -> str:
    a, b, rows = found.a.version, found.b.version, f"{found.rows:,} logged rows"
    if not found.disagree:
        moved = found.shift is not None and found.shift.up + found.shift.down > 0
        same = "give the same answer to all" if moved or found.tolerance else "answer alike all"
        return (
            f"releases {a} and {b} {same} {rows}, so at most {share(found.disagreement.hi)} of such rows would differ"
        )
    what = f" by more than {found.tolerance:.3g}" if found.task == "regression" else ""
    return (
        f"releases {a} and {b} differ{what} on {found.disagree:,} of {rows}, {share(found.disagreement.value)}"
        f" [{share(found.disagreement.lo)}, {share(found.disagreement.hi)}]"
    )


def who(right: Right, a: int, b: int) -> str:
    """Who was right where they differ, as far as labels tell."""
    alone = right.a + right.b
    if not alone:
        return f"of the {right.differing:,} of them with a label neither was right in any"
    better, times = (b, right.b) if right.b > right.a else (a, right.a)
    if right.p > SURE:
        split = f"{right.a:,} to {right.b:,} labels, p {right.p:.2g}"
        return f"which of them is right more often there is not certain ({split})"
    return f"where labels tell, release {better} was right in {times:,} of {alone:,} of these (p {right.p:.1g})"


def not_reproduced(found: Reproduced) -> str:
    """That a release does not answer as the log says it did."""
    worst = f", by up to {found.worst:.3g}" if found.worst else ""
    return (
        f"But release {found.version} answers {found.rows - found.same:,} of the {found.rows:,} rows that it had"
        f" answered otherwise than the log says{worst}: what differs here is not all due to the releases."
    )


def where(each: Slice) -> str:
    """
    >>> from mlspine.stats.interval import wilson
    >>> part = Slice(column="age", level="> 60", rows=1, disagree=1, share=1.0, rest=0.0, difference=wilson(1, 1),
    ...     p=0.1, named=False)
    >>> where(part), where(Slice(**{name: getattr(part, name) for name in part.__struct_fields__} | {"level": "7"}))
    ('age > 60', 'age = 7')
    """
    ranged = each.level.startswith(("<= ", "> ")) or " to " in each.level
    return f"{each.column} {each.level}" if ranged else f"{each.column} = {each.level}"


def share(value: float) -> str:
    """
    >>> share(0.0412), share(0.00021), share(0.0), share(1.0)
    ('4.1%', '0.021%', '0%', '100%')
    """
    percent = 100 * value
    return f"{percent:.0f}%" if percent in (0, 100) else f"{percent:.3g}%" if percent >= 10 else f"{percent:.2g}%"


def bounds(interval: Interval) -> str:
    """
    >>> bounds(Interval(value=0.1, lo=0.08, hi=0.12))
    '10% [8%, 12%]'
    """
    return f"{share(interval.value)} [{share(interval.lo)}, {share(interval.hi)}]"
