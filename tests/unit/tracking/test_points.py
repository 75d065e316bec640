"""The latest point of each key, against a plain reading of the rule, and every point stored once."""

from __future__ import annotations

import math
import random
import sys

import pytest

from mlspine.core.errors import Invalid
from mlspine.ports import Database
from mlspine.tracking import points
from mlspine.tracking.limits import MAX_INT64
from mlspine.tracking.run import Point
from mlspine.tracking.service import Tracking

MOST = sys.float_info.max


def point(value: float, *, step: int = 0, at: int = 0, key: str = "loss") -> Point:
    return Point(key=key, value=value, timestamp_ms=at, step=step)


def rank(each: Point) -> tuple[int, int, bool, float]:
    """The rule: the greatest (step, time, value), and NaN below any number."""
    is_nan = math.isnan(each.value)
    return each.step, each.timestamp_ms, not is_nan, 0.0 if is_nan else each.value


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("at_once", [1, 60, 250])
def test_the_latest_is_the_greatest_whatever_the_order_and_the_batches(
    tracking: Tracking, seed: int, at_once: int
) -> None:
    dice = random.Random(seed)
    logged = [
        point(dice.choice([math.nan, -1.0, 0.0, 0.5, 2.0]), step=dice.randrange(4), at=dice.randrange(3), key=key)
        for key in ("a", "b/c")
        for _ in range(125)
    ]
    dice.shuffle(logged)
    run = tracking.create_run(0)
    for start in range(0, len(logged), at_once):
        tracking.log_batch(run.id, metrics=logged[start : start + at_once])
    for latest in tracking.run(run.id).metrics:
        wanted = max((each for each in logged if each.key == latest.key), key=rank)
        assert rank(latest) == rank(wanted)
        assert len(tracking.history(run.id, latest.key).points) == len(
            {rank(each) for each in logged if each.key == latest.key}
        )


def test_the_number_of_points_of_a_key_is_kept(tracking: Tracking, db: Database) -> None:
    run = tracking.create_run(0)
    no = db.read("select no from run")[0]["no"]
    for count in (3, 3, 5):
        tracking.log_batch(run.id, metrics=[point(0.0, step=step) for step in range(count)])
    assert points.count(db, no, "loss") == len(points.steps(db, no, "loss")) == 5
    assert points.count(db, no, "never logged") == 0


def test_points_are_added_once_and_told_how_many_were_new(tracking: Tracking, db: Database) -> None:
    tracking.create_run(0)
    no = db.read("select no from run")[0]["no"]
    batch = [point(0.5, step=step) for step in range(250)]
    with db.write() as tx:
        assert points.add_points(tx, no, 0, batch) == 250
        assert points.add_points(tx, no, 0, [*batch, *batch[:5], point(math.nan), point(math.nan)]) == 1


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.1 + 0.2, 0.1 + 0.2),
        (-0.0, 0.0),
        (5e-324, 5e-324),
        (MOST, MOST),
        (math.inf, MOST),
        (-math.inf, -MOST),
        (2**60, float(2**60)),
    ],
)
def test_a_value_comes_back_to_the_last_bit_and_an_infinity_as_the_greatest_number(
    tracking: Tracking, value: float, kept: float
) -> None:
    run = tracking.create_run(0)
    tracking.log_batch(run.id, metrics=[point(value)])
    assert [each.value for each in tracking.run(run.id).metrics] == [kept]
    assert [each.value for each in tracking.history(run.id, "loss").points] == [kept]


def test_steps_and_times_reach_to_both_ends_of_64_bits(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    ends = [point(0.0, step=-MAX_INT64, at=MAX_INT64), point(1.0, step=MAX_INT64, at=0)]
    tracking.log_batch(run.id, metrics=ends)
    assert tracking.run(run.id).metrics == (ends[1],)
    with pytest.raises(Invalid, match="64-bit"):
        tracking.log_batch(run.id, metrics=[point(0.0, step=MAX_INT64 + 1)])


def test_a_page_may_end_with_nan(tracking: Tracking) -> None:
    run = tracking.create_run(0)
    tracking.log_batch(run.id, metrics=[point(math.nan), point(1.0), point(2.0), point(math.nan, at=1)])
    seen = []
    after = None
    for _ in range(4):
        page = tracking.history(run.id, "loss", limit=1, after=after)
        seen += [each.value for each in page.points]
        after = page.after
    assert [str(value) for value in seen] == ["1.0", "2.0", "nan", "nan"]


def test_points_at_steps_come_by_step_and_time(tracking: Tracking, db: Database) -> None:
    run = tracking.create_run(0)
    no = db.read("select no from run")[0]["no"]
    tracking.log_batch(
        run.id, metrics=[point(0.0, step=step, at=1200 - step + at) for step in range(1200) for at in (1, 0)][:1000]
    )
    wanted = list(range(0, 500, 2))
    rows = points.at_steps(db, no, "loss", wanted)
    assert [(row["step"], row["timestamp_ms"]) for row in rows] == [
        (step, 1200 - step + at) for step in wanted for at in (0, 1)
    ]
