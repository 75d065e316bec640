"""Whose rows: a group whose change the rest does not share, alone or in a pair; more rows of one kind; or nobody."""

from __future__ import annotations

import numpy as np

from mlspine.core.types import Segment
from mlspine.monitoring.cause_rows import Logged
from mlspine.monitoring.cause_segments import segments


def logged(rng: np.random.Generator, rows: int = 3000, *, web: float = 0.3) -> Logged:
    """Rows of three callers and four places, scores that differ by place."""
    place = rng.choice(np.array(["a", "b", "c", "d"], dtype=object), rows)
    caller = rng.choice(np.array(["app", "batch", "web"], dtype=object), rows, p=[0.9 - web, 0.1, web])
    score = 0.4 + 0.1 * (place == "b") + 0.2 * (caller == "web") + 0.1 * rng.normal(size=rows)
    blank = np.empty(rows, dtype=object)
    inputs = {"place": place, "flag": rng.random(rows) < 0.5, "x": rng.normal(size=rows)}
    return Logged(tuple(map(str, range(rows))), np.arange(rows), inputs, score, blank, caller, blank)


def found(before: Logged, now: Logged) -> list[Segment]:
    likeness = {"x": (before.inputs["x"], now.inputs["x"])}
    return list(
        segments(before, now, output_before=before.score, output_now=now.score, likeness=likeness, output="score")
    )


def test_one_caller_whose_column_moved_is_named_and_why() -> None:
    rng = np.random.default_rng(0)
    before, now = logged(rng), logged(rng)
    now.inputs["x"][now.caller == "batch"] += 2.0
    first, *rest = found(before, now)
    assert (first.column, first.level, rest) == ("_caller", "batch", [])
    assert first.why == "x changed in these rows, not in the others"


def test_a_pair_is_named_where_neither_of_its_groups_is() -> None:
    rng = np.random.default_rng(1)
    before, now = logged(rng, 6000), logged(rng, 6000)
    place, flag = now.inputs["place"], now.inputs["flag"]
    # Up where both hold, down where one does: neither group changes in the mean.
    sign = np.where(place == "a", 1.0, -1 / 3) * np.where(flag, 1.0, -1.0)
    now.score[:] = now.score + 0.3 * sign
    said = found(before, now)
    assert said
    assert all(" and " in each.column for each in said)
    assert {("flag and place", "True and a"), ("flag and place", "False and a")} & {
        (each.column, each.level) for each in said
    }


def test_more_rows_of_one_caller_are_told_with_their_part_of_the_change() -> None:
    rng = np.random.default_rng(2)
    before, now = logged(rng), logged(rng, web=0.6)
    web = next(each for each in found(before, now) if each.level == "web")
    assert (web.column, web.share_now > 0.55, web.share_before < 0.35) == ("_caller", True, True)
    assert abs(web.mix) > 5 * abs(web.rate)
    assert web.why.startswith("more of these rows: +")


def test_a_change_that_all_share_and_no_change_name_nobody() -> None:
    named = 0
    for seed in range(20):
        rng = np.random.default_rng([seed, 3])
        before, now = logged(rng, 1500), logged(rng, 1500)
        if seed % 2:
            now.score[:] = now.score + 0.2
            now.inputs["x"][:] = now.inputs["x"] + 1.0
        named += bool(found(before, now))
    assert named <= 1


def test_without_earlier_rows_nothing_is_said() -> None:
    rng = np.random.default_rng(4)
    nothing = logged(rng).where(np.zeros(3000, dtype=bool))
    assert found(nothing, logged(rng)) == []
