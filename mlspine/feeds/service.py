"""The door of feeds: where fresh rows and late labels come from, whether they still do, and batches at fixed times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from mlspine.core.config import FeedsConfig
from mlspine.core.errors import Invalid, MlspineError, NotFound
from mlspine.core.ids import now_ms, uuid7
from mlspine.core.public import public
from mlspine.core.types import SYSTEM, Actor, FeedState, LabelReceipt, ModelVersion, Struct
from mlspine.data.source import parse_source
from mlspine.feeds import schedule as schedules
from mlspine.feeds import store
from mlspine.feeds.labels import LabelFeeds
from mlspine.feeds.requests import Requests
from mlspine.feeds.runs import Runs
from mlspine.feeds.schedule import Schedule, every_text, parse_every
from mlspine.feeds.sources import Sources, is_read
from mlspine.governance.service import Governance
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Database
from mlspine.predictions.service import Predictions
from mlspine.registry.service import Registry

ROLES: tuple[Literal["source", "labels"], ...] = ("source", "labels")


class ModelFeeds(Struct, frozen=True, kw_only=True):
    """Both feeds of a model, and whether its requests come as usual."""

    model: str
    source: FeedState
    labels: FeedState
    requests: tuple[str, ...] = ()  # what is wrong with them, in words
    learning: bool = False  # requests are too young for their rhythm to be known


class Feeds:
    """What was said at ship holds until something else is declared. Reading a feed changes no traffic: it stores
    what was read, judges it, and raises or clears alerts named `feed:...`."""

    def __init__(
        self,
        *,
        db: Database,
        registry: Registry,
        predictions: Predictions,
        monitoring: Monitoring,
        governance: Governance,
        workspace: Path,
        clock: Callable[[], int] = now_ms,
        config: FeedsConfig | None = None,
    ) -> None:
        self._db = db
        self._registry = registry
        self._predictions = predictions
        self._governance = governance
        self._root = workspace.parent
        self._clock = clock
        self._config = config or FeedsConfig()
        self._sources = Sources(db=db, monitoring=monitoring, root=self._root, clock=clock)
        self._labels = LabelFeeds(db=db, predictions=predictions, monitoring=monitoring, root=self._root, clock=clock)
        self._requests = Requests(registry=registry, predictions=predictions, monitoring=monitoring, clock=clock)
        self._runs = Runs(db=db, monitoring=monitoring, workspace=workspace, clock=clock)

    # ------------------------------------------------------------ declaring

    @public("operate")
    def declare(self, model: str, *, source: str | None = None, labels: str | None = None, actor: Actor) -> ModelFeeds:
        """Say where fresh rows or labels come from, from now on. Relative paths start from the folder that holds
        the workspace. One ledger line; what was remembered of another source before is void."""
        self._registry.versions(model)
        given = {role: text for role, text in (("source", source), ("labels", labels)) if text is not None}
        if not given:
            raise Invalid("nothing to declare", hint="give --source TEXT or --labels TEXT")
        texts = {role: parse_source(text).text for role, text in given.items()}
        with self._db.write() as tx:
            before = {role: self._said(model, role)[0] for role in texts}
            for role, text in texts.items():
                store.declare(tx, model=model, role=role, text=text, at_ms=self._clock(), by=actor.name)
                store.forget_arrivals(tx, model, role)
            self._governance.record("feed", f"model:{model}", actor, facts={"declared": texts, "before": before})
        return self.of(model)

    @public("read")
    def of(self, model: str) -> ModelFeeds:
        """What feeds a model, and how each is doing."""
        source, labels = (self._state(model, role) for role in ROLES)
        flow = self._requests.flow(model)
        problems = tuple(self._requests.problems(model))
        return ModelFeeds(model=model, source=source, labels=labels, requests=problems, learning=flow.learning)

    @public("read")
    def all(self) -> list[ModelFeeds]:
        """The feeds of every model, by name."""
        return [self.of(each.name) for each in self._registry.models()]

    def states(self, model: str) -> tuple[FeedState, ...]:
        """How the declared feeds of a model are doing; () for a name no model has."""
        try:
            return tuple(self._state(model, role) for role in ROLES)
        except NotFound:
            return ()

    # ------------------------------------------------------------ reading

    @public("label")
    def pull_labels(self, name: str = "") -> list[LabelReceipt]:
        """Read the label feed of one model, or of all that have one, and add what is new.

        One model: raises what is wrong with its feed. All: what is wrong is told by alerts, the others go on.
        """
        if name:
            text = self._said(name, "labels")[0]
            if not is_read(text):
                raise Invalid(
                    f"nobody said where the labels of {name} lie"
                    if not text
                    else f"the labels of {name} are sent by callers",
                    hint=f'declare it: mlspine feeds {name} --labels "outcomes/*.csv"',
                )
            return [self._labels.pull(name, text)]
        receipts = []
        for model, text in self._read_ones("labels"):
            try:
                receipts.append(self._labels.pull(model, text))
            except MlspineError:
                continue  # remembered and told already
        return receipts

    @public("operate")
    def check_sources(self, name: str = "") -> list[FeedState]:
        """Read what is new at the source of one model, or of all, and judge it against the release in use."""
        models = [(name, self._said(name, "source")[0])] if name else self._read_ones("source")
        for model, text in models:
            if is_read(text):
                version = self._version(model)
                memory, found_anew = self._sources.check(version, text)
                if found_anew:
                    document = {"source": text, "rows": memory.rows, "problem": _problem(memory)}
                    self._governance.record_evidence(
                        "feed", f"model:{model}", SYSTEM, passed=not _problem(memory), document=document
                    )
        return [self._state(model, "source") for model, _ in models]

    def check_requests(self) -> None:
        """Flow and ranges of the requests of every endpoint with a log."""
        for endpoint in self._predictions.endpoints():
            try:
                self._requests.check(endpoint)
            except NotFound:
                continue  # rows of a release that was removed by hand are judged by nobody

    def watch_refusals(self, endpoint: str, process: str, counters: Mapping[str, Any], at_s: float) -> None:
        """Take the counters of a serving process; see `refusals`."""
        self._requests.watch_refusals(endpoint, process, counters, at_s)

    # ------------------------------------------------------------ schedules

    @public("operate")
    def schedule(self, ref: str, *, source: str, output: str, every: str, actor: Actor) -> Schedule:
        """Score the rows of `source` into `output` every so often, the first time at once. One ledger line.

        Relative paths start from the folder that holds the workspace; {date} and {time} in `output` stand for
        the due time. The same batch again is the schedule there is, with its new pace.
        """
        version, every_s, now = self._registry.resolve(ref), parse_every(every), self._clock()
        parse_source(source)
        same = [
            each
            for each in schedules.schedules(self._db)
            if (each.ref, each.input, each.output) == (ref, source, output)
        ]
        made = Schedule(
            id=same[0].id if same else uuid7(now)[-6:],
            ref=ref,
            input=source,
            output=output,
            every_s=every_s,
            created_at_ms=now,
            created_by=actor.name,
            next_due_at_ms=now,
        )
        with self._db.write() as tx:
            schedules.remove(tx, made.id)
            schedules.add(tx, made)
            facts = {"id": made.id, "input": source, "output": output, "every": every_text(every_s)}
            self._governance.record("schedule", f"model:{version.model}", actor, facts=facts)
        return made

    @public("read")
    def schedules(self, model: str = "") -> list[Schedule]:
        """What is scored at fixed times, oldest first."""
        return [each for each in schedules.schedules(self._db) if model in ("", each.model)]

    @public("operate")
    def unschedule(self, schedule_id: str, *, actor: Actor) -> Schedule:
        """Score it no more; a run under way ends as it would. One ledger line."""
        found = next(iter(schedules.schedules(self._db, ids=schedule_id)), None)
        if found is None:
            listed = ", ".join(each.id for each in schedules.schedules(self._db)) or "none"
            raise NotFound(f"no schedule {schedule_id!r}", hint=f"schedules: {listed}; see: mlspine schedules")
        with self._db.write() as tx:
            schedules.remove(tx, schedule_id)
            self._governance.record("unschedule", f"model:{found.model}", actor, facts={"id": schedule_id})
        return found

    def run_due(self) -> list[str]:
        """Start what is due, collect what has ended; the ids started."""
        return self._runs.step()

    # ------------------------------------------------------------ inside

    def _read_ones(self, role: Literal["source", "labels"]) -> list[tuple[str, str]]:
        said = ((each.name, self._said(each.name, role)[0]) for each in self._registry.models())
        return [(model, text) for model, text in said if is_read(text)]

    def _version(self, model: str) -> ModelVersion:
        """The version in Production, else the newest that is trusted, else the newest."""
        versions = self._registry.versions(model)
        versions = [each for each in versions if each.trusted] or versions
        return next((each for each in reversed(versions) if each.stage == "Production"), versions[-1])

    def _said(self, model: str, role: str) -> tuple[str, Literal["", "shipped", "declared"]]:
        declared = store.declared(self._db, model)
        if role in declared:
            return declared[role], "declared"
        version = self._version(model)
        if not version.trusted:
            return "", ""  # SQL and paths are read here: whoever may only ship has no say in that
        captured = version.captured
        text = str(captured.get("data", {}).get("source", "") if role == "source" else captured.get("labels_from", ""))
        return text, "shipped" if text else ""

    def _state(self, model: str, role: Literal["source", "labels"]) -> FeedState:
        text, said = self._said(model, role)
        memory = store.memory(self._db, model, role, text)
        every_s = self._config.source_every_s if role == "source" else self._config.labels_every_s
        times = store.arrivals(self._db, model, role)
        return FeedState(
            model=model,
            role=role,
            text=text,
            said=said,
            rows=memory.rows,
            last_read_at_ms=memory.last_read_at_ms,
            last_arrival_at_ms=times[-1] if times else 0,
            next_read_at_ms=memory.last_read_at_ms + int(every_s * 1000) if is_read(text) else 0,
            problem=_problem(memory),
        )


def _problem(memory: store.Memory) -> str:
    faults = "; ".join(f"{fault.field}: {fault.says}" for fault in memory.faults)
    return "; ".join(each for each in (memory.failure, faults) if each)
