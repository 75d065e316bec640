from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mlspine.core.plan import LogSettings, Revision
from mlspine.deployment.endpoint import live_since, next_number, placement_after, rollback_target, trail


def history(*steps: str) -> list[Revision]:
    """ "serve 1", "promote 2", "rollback": revisions as the service would append them."""
    revisions: list[Revision] = []
    for step in steps:
        cause, _, number = step.partition(" ")
        target = rollback_target(revisions)
        version = int(number) if number else (target.version if target else 0)
        revisions.append(
            Revision(
                endpoint="churn",
                number=next_number(revisions),
                version=version,
                release_hash=f"hash{version}" if version else "",
                cause=cause,  # type: ignore[arg-type]
                log=LogSettings(),
                created_at_ms=len(revisions),
                actor="ada",
                rolled_back_from=revisions[-1].version if cause == "rollback" else 0,
            )
        )
    return revisions


def versions(*steps: str) -> list[int]:
    return [revision.version for revision in history(*steps)]


def test_rollback_returns_to_the_version_before() -> None:
    assert versions("serve 1", "promote 2", "rollback") == [1, 2, 1]


def test_a_second_rollback_goes_further_back() -> None:
    assert versions("serve 1", "promote 2", "promote 3", "rollback", "rollback") == [1, 2, 3, 2, 1]


def test_rollback_never_returns_to_a_release_left_behind_by_a_rollback() -> None:
    assert versions("serve 1", "promote 2", "rollback", "rollback") == [1, 2, 1, 0]


def test_rolling_back_the_first_release_leaves_cannot_answer() -> None:
    assert rollback_target(history("serve 1")) is None
    assert versions("serve 1", "rollback") == [1, 0]


def test_a_promotion_after_a_rollback_can_be_rolled_back_again() -> None:
    assert versions("serve 1", "promote 2", "rollback", "promote 3", "rollback") == [1, 2, 1, 3, 1]


def test_promoting_again_what_was_rolled_back_is_a_step_forward() -> None:
    assert versions("serve 1", "promote 2", "rollback", "promote 2", "rollback") == [1, 2, 1, 2, 1]


def test_a_change_of_settings_is_no_step() -> None:
    revisions = history("serve 1", "promote 2", "serve 2")
    target = rollback_target(revisions)
    assert target is not None
    assert target.version == 1


def test_what_is_changed_beside_the_live_version_is_no_step() -> None:
    revisions = history("serve 1", "promote 2", "traffic 2", "guards 2", "traffic 2")
    target = rollback_target(revisions)
    assert target is not None
    assert target.version == 1
    assert trail(revisions)[-1] is revisions[-1]
    assert live_since(revisions) is revisions[1]
    assert versions("serve 1", "traffic 1", "promote 2", "guards 2", "rollback", "rollback") == [1, 1, 2, 2, 1, 0]


def test_a_rollback_restores_what_was_last_set_beside_its_release() -> None:
    revisions = history("serve 1", "guards 1", "promote 2", "traffic 2")
    assert rollback_target(revisions) is revisions[1]


def test_guards_declared_while_nothing_can_answer_are_no_way_back() -> None:
    revisions = history("serve 1", "rollback", "guards 0")
    assert trail(revisions) == []
    assert rollback_target([*revisions, *history("promote 2")]) is None


def test_two_native_crashes_move_a_release_to_a_worker() -> None:
    assert [placement_after(crashes) for crashes in (0, 1, 2, 3)] == ["auto", "auto", "worker", "worker"]


steps = st.lists(
    st.one_of(st.integers(1, 4).map(lambda version: f"promote {version}"), st.just("rollback")), max_size=12
)


@given(steps)
def test_the_live_revision_is_always_the_end_of_the_trail(plan: list[str]) -> None:
    revisions = history("serve 1")
    for step in plan:
        if step == "rollback" and revisions[-1].version == 0:
            continue
        revisions = history("serve 1", *[_step_of(revision) for revision in revisions[1:]], step)
        way = trail(revisions)
        assert (way[-1].version if way else 0) == revisions[-1].version
        assert all(a.version != b.version for a, b in itertools.pairwise(way))


def _step_of(revision: Revision) -> str:
    return "rollback" if revision.cause == "rollback" else f"{revision.cause} {revision.version}"
