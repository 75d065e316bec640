"""Two scenes of the year: the renewed release comes forward by a canary, and a broken one comes back by itself.

Flights keep being sent one by one meanwhile, so that both scenes are of real requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from mlspine import api
from mlspine.core.ids import now_ms
from mlspine.demo.faces import Commands
from mlspine.demo.figures import CameBack, CanaryRun
from mlspine.demo.flights import FEATURES, KEY, TIME, build_model, split
from mlspine.demo.page import capital, duration
from mlspine.demo.replay import Answered, Hammer

if TYPE_CHECKING:
    import pandas as pd

    from mlspine.core.types import ModelVersion
    from mlspine.rollouts.store import Rollout

STEPS = (25, 50, 100)  # per cent
STEP_REQUESTS = 200
CONNECTIONS = 8
PER_S = 300.0  # single rows: a few days of flights in all
BEFORE = 300  # requests before anything is started
LOOK_EVERY_S = 0.5
CANARY_TIMEOUT_S = 60.0
WATCH_TIMEOUT_S = 45.0
BROKEN_FROM, BROKEN_HOLDOUT, BROKEN_END = "2013-03-01", "2013-03-25", "2013-04-01"


class Scene(NamedTuple):
    """What came of a scene, how many flights it took from the front, and the figures of its requests."""

    flights: int
    answers: list[Answered]
    failed: int
    seconds: float


def bring_forward(
    commands: Commands, url: str, flights: pd.DataFrame, version: int, *, advance: Callable[[], None]
) -> tuple[CanaryRun, Scene]:
    """`mlspine rollout start`, and flights until the canary has ended by itself.

    Where it does not end in time, or with the live release, that is in the figures: nobody is promoted by the demo.
    """
    with Hammer(url, flights, connections=CONNECTIONS, per_s=PER_S, answered=lambda _: advance()) as hammer:
        hammer.wait_for(BEFORE)
        began_s = time.perf_counter()
        started = commands.start_canary(version, steps=STEPS, step_requests=STEP_REQUESTS)
        ended = _until_closed(commands, started.id, CANARY_TIMEOUT_S)
        took_s = time.perf_counter() - began_s
        hammer.wait_for(hammer.answers + BEFORE)
    scene = _scene(hammer)
    return (
        CanaryRun(
            version=version,
            against=started.against,
            steps=STEPS,
            state=ended.state,
            why=ended.why,
            requests=len(scene.answers),
            by_candidate=sum(1 for each in scene.answers if each.version == version),
            failed=scene.failed,
            seconds=took_s,
        ),
        scene,
    )


def ship_broken(commands: Commands, name: str, flights: pd.DataFrame) -> ModelVersion:
    """A release whose label was turned round by mistake: its own holdout says nothing of it, being turned round too."""
    rows = split(flights, start=BROKEN_FROM, holdout_from=BROKEN_HOLDOUT, end=BROKEN_END)
    model = build_model().fit(rows.X[list(FEATURES)], 1 - rows.y)
    return api.ship(
        model,
        rows.X,
        1 - rows.y,
        name=name,
        holdout=(rows.X_holdout, 1 - rows.y_holdout),
        time=TIME,
        key=KEY,
        owner="the flights demo",
        message="the label is now 'on time' (or was it 'late'?)",
        workspace=commands.workspace,
        quiet=True,
    )


def watch_it_come_back(
    commands: Commands, url: str, flights: pd.DataFrame, broken: int, *, advance: Callable[[], None]
) -> tuple[CameBack, Scene]:
    """Promote the broken release under traffic, touch nothing, and see what the watch over the switch does."""
    with Hammer(url, flights, connections=CONNECTIONS, per_s=PER_S, answered=lambda _: advance()) as hammer:
        hammer.wait_for(BEFORE)
        switched = commands.promote(broken, reason="in a hurry")
        watch = _watch_of(commands, broken)
        ended = _until_closed(commands, watch.id, WATCH_TIMEOUT_S) if watch else None
        hammer.wait_for(hammer.answers + BEFORE)
    scene = _scene(hammer)
    closed_at_ms = ended.closed_at_ms if ended and ended.closed_at_ms else now_ms()
    last = scene.answers[-BEFORE:]
    return (
        CameBack(
            version=broken,
            back_to=switched.previous_version,
            returned=ended is not None and ended.state == "returned",
            why=ended.why if ended else "",
            after_s=max(0.0, (closed_at_ms - switched.committed_at_ms) / 1000),
            requests=len(scene.answers),
            by_broken=sum(1 for each in scene.answers if each.version == broken),
            failed=scene.failed,
            answers_after=sum(1 for each in last if each.version == switched.previous_version),
        ),
        scene,
    )


def forward_told(run: CanaryRun) -> tuple[str, str]:
    """The canary as a moment of the year: title and detail."""
    steps = ", ".join(f"{step}%" for step in run.steps)
    own = f"{run.by_candidate:,} of {run.requests:,} requests answered by it meanwhile, {run.failed or 'none'} failed"
    return f"Release {run.version} by canary: {steps}", f"{own}. {capital(run.why)}"


def back_told(found: CameBack) -> tuple[str, str]:
    """The return as a moment of the year: title and detail."""
    own = f"{found.by_broken:,} of {found.requests:,} requests answered by it, {found.failed or 'none'} failed"
    if not found.returned:
        return f"Release {found.version} was rolled back by hand", f"{own}; the watch had not brought it back"
    title = f"Release {found.version} came back by itself after {duration(found.after_s)}"
    return title, f"Nobody did anything. {capital(found.why)}; {own}"


def _until_closed(commands: Commands, rollout_id: str, timeout_s: float) -> Rollout:
    """A roll-out once it is over, or as it stands after so long."""
    until_s = time.monotonic() + timeout_s
    with commands.rollouts() as history:
        while True:
            found = next(each for each in history() if each.id == rollout_id)
            if found.state != "open" or time.monotonic() > until_s:
                return found
            time.sleep(LOOK_EVERY_S)


def _watch_of(commands: Commands, version: int) -> Rollout | None:
    """The watch over the switch to a version, which control opens with its next look."""
    until_s = time.monotonic() + WATCH_TIMEOUT_S
    with commands.rollouts() as history:
        while time.monotonic() < until_s:
            for each in history():
                if each.kind == "watch" and each.version == version:
                    return each
            time.sleep(LOOK_EVERY_S)
    return None


def _scene(hammer: Hammer) -> Scene:
    return Scene(hammer.sent, hammer.outcome.answers, hammer.outcome.failed, hammer.outcome.seconds)
