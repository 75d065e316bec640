"""The door of watching: models that answer on somebody else's server, judged here by the rows they answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from mlspine.core.errors import Conflict, Invalid, MlspineError, NotFound
from mlspine.core.ids import now_ms, uuid7
from mlspine.core.plan import LogSettings
from mlspine.core.public import public
from mlspine.core.types import Actor, FeedState, ModelVersion, Struct
from mlspine.deployment.service import WATCH, Deployment
from mlspine.feeds.schedule import parse_every
from mlspine.feeds.telling import tell
from mlspine.governance.service import Governance
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Database, ObjectReader
from mlspine.predictions.ingest import Foreign
from mlspine.predictions.service import Predictions
from mlspine.registry.prepare import Prepared
from mlspine.registry.release import is_watched, read_release
from mlspine.registry.service import Registry
from mlspine.watching import store
from mlspine.watching.answers import Given, given_rows, take_answers
from mlspine.watching.names import Names
from mlspine.watching.places import parse_place
from mlspine.watching.reading import EXAMPLES, Reader, Reading
from mlspine.watching.spec import THRESHOLD, Spec, write_specs
from mlspine.watching.store import WatchedSource

ROLE = "predictions"
MOST_ROWS = 100_000  # of one request
RELEASES_KEPT = 16


class Watched(Struct, frozen=True, kw_only=True):
    """A watched endpoint: what its rows are judged by, and where its log lies; no source: rows are sent."""

    endpoint: str
    version: ModelVersion
    revision: int
    log: LogSettings
    source: WatchedSource | None = None


class Refusal(Struct, frozen=True, kw_only=True):
    """A row that was not kept. row: its number in the request, the first being 0."""

    row: int
    why: str


class Receipt(Struct, frozen=True, kw_only=True):
    """What became of the rows of one request: recorded + duplicates + refused = received.

    told_apart: whether sending all of it again would add nothing.
    """

    endpoint: str
    received: int
    recorded: int
    duplicates: int
    labels: int
    refused_rows: int
    refused: tuple[Refusal, ...] = ()
    told_apart: bool = True


class Watching:
    """Watched endpoints are endpoints like others to log, windows, quality, alerts and reports; nothing is served.

    Rows come three ways: read from a log, sent in requests, or by the middleware through the spool.
    """

    def __init__(
        self,
        *,
        db: Database,
        registry: Registry,
        deployment: Deployment,
        predictions: Predictions,
        monitoring: Monitoring,
        governance: Governance,
        workspace: Path,
        objects: Callable[[], ObjectReader],
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._db = db
        self._registry = registry
        self._deployment = deployment
        self._predictions = predictions
        self._monitoring = monitoring
        self._governance = governance
        self._workspace = workspace
        self._clock = clock
        self._release = lru_cache(maxsize=RELEASES_KEPT)(read_release)
        self._reader = Reader(db=db, predictions=predictions, root=workspace.parent, objects=objects, clock=clock)

    # ------------------------------------------------------------ declaring

    @public("ship")
    def watch(self, prepared: Prepared, *, log: LogSettings | None = None, actor: Actor) -> Watched:
        """Judge from now on by this reference what somebody else's server answers under its name.

        Another reference is a new version; the same again changes nothing. Ledger: "ship" and "watch". Raises Conflict
        for a name that is answered from here.
        """
        found = self._find(prepared.name)
        if found is not None and found.current.cause != WATCH:
            raise Conflict(
                f"endpoint {prepared.name} is answered from here, and watched for that",
                hint=f"see: mlspine status {prepared.name}; give what answers elsewhere a name of its own",
            )
        with self._db.write():
            version = self._registry.register(prepared, actor=actor)
            kept = found.current.log if found else LogSettings()
            self._deployment.watch(version, log=log or kept, actor=actor, reason=prepared.message)
        self.tell_others()
        return self.of(prepared.name)

    @public("operate")
    def read_from(
        self, name: str, *, source: str, names: Names | None = None, every: str = "", actor: Actor
    ) -> Watched:
        """Say where the log of a watched endpoint lies, and how often it is read: "1h"; "" for when somebody asks.

        names: which of its columns mean what, where that is not plain. What was read stays known. Ledger: "feed".
        """
        self._spec(name)
        text, every_s = parse_place(source).text, parse_every(every) if every else 0
        with self._db.write() as tx:
            before = store.find_source(tx, name)
            made = WatchedSource(
                endpoint=name,
                text=text,
                names=names or Names(),
                every_s=every_s,
                next_due_at_ms=self._clock() if every_s else 0,
            )
            if before is not None:
                made = msgspec.structs.replace(
                    made, rows=before.rows, duplicates=before.duplicates, refused=before.refused
                )
            store.put_source(tx, made)
            facts = {"predictions": text, "every_s": every_s, "before": before.text if before else ""}
            self._governance.record("feed", f"model:{name}", actor, facts=facts)
        return self.of(name)

    # ------------------------------------------------------------ what there is

    @public("read")
    def of(self, name: str) -> Watched:
        """One watched endpoint; Invalid for one that is answered from here, NotFound for none."""
        endpoint = self._deployment.get(name)
        if endpoint.current.cause != WATCH:
            raise _not_watched(name)
        return Watched(
            endpoint=name,
            version=self._registry.get(endpoint.model, endpoint.current.version),
            revision=endpoint.current.number,
            log=endpoint.current.log,
            source=store.find_source(self._db, name),
        )

    @public("read")
    def all(self) -> list[Watched]:
        """Every watched endpoint, by name."""
        found = self._deployment.endpoints()
        return [self.of(each.name) for each in found if each.current.cause == WATCH]

    def states(self, name: str) -> tuple[FeedState, ...]:
        """How the log of a watched endpoint is doing; () where none was named."""
        source = store.find_source(self._db, name)
        if source is None:
            return ()
        state = FeedState(
            model=name,
            role="predictions",
            text=source.text,
            said="declared",
            rows=source.rows,
            last_read_at_ms=source.read_at_ms,
            last_arrival_at_ms=source.read_at_ms if source.rows else 0,
            next_read_at_ms=source.next_due_at_ms,
            problem=source.problem,
        )
        return (state,)

    # ------------------------------------------------------------ rows

    @public("operate")
    def read(self, name: str) -> Reading:
        """Read what is new in the log of a watched endpoint now. Raises what is wrong with it, after it was told."""
        self._spec(name)
        source = store.find_source(self._db, name)
        if source is None:
            raise Invalid(
                f"nobody said where the log of {name} lies",
                hint=f"mlspine watch {name} --predictions 'logs/*.parquet'",
            )
        with self._db.lock(f"reading-{name}"):
            return self._read(source)

    def read_due(self) -> list[Reading]:
        """Read every log that is due; what is wrong with one is told by an alert, the others go on."""
        readings = []
        for source in store.due_sources(self._db, self._clock()):
            try:
                with self._db.lock(f"reading-{source.endpoint}"):
                    readings.append(self._read(source))
            except MlspineError:
                continue  # remembered and told already
        return readings

    def record(self, endpoint: str, rows: Sequence[Any], *, request_id: str = "") -> Receipt:
        """Keep rows that somebody else's server answered; they are in the log when this returns.

        rows: {"id", "event_time", "key", "features": {...}, "prediction", "score", "label"}, all but features and one
        of the outputs optional; or flat. Rows that cannot be read are told and left out, the others are kept. A row
        with an id, or in a request with one, is kept once however often it is sent.
        """

        def make(spec: Spec, id_: str, why: dict[int, str]) -> Given:
            return given_rows(rows, spec, request_id=id_, refused=why)

        return self._record(endpoint, len(rows), request_id, make)

    def record_given(
        self, endpoint: str, size: int, make: Callable[[Spec, str, dict[int, str]], Given], *, request_id: str = ""
    ) -> Receipt:
        """As `record`, of columns at hand."""
        return self._record(endpoint, size, request_id, make)

    def tell_others(self) -> None:
        """Write what a middleware on this machine must know; after a start, and after every change."""
        specs = []
        for each in self._deployment.endpoints():
            if each.current.cause == WATCH:
                try:
                    specs.append(self._spec(each.name))
                except MlspineError:
                    continue  # a release that is damaged is told by those who judge by it
        write_specs(self._workspace, specs)

    # ------------------------------------------------------------ inside

    def _record(
        self, endpoint: str, size: int, request_id: str, make: Callable[[Spec, str, dict[int, str]], Given]
    ) -> Receipt:
        spec = self._spec(endpoint)
        if not size:
            raise Invalid("the request holds no rows", hint='send {"rows": [{"features": {...}, "prediction": 1}]}')
        if size > MOST_ROWS:
            raise Invalid(f"{size:,} rows in one request, {MOST_ROWS:,} are taken", hint="send them in parts")
        now, why = self._clock(), dict[int, str]()
        given = make(spec, request_id or uuid7(now), why)
        taken = take_answers(spec, given, now_ms=now, refused=why)
        if taken.labels:
            # First: killed in between, the rows are sent again, and labels known already change nothing.
            self._predictions.add_label_table(endpoint, taken.labels, source="predictions")
        foreign = [Foreign(batch, by_id or bool(request_id)) for batch, by_id in taken.batches]
        done = self._predictions.record(foreign)
        refused = tuple(Refusal(row=row, why=why) for row, why in list(taken.refused.items())[:100])
        return Receipt(
            endpoint=endpoint,
            received=size,
            recorded=done.rows,
            duplicates=done.duplicates,
            labels=len(taken.labels.get("label", ())),
            refused_rows=len(taken.refused),
            refused=refused,
            told_apart=all(each.by_id for each in foreign),
        )

    def _read(self, source: WatchedSource) -> Reading:
        now = self._clock()
        try:
            reading = self._reader.read(self._spec(source.endpoint), source)
        except MlspineError as exc:
            self._keep(source, Reading(endpoint=source.endpoint), exc.message, now)
            raise
        told = list(reading.problems)
        if reading.refused:
            told.append(f"{reading.refused:,} rows could not be read: {'; '.join(reading.examples[:EXAMPLES])}")
        self._keep(source, reading, "; ".join(told), now)
        return reading

    def _keep(self, source: WatchedSource, reading: Reading, problem: str, now: int) -> None:
        """The counts and the next time, and people told while something is wrong."""
        with self._db.write() as tx:
            held = store.find_source(tx, source.endpoint)
            if held is None or held.text != source.text:
                return  # declared anew meanwhile
            step = held.every_s * 1000
            missed = max(0, now - held.next_due_at_ms) // step if step else 0
            made = msgspec.structs.replace(
                held,
                next_due_at_ms=held.next_due_at_ms + (missed + 1) * step if step else 0,
                read_at_ms=now,
                rows=held.rows + reading.rows,
                duplicates=held.duplicates + reading.duplicates,
                refused=held.refused + reading.refused,
                problem=problem,
            )
            store.put_source(tx, made)
        title, action = "its log cannot be read as it should", f"mlspine watch {source.endpoint} --once"
        tell(self._monitoring, source.endpoint, ROLE, title, problem, action=action, severity="WARNING")

    def _spec(self, name: str) -> Spec:
        endpoint = self._deployment.get(name)
        if endpoint.current.cause != WATCH:
            raise _not_watched(name)
        version = self._registry.get(endpoint.model, endpoint.current.version)
        release = self._release(Path(version.path))
        assert is_watched(release)
        return Spec(
            endpoint=name,
            version=version.version,
            revision=endpoint.current.number,
            release_hash=version.release_hash,
            inputs=release.signature.inputs,
            task=release.signature.task,
            classes=release.signature.classes,
            threshold=float(release.settings.get("threshold", THRESHOLD)),
            names=release.settings.get("names", {}),
            log=endpoint.current.log,
        )

    def _find(self, name: str) -> Any:
        try:
            return self._deployment.get(name)
        except NotFound:
            return None


def _not_watched(name: str) -> Invalid:
    return Invalid(
        f"{name} is answered from here: its log is written by its own answers",
        hint="give what answers elsewhere a name of its own: mlspine watch OTHER --reference FILE",
    )
