"""Which steps a chart shows, and what is remembered of long histories."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.tracking.sampling import StepMemory, sample

STEPS = st.sets(st.integers(-1000, 1000)).map(sorted)
AMOUNTS = st.integers(1, 50)


@given(steps=STEPS, amount=AMOUNTS)
def test_a_sample_is_bounded_ascending_and_holds_both_ends(steps: list[int], amount: int) -> None:
    chosen = sample(steps, amount)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(steps)
    assert len(chosen) <= amount
    assert chosen[-1:] == steps[-1:]
    if amount > 1:
        assert chosen[:1] == steps[:1]


@given(steps=STEPS, amount=AMOUNTS)
def test_few_steps_are_all_shown(steps: list[int], amount: int) -> None:
    if len(steps) <= amount:
        assert sample(steps, amount) == steps


@given(steps=STEPS, amount=AMOUNTS)
def test_gaps_between_chosen_steps_are_even_by_rank(steps: list[int], amount: int) -> None:
    ranks = [steps.index(step) for step in sample(steps, amount)]
    gaps = [after - before for before, after in pairwise(ranks)]
    if len(steps) > amount:
        assert max(gaps[:-1], default=0) <= -(-len(steps) // amount)
        assert gaps[-1:] <= [2 * -(-len(steps) // amount)]


@given(steps=STEPS, amount=AMOUNTS, start=st.integers(-1100, 1100), end=st.integers(-1100, 1100))
def test_a_range_shows_what_sampling_the_range_alone_would(steps: list[int], amount: int, start: int, end: int) -> None:
    inside = [step for step in steps if start <= step <= end]
    assert sample(steps, amount, start=start, end=end) == sample(inside, amount)


def counting(steps: list[int]) -> tuple[Callable[[], list[int]], list[int]]:
    """How to read some steps, and a list that grows whenever they are read."""
    reads: list[int] = []

    def read() -> list[int]:
        reads.append(1)
        return steps

    return read, reads


def test_steps_are_read_again_only_when_there_are_more_points() -> None:
    memory = StepMemory()
    read, reads = counting([1, 2, 3])
    assert list(memory.steps(7, "loss", 3, read)) == [1, 2, 3]
    assert list(memory.steps(7, "loss", 3, read)) == [1, 2, 3]
    assert len(reads) == 1
    memory.steps(7, "loss", 4, read)
    memory.steps(7, "other", 3, read)
    memory.steps(8, "loss", 3, read)
    assert len(reads) == 4


def test_what_was_looked_at_longest_ago_is_forgotten_first() -> None:
    memory = StepMemory(kept=5)
    (read_a, reads_a), (read_b, reads_b) = counting([1, 2]), counting([1, 2])
    memory.steps(1, "a", 2, read_a)
    memory.steps(2, "b", 2, read_b)
    memory.steps(1, "a", 2, read_a)
    memory.steps(3, "c", 2, counting([1, 2])[0])  # six are too many: b goes
    memory.steps(1, "a", 2, read_a)
    memory.steps(2, "b", 2, read_b)
    assert (len(reads_a), len(reads_b)) == (1, 2)


@pytest.mark.parametrize("times", [1, 3])
def test_a_history_longer_than_the_memory_is_answered_and_not_kept(times: int) -> None:
    memory = StepMemory(kept=3)
    read, reads = counting([1, 2, 3, 4])
    for _ in range(times):
        assert list(memory.steps(1, "a", 4, read)) == [1, 2, 3, 4]
    assert len(reads) == times
    assert memory._held == 0
