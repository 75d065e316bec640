"""The two scenes, with commands that answer from a script."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlspine.core.plan import LogSettings, Revision
from mlspine.demo import canary
from mlspine.demo.replay import Answered, Outcome
from mlspine.deployment.service import Switched
from mlspine.rollouts.store import Rollout
from tests.unit.demo.stories import story


def rollout(kind: str, version: int, state: str = "open", why: str = "") -> Rollout:
    return Rollout(
        id=f"{kind}-{version}",
        endpoint="flights",
        kind=kind,  # type: ignore[arg-type]
        version=version,
        release_hash="b" * 64,
        against=2,
        against_hash="a" * 64,
        state=state,  # type: ignore[arg-type]
        why=why,
        step_at_ms=0,
        started_at_ms=0,
        started_by="me",
        ends_at_ms=10_000,
        closed_at_ms=0 if state == "open" else 5_000,
    )


class Script:
    """Commands whose history of roll-outs is another at each look."""

    def __init__(self, *looks: list[Rollout]) -> None:
        self.looks = list(looks)
        self.promoted: list[int] = []

    def start_canary(self, version: int, **_: object) -> Rollout:
        return rollout("canary", version)

    def promote(self, version: int, *, reason: str) -> Switched:
        self.promoted.append(version)
        revision = Revision(
            endpoint="flights",
            number=5,
            version=version,
            release_hash="b" * 64,
            cause="promote",
            log=LogSettings(),
            created_at_ms=2_000,
            actor="me",
        )
        return Switched(
            endpoint="flights",
            revision=revision,
            previous_version=2,
            target_after=2,
            changed=True,
            proof=None,
            warnings=(),
            committed_at_ms=2_000,
            effective_s=0.01,
            acknowledgements=(),
        )

    @contextlib.contextmanager
    def rollouts(self) -> Iterator[Callable[[], list[Rollout]]]:
        yield lambda: self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


class Sent:
    """Stands for the requests that keep coming: these versions answered, in order."""

    def __init__(self, versions: list[int]) -> None:
        self.outcome = Outcome()
        self.outcome.answers = [Answered(0.0, 0.001, 200 if each else 503, each, 1) for each in versions]
        self.sent = self.answers = len(versions)

    def __call__(self, *_: object, **__: object) -> Sent:
        return self

    def __enter__(self) -> Sent:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_for(self, answers: int) -> None:
        pass


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "LOOK_EVERY_S", 0.0)


def play(scene: Callable[..., Any], script: Script, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(canary, "Hammer", sent)
    return scene(script, "http://x", pd.DataFrame(), 3, advance=lambda: None)


def test_a_canary_is_followed_until_it_ends_and_its_share_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    open_ = rollout("canary", 3)
    done = msgspec.structs.replace(open_, state="promoted", why="at 50% none failed")
    run, scene = play(canary.bring_forward, Script([open_], [open_], [done]), Sent([2, 3, 2, 3, 3, 0]), monkeypatch)
    assert (run.state, run.why, run.against) == ("promoted", "at 50% none failed", 2)
    assert (run.requests, run.by_candidate, run.failed, scene.flights) == (6, 3, 1, 6)


def test_a_canary_that_does_not_end_in_time_is_told_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "CANARY_TIMEOUT_S", 0.0)
    run, _ = play(canary.bring_forward, Script([rollout("canary", 3)]), Sent([2]), monkeypatch)
    assert run.state == "open"


def test_the_watch_of_the_broken_release_is_found_and_its_sentence_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    other, mine = rollout("watch", 2, "ended"), rollout("watch", 3)
    back = msgspec.structs.replace(mine, state="returned", why="opposite orders", closed_at_ms=5_000)
    script = Script([other], [mine, other], [mine, other], [back, other])
    found, _ = play(canary.watch_it_come_back, script, Sent([2, 3, 3, *[2] * 300]), monkeypatch)
    assert script.promoted == [3]
    assert (found.returned, found.why, found.back_to, found.after_s) == (True, "opposite orders", 2, 3.0)
    assert (found.by_broken, found.requests, found.answers_after) == (2, 303, 300)


def test_a_release_that_stays_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "WATCH_TIMEOUT_S", 0.0)
    found, _ = play(canary.watch_it_come_back, Script([]), Sent([3] * 10), monkeypatch)
    assert (found.returned, found.why) == (False, "")
    assert canary.back_told(found)[0] == "Release 3 was rolled back by hand"


def test_both_are_moments_of_the_year() -> None:
    whole = story(name="opposite orders")
    assert whole.canary is not None
    assert whole.came_back is not None
    title, detail = canary.forward_told(whole.canary)
    assert (title, detail.endswith("none failed. Opposite orders")) == ("Release 3 by canary: 25%, 50%, 100%", True)
    title, detail = canary.back_told(whole.came_back)
    assert title == "Release 4 came back by itself after 3.2 s"
    assert detail.startswith("Nobody did anything. Opposite orders; 1,900 of 3,100 requests")


def test_the_broken_release_has_its_label_turned_round(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped: dict[str, Any] = {}

    class Model:
        def fit(self, X: object, y: Any) -> Model:
            shipped["fitted"] = np.asarray(y)
            return self

    rows = type("Rows", (), {})()
    rows.X = rows.X_holdout = pd.DataFrame({name: [0.0, 1.0] for name in canary.FEATURES})
    rows.y, rows.y_holdout = pd.Series([0, 1]), pd.Series([1, 1])
    monkeypatch.setattr(canary, "split", lambda *_, **__: rows)
    monkeypatch.setattr(canary, "build_model", Model)
    monkeypatch.setattr(canary.api, "ship", lambda model, X, y, **rest: shipped.update(rest, y=y) or "made")
    commands = type("Commands", (), {"workspace": "here"})()
    assert canary.ship_broken(commands, "flights", pd.DataFrame()) == "made"
    assert shipped["fitted"].tolist() == shipped["y"].tolist() == [1, 0]
    assert shipped["holdout"][1].tolist() == [0, 0]
