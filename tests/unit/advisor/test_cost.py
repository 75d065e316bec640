from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from mlspine.advisor import store
from mlspine.advisor.cost import Managed, Mark, break_even, divide
from mlspine.advisor.gather import day
from mlspine.core.plan import ProcessState, Spent
from mlspine.serving.meter import process_cpu_s

from .world import DAY_MS, MARIA, NOW_MS, World


def state(cpu_s: float, *spent: Spent, **rest: Any) -> ProcessState:
    """A serving process as it says of itself, started at 0."""
    return ProcessState(
        process="inference-0",
        pid=1,
        started_at_ms=0,
        plan=1,
        ready=True,
        endpoints={},
        cpu_s=cpu_s,
        spent=spent,
        **rest,
    )


def spent(release: str, *, requests: int, calls_s: float, endpoint: str = "churn") -> Spent:
    return Spent(endpoint=endpoint, release_hash=release, requests=requests, rows=requests * 2, calls_s=calls_s)


def test_a_release_has_its_calls_and_requests_share_the_rest() -> None:
    done = divide(
        None, state(10.0, spent("a", requests=300, calls_s=3.0), spent("b", requests=100, calls_s=1.0)), 60_000
    )
    assert [(each.release_hash, each.cpu_s, each.calls_s) for each in done.shares] == [("a", 7.5, 3.0), ("b", 2.5, 1.0)]
    assert done.idle_cpu_s == 0.0
    assert done.up_s == 60.0


def test_shares_and_idle_add_up_to_what_the_process_used_whatever_the_wall_says() -> None:
    preempted = state(2.0, spent("a", requests=10, calls_s=3.0), spent("b", requests=10, calls_s=1.0))
    done = divide(None, preempted, 60_000)
    assert sum(each.cpu_s for each in done.shares) + done.idle_cpu_s == pytest.approx(2.0)
    assert [each.cpu_s for each in done.shares] == pytest.approx([1.5, 0.5])


def test_what_is_used_while_nothing_is_asked_is_learned_and_kept_apart() -> None:
    quiet = divide(None, state(6.0), 60_000)
    assert (quiet.shares, quiet.idle_cpu_s) == ((), 6.0)
    busy = divide(quiet.mark, state(16.0, spent("a", requests=5, calls_s=1.0)), 120_000)
    assert busy.idle_cpu_s == pytest.approx(6.0)
    assert busy.shares[0].cpu_s == pytest.approx(4.0)


def test_only_what_came_since_the_last_look_counts_and_a_restart_begins_anew() -> None:
    first = divide(None, state(10.0, spent("a", requests=100, calls_s=5.0)), 60_000)
    second = divide(first.mark, state(13.0, spent("a", requests=110, calls_s=6.0)), 120_000)
    assert second.shares[0].requests == 10
    assert second.shares[0].cpu_s == pytest.approx(3.0)
    again = ProcessState(
        process="inference-0",
        pid=2,
        started_at_ms=130_000,
        plan=1,
        ready=True,
        endpoints={},
        cpu_s=2.0,
        spent=(spent("a", requests=4, calls_s=0.5),),
    )
    third = divide(second.mark, again, 140_000)
    assert (third.shares[0].requests, third.up_s) == (4, 10.0)
    assert third.shares[0].cpu_s == pytest.approx(2.0)


def test_a_release_in_a_worker_has_that_process_own_time() -> None:
    worker: dict[str, Any] = {"worker_cpu_s": {"a": 8.0}, "workers": {"a": 77}}
    done = divide(None, state(1.0, spent("a", requests=10, calls_s=0.0), **worker), 60_000)
    assert done.shares[0].cpu_s == pytest.approx(9.0)
    assert done.shares[0].calls_s == pytest.approx(8.0)
    restarted: dict[str, Any] = {"worker_cpu_s": {"a": 0.5}, "workers": {"a": 78}}
    later = divide(done.mark, state(1.0, spent("a", requests=11, calls_s=0.0), **restarted), 120_000)
    assert later.shares[0].calls_s == pytest.approx(0.5)


def test_a_clock_that_went_back_offers_nothing() -> None:
    assert divide(Mark(started_at_ms=0, at_ms=90_000), state(1.0), 60_000).up_s == 0.0


def test_a_process_is_read_as_it_counts_itself() -> None:
    sum(range(3_000_000))  # something to count
    assert process_cpu_s(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)
    assert process_cpu_s(2**22 + 1) == 0.0


def test_an_hourly_price_above_the_own_machine_is_dearer_at_any_traffic() -> None:
    managed = Managed(per_hour=0.2, per_million=1.0)
    text = break_even(managed, own_per_month=60.0, endpoints=1, rows_per_month=1e6, currency="USD")
    assert text.endswith("managed is dearer at any traffic")
    assert break_even(Managed(), own_per_month=60.0, endpoints=1, rows_per_month=1e6, currency="USD") == ""


def test_a_real_process_is_metered_per_release_to_the_last_second_and_over_restarts(
    make_world: Callable[..., World],
) -> None:
    world = make_world("[cost]\nper_cpu_hour = 3.6\nmanaged_per_million = 5.0\n")
    world.now_ms = int(time.time() * 1000)  # up time is counted against the process' own clock
    first = world.ship("tumour", owner="maria@example.org")
    second = world.ship("tumour", C=0.5, owner="maria@example.org")
    world.workspace.deployment.serve("tumour:1", actor=MARIA)
    for _ in range(20):
        world.post("tumour")
    world.workspace.deployment.promote("tumour", 2, actor=MARIA)
    for _ in range(10):
        world.post("tumour")
    world.workspace.advisor.meter()
    (before,) = world.workspace.processes.observe()
    world.workspace.processes.remove()
    world.workspace.deployment.restore()
    world.post("tumour")
    world.now_ms += 60_000

    cost = world.workspace.advisor.cost("tumour")

    (after,) = world.workspace.processes.observe()
    assert after.pid != before.pid
    found = {each.release_hash: each for each in cost.releases}
    assert (found[first.release_hash].version, found[first.release_hash].requests) == (1, 20)
    assert (found[second.release_hash].version, found[second.release_hash].requests) == (2, 11)
    # All CPU time of both processes, within what they used between being metered and being asked here.
    assert cost.cpu_s_used == pytest.approx(before.cpu_s + after.cpu_s, abs=0.5)
    assert all(0 < each.calls_s < each.cpu_s for each in cost.releases)
    assert cost.money == pytest.approx(sum(each.cpu_s for each in cost.releases) / 1000)
    assert cost.idle_money == pytest.approx((cost.cpu_s_offered - cost.cpu_s_used) / 1000)
    assert "managed" in cost.break_even
    world.now_ms += 40 * DAY_MS
    assert world.workspace.advisor.cost().releases == ()


def test_costs_go_after_four_hundred_days(make_world: Callable[..., World]) -> None:
    world = make_world()
    world.now_ms = NOW_MS - 401 * DAY_MS
    with world.workspace.db.write() as tx:
        share = divide(None, state(1.0, spent("a", requests=1, calls_s=0.5)), 60_000).shares[0]
        store.add_spent(tx, day(world.now_ms), share)
        store.add_spent(tx, day(NOW_MS), share)
    world.now_ms = NOW_MS
    world.workspace.advisor.note()
    assert [each.requests for each in store.spent(world.workspace.db, from_day="")] == [1]


def test_the_cpus_of_a_machine_are_offered_once_however_many_processes_use_them(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSPINE_SERVING__PROCESSES", "2")
    world = make_world()
    world.now_ms = int(time.time() * 1000)
    world.ship("tumour", owner="maria@example.org")
    world.workspace.deployment.serve("tumour:1", actor=MARIA)
    one, other = world.workspace.processes.observe()
    world.now_ms = max(one.started_at_ms, other.started_at_ms) + 60_000

    cost = world.workspace.advisor.cost()

    assert cost.up_s == pytest.approx(60.0 + abs(one.started_at_ms - other.started_at_ms) / 1000)
    assert cost.cpu_s_offered == pytest.approx(cost.up_s * one.cpus)
    assert cost.cpu_s_used > max(one.cpu_s, other.cpu_s)
