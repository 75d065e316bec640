"""Several inference processes on one port: real ones, real callers."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlspine.backends import inference_process
from mlspine.backends.inference_process import InferenceProcess
from mlspine.backends.processes import Death, LocalProcesses
from mlspine.core.errors import MlspineError
from mlspine.core.plan import Plan, PlannedEndpoint, PlannedRelease
from tests.callers import Callers
from tests.desk import free_port
from tests.serving_harness import endpoint, make_plan, make_release
from tests.unit.serving.models import CRASH, Doubler, rows

PREDICT = "/endpoints/double/predict"
ROW = {"x0": 1.0}


class Site:
    """A folder with releases, a port, and the processes that answer on it."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self.port = free_port()
        self.deployer = LocalProcesses(folder, self._plan(processes))
        self.deaths: list[Death] = []

    def _plan(self, processes: int, *endpoints: PlannedEndpoint) -> Plan:
        return msgspec.structs.replace(make_plan(self.folder, *endpoints, port=self.port), processes=processes)

    def apply(self, processes: int, *endpoints: PlannedEndpoint) -> list[str]:
        """Who acknowledged."""
        return [word.process for word in self.deployer.apply(self._plan(processes, *endpoints))]

    def release(self, version: int, **more: Any) -> PlannedRelease:
        model = Doubler(**more)
        return make_release(self.folder, model, rows(), rows()[:, 0] + 0.5, version=version, settings={"n": version})

    def pids(self) -> dict[str, int]:
        return {state.process: state.pid for state in self.deployer.observe()}

    def supervised_until(self, told: Callable[[], bool]) -> None:
        """Supervise as the schedule does until something holds."""
        deadline = time.monotonic() + 60
        while not told():
            assert time.monotonic() < deadline, "it did not happen"
            self.deaths += self.deployer.supervise()
            time.sleep(0.05)


@pytest.fixture
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Site]]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    made: list[Site] = []

    def make(processes: int) -> Site:
        (tmp_path / "run" / "spool").mkdir(parents=True, exist_ok=True)
        made.append(Site(tmp_path, processes))
        return made[-1]

    yield make
    for site in made:
        site.deployer.remove()


def both_answer(site: Site, callers: Callers) -> None:
    """Wait until each process has answered some of the callers' requests."""
    deadline = time.monotonic() + 60
    while not all(state.endpoints.get("double", {"requests": 0})["requests"] for state in site.deployer.observe()):
        assert time.monotonic() < deadline, "one process has all the callers"
        callers.await_more(20)


def test_a_switch_is_proved_applied_and_acknowledged_in_all_and_loses_no_request(
    make_site: Callable[[int], Site],
) -> None:
    site = make_site(2)
    first, second = site.release(1), site.release(2)
    proof = site.deployer.prepare(endpoint("double", first))
    assert proof.reproduced_rows == proof.recorded_rows > 0
    assert site.apply(2, endpoint("double", first)) == ["inference-0", "inference-1"]
    assert len(set(site.pids().values())) == 2
    with Callers(site.port, PREDICT, ROW, threads=6, per_connection=20) as callers:
        both_answer(site, callers)
        planned = endpoint("double", second, warm=first, revision=2)
        site.deployer.prepare(planned)
        callers.await_more(50)
        words = site.deployer.apply(site._plan(2, planned))
        callers.await_more(50)
    assert callers.failed == []
    assert set(callers.statuses) == {200}
    assert {release for _, release in callers.releases} == {first.release_hash, second.release_hash}
    effective_ms = max(word.last_old_begun_at_ms for word in words)
    assert effective_ms > 0
    late = [at_s for at_s, release in callers.releases if release == first.release_hash]
    assert max(late) * 1000 <= max(word.applied_at_ms for word in words) + 1
    answered = sum(state.endpoints["double"]["requests"] for state in site.deployer.observe())
    assert answered == callers.answered


def test_a_killed_process_costs_its_own_connections_and_comes_back_by_the_newest_plan(
    make_site: Callable[[int], Site],
) -> None:
    site = make_site(2)
    first, second = site.release(1), site.release(2)
    site.apply(2, endpoint("double", first))
    before = site.pids()
    with Callers(site.port, PREDICT, ROW, threads=6, per_connection=20) as callers:
        both_answer(site, callers)
        os.kill(before["inference-1"], signal.SIGKILL)
        killed_at_s = time.time()
        callers.await_more(50)
        # The switch waits for nobody who is dead; the other takes it at once.
        assert site.apply(2, endpoint("double", second, revision=2))[0] == "inference-0"
        site.supervised_until(lambda: len(site.pids()) == 2)
        both_answer(site, callers)
        callers.await_more(50)
    after = site.pids()
    assert after["inference-0"] == before["inference-0"]
    assert after["inference-1"] != before["inference-1"]
    assert {state.endpoints["double"]["version"] for state in site.deployer.observe()} == {2}
    assert [(death.process, death.exit_code, death.native) for death in site.deaths] == [("inference-1", -9, False)]
    assert set(callers.statuses) == {200}
    assert len(callers.failed) <= 6  # at most what each caller had in flight
    assert all(failed.at_s < killed_at_s + 1 for failed in callers.failed)


def test_a_process_that_hangs_holds_up_no_other_and_is_replaced(
    make_site: Callable[[int], Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference_process, "PROBE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(inference_process, "PROBE_EVERY_S", 0.1)
    site = make_site(2)
    site.apply(2, endpoint("double", site.release(1)))
    before = site.pids()
    planned = endpoint("double", site.release(2), revision=2)
    os.kill(before["inference-1"], signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(site.apply, 2, planned)
        (first,) = [one for one in site.deployer._all() if one.index == 0]
        deadline = time.monotonic() + 60
        while (seen := first.observe()) is None or seen.endpoints["double"]["version"] != 2:
            assert time.monotonic() < deadline, "the other waits for the one that hangs"
        assert not applied.done()  # it has not heard from the other yet
        site.supervised_until(applied.done)
        assert applied.result() == ["inference-0"]
    site.supervised_until(lambda: len(site.pids()) == 2)
    assert site.pids()["inference-1"] != before["inference-1"]
    site.supervised_until(
        lambda: [state.endpoints.get("double", {}).get("version") for state in site.deployer.observe()] == [2, 2]
    )
    assert [death.process for death in site.deaths] == ["inference-1"]


def test_both_go_on_with_nobody_to_look_after_them(make_site: Callable[[int], Site]) -> None:
    site = make_site(2)
    site.apply(2, endpoint("double", site.release(1)))
    before = site.pids()
    again = LocalProcesses(site.folder, site._plan(2))  # as control finds them after its own death
    with Callers(site.port, PREDICT, ROW) as callers:
        callers.await_more(50)
        again.expect()
        assert again.supervise() == []
    assert callers.failed == []
    assert {state.process: state.pid for state in again.observe()} == before


def test_fewer_processes_lose_no_connection_and_no_listening_socket(make_site: Callable[[int], Site]) -> None:
    site = make_site(2)
    planned = endpoint("double", site.release(1))
    site.apply(2, planned)
    with Callers(site.port, PREDICT, ROW, threads=6, per_connection=3) as callers:
        both_answer(site, callers)
        assert site.apply(1, planned) == ["inference-0"]
        site.supervised_until(lambda: not (site.folder / "run" / "inference-1.json").exists())
        callers.await_more(50)
        site.apply(2, planned)
        site.supervised_until(lambda: len(site.pids()) == 2)
        both_answer(site, callers)
    assert callers.failed == []
    assert set(callers.statuses) == {200}
    assert site.deaths == []


def test_keep_alive_callers_are_told_to_come_back_before_a_process_leaves(make_site: Callable[[int], Site]) -> None:
    site = make_site(2)
    planned = endpoint("double", site.release(1))
    site.apply(2, planned)
    with Callers(site.port, PREDICT, ROW, threads=8) as callers:
        both_answer(site, callers)
        opened = callers.connections
        site.apply(1, planned)
        site.supervised_until(lambda: not (site.folder / "run" / "inference-1.json").exists())
        callers.await_more(50)
    assert callers.failed == []
    assert opened < callers.connections <= opened + 8


def test_either_process_tells_the_metrics_of_both(make_site: Callable[[int], Site]) -> None:
    site = make_site(2)
    site.apply(2, endpoint("double", site.release(1)))
    with Callers(site.port, PREDICT, ROW, threads=6, per_connection=5) as callers:
        both_answer(site, callers)
    by_command = {
        name: InferenceProcess(site.folder, int(name[-1])).call("metrics", 5.0)
        for name in ("inference-0", "inference-1")
    }
    wanted = {f'{{endpoint="double",code="200",process="{name}"}}': requests(text) for name, text in by_command.items()}
    assert sum(wanted.values()) == callers.answered
    for _ in range(20):  # some of these reach one, some the other
        text = scraped(site)
        counts = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("mlspine_requests_total"))
        assert {series.removeprefix("mlspine_requests_total"): int(count) for series, count in counts.items()} == wanted
        assert text.count("# TYPE mlspine_requests_total counter") == 1
    seen_by = [state.scrapes.get("Python-urllib", 0) for state in site.deployer.observe()]
    assert sum(seen_by) == 20
    assert min(seen_by) > 0


def scraped(site: Site) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def requests(text: str) -> int:
    (line,) = [line for line in text.splitlines() if line.startswith("mlspine_requests_total{")]
    return int(line.rsplit(" ", 1)[1])


def test_native_crashes_are_told_by_process_with_the_release_that_ran(make_site: Callable[[int], Site]) -> None:
    site = make_site(2)
    release = site.release(1)
    site.apply(2, endpoint("double", release))
    with contextlib.suppress(AssertionError), Callers(site.port, PREDICT, {"x0": CRASH}, threads=1) as callers:
        site.supervised_until(lambda: len({death.process for death in site.deaths}) == 2)
    assert callers.failed
    assert {death.in_call_of for death in site.deaths} == {release.release_hash}
    assert all(death.native for death in site.deaths)


def test_a_process_that_dies_again_and_again_is_started_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text("no plan")
    now, starts = 100.0, []
    process = InferenceProcess(tmp_path, 0, timer=lambda: now)
    while len(starts) < 6:
        process.start_when_gone()
        if process.pid() is None:
            now += 0.5
            continue
        starts.append(now)
        while process.pid() is not None:
            time.sleep(0.01)
    assert [later - earlier for earlier, later in itertools.pairwise(starts)] == [0.0, 0.0, 1.0, 2.0, 4.0]


def test_one_that_refuses_a_release_is_told_even_when_the_other_takes_it(make_site: Callable[[int], Site]) -> None:
    site = make_site(2)
    planned = endpoint("double", site.release(1))
    site.apply(2, planned)
    missing = PlannedRelease(release_hash="0" * 64, version=2, path=str(site.folder / "nowhere"))
    with pytest.raises(MlspineError):
        site.apply(2, endpoint("double", missing, revision=2))
    assert {state.endpoints["double"]["version"] for state in site.deployer.observe()} == {1}
