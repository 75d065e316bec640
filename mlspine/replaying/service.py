"""The door of replaying: logged requests answered again by two releases in this process, compared, kept as evidence."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlspine.core.errors import Invalid, NotFound
from mlspine.core.ids import now_ms
from mlspine.core.types import Actor, ModelVersion, Release, Struct
from mlspine.deployment.service import Deployment
from mlspine.governance.service import Governance
from mlspine.predictions.service import Predictions
from mlspine.registry.release import read_release
from mlspine.registry.service import Registry
from mlspine.replaying import differences, parts, rows, sides, words
from mlspine.replaying.differences import Answers, Array
from mlspine.replaying.found import Chosen, Replay, Right, Side
from mlspine.replaying.rows import Group, Usable
from mlspine.replaying.tally import Tally, classes_of
from mlspine.serving.runtime import LoadedRelease
from mlspine.stats import interval

EVIDENCE = "replay"
LIVE = "live"
MOST_ROWS = 100_000
ROWS_LIMIT = 2_000_000  # what is kept of each row while they pass takes some hundred bytes
THRESHOLD = 0.5
KEPT_DIFFERENT = 5  # rows in the evidence, without what was asked

Progress = Callable[[int, int], None]


class Asked(Struct, frozen=True, kw_only=True):
    """What to replay: the requests of `endpoint` by releases `a` and `b` (a version, "live", "@alias", "NAME:3").

    from_at_ms, to_at_ms: event times, 0 for no end. rows: at most so many, spread evenly by a hash of their ids unless
    `newest`. threshold: scores at or above it are one side. tolerance: from where two numbers disagree; None: a tenth
    of the standard deviation of A's answers.
    """

    endpoint: str
    b: str
    a: str = LIVE
    from_at_ms: int = 0
    to_at_ms: int = 0
    rows: int = MOST_ROWS
    newest: bool = False
    threshold: float | None = None
    tolerance: float | None = None


class Replaying:
    """Runs the models in the process that asks, never in control; the log, the counters and the ledger stay as they
    are."""

    def __init__(
        self,
        *,
        predictions: Predictions,
        registry: Registry,
        deployment: Deployment,
        governance: Governance,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._predictions = predictions
        self._registry = registry
        self._deployment = deployment
        self._governance = governance
        self._clock = clock

    def replay(self, asked: Asked, *, actor: Actor, progress: Progress = lambda done, of: None) -> Replay:
        """Answer logged requests by both releases and compare; evidence "replay" is kept at the endpoint.

        Raises Invalid where there are no rows that both can be asked about, or they answer different questions;
        Denied for a release nobody has vouched for.
        """
        began_s = time.perf_counter()
        _check(asked)
        versions = self._version(asked.endpoint, asked.a), self._version(asked.endpoint, asked.b)
        releases = sides.comparable(*versions)
        span = rows.span_of(asked.from_at_ms, asked.to_at_ms)
        held, usable = self._rows(asked, span, releases)
        chosen = rows.how_chosen(usable.rows, most=asked.rows, newest=asked.newest)
        progress(0, min(usable.rows, asked.rows))
        loaded = sides.load(versions[0]), sides.load(versions[1])
        tally, scored = self._answer(asked, span, usable, chosen, versions, loaded, progress)
        found = _found(asked, versions, releases, usable, chosen, tally, scored=scored)
        found = msgspec.structs.replace(
            found, held=held, at_ms=self._clock(), seconds=time.perf_counter() - began_s, verdict=words.verdict(found)
        )
        self._governance.record_evidence(
            EVIDENCE, f"endpoint:{asked.endpoint}", actor, passed=_as_before(found), document=_kept(found)
        )
        return found

    # ------------------------------------------------------------ which releases, which rows

    def _version(self, endpoint: str, text: str) -> ModelVersion:
        """The version a text means, at this endpoint."""
        try:
            served = self._deployment.get(endpoint)
            model = served.model
        except NotFound:
            served, model = None, endpoint
        if text == LIVE:
            if served is None:
                raise NotFound(f"no endpoint {endpoint!r}, so none of its releases is live", hint="mlspine status")
            if not served.current.version:
                raise Invalid(f"{endpoint} answers with no release now", hint=f"name a version: mlspine models {model}")
            return self._registry.get(model, served.current.version)
        if text.isdigit():
            return self._registry.get(model, int(text))
        return self._registry.resolve(f"{model}{text}" if text.startswith("@") else text)

    def _rows(self, asked: Asked, span: str, releases: tuple[Release, Release]) -> tuple[int, Usable]:
        found = rows.groups_in(self._predictions, asked.endpoint, span)
        held = sum(count for _, _, count in found)
        if not held:
            raise self._no_rows(asked)
        groups = [self._group(asked.endpoint, *each) for each in found]
        usable = rows.usable(groups, [each.signature.inputs for each in releases])
        if not usable.groups:
            raise Invalid(
                f"none of the {held:,} logged rows of {asked.endpoint} can be answered again by both releases",
                details=[f"{each.rows:,} rows: {each.why}" for each in usable.left_out],
                hint="compare releases that take the same columns, or serve without --redact of what the model needs",
            )
        return held, usable

    def _no_rows(self, asked: Asked) -> Invalid:
        summary = self._predictions.summary(asked.endpoint)
        if summary.rows:
            return Invalid(
                f"no logged row of {asked.endpoint} lies in this span; the log holds {summary.rows:,} rows",
                hint=f'see: mlspine log {asked.endpoint} "select min(_event_time), max(_event_time) from log"',
            )
        return Invalid(
            f"the log of {asked.endpoint} holds no requests that could be answered again",
            hint="they are logged unless it is served with --no-log; they expire after log.retention_days",
        )

    def _group(self, endpoint: str, release_hash: str, revision: int, count: int) -> Group:
        inputs: tuple[str, ...] = ()
        version = 0
        try:
            known = self._registry.by_hash(release_hash)
            version = known.version
            inputs = tuple(read_release(Path(known.path)).signature.inputs.names)
        except NotFound:
            pass  # its rows are left out, and that is told
        return Group(release_hash, revision, count, version, inputs, self._redacted(endpoint, revision))

    def _redacted(self, endpoint: str, revision: int) -> frozenset[str]:
        """Columns withheld from the log under a revision; of tables scored under none, those ever withheld."""
        try:
            revisions = self._deployment.revisions(endpoint)
        except NotFound:
            return frozenset()
        return frozenset(name for each in revisions if revision in (0, each.number) for name in each.log.redact)

    # ------------------------------------------------------------ answering

    def _answer(
        self,
        asked: Asked,
        span: str,
        usable: Usable,
        chosen: Chosen,
        versions: tuple[ModelVersion, ModelVersion],
        loaded: tuple[LoadedRelease, LoadedRelease],
        progress: Progress,
    ) -> tuple[Tally, bool]:
        signatures = loaded[0].release.signature, loaded[1].release.signature
        task = signatures[0].task
        scored = task != "binary" or signatures[0].classes == signatures[1].classes
        tally = Tally(
            task,
            (versions[0].version, versions[1].version),
            (versions[0].release_hash, versions[1].release_hash),
            scored=scored,
        )
        labelled = self._predictions.summary(asked.endpoint).labelled_rows > 0
        staging = rows.staged(
            self._predictions, asked.endpoint, usable, span=span, chosen=chosen, most=asked.rows, labelled=labelled
        )
        with staging as table:
            for start in range(0, table.rows, rows.PART_ROWS):
                part = rows.read(table, usable, start, min(start + rows.PART_ROWS, table.rows))
                taken = [sides.columns_of(part, each, version) for each, version in zip(loaded, versions, strict=True)]
                answers = [
                    sides.answers_of(each, columns, version, withheld=usable.withheld)
                    for each, columns, version in zip(loaded, taken, versions, strict=True)
                ]
                tally.add(part, taken[1] | taken[0], *answers)
                progress(tally.rows, table.rows)
        return tally, scored


def _check(asked: Asked) -> None:
    if not 1 <= asked.rows <= ROWS_LIMIT:
        raise Invalid(f"{asked.rows:,} rows cannot be replayed at once", hint=f"1 to {ROWS_LIMIT:,}: --rows N")
    if asked.from_at_ms and asked.to_at_ms and asked.from_at_ms >= asked.to_at_ms:
        raise Invalid("the span ends before it begins", hint="--from is the earlier time")
    if asked.tolerance is not None and not 0 <= asked.tolerance < float("inf"):
        raise Invalid(f"a tolerance of {asked.tolerance} says nothing", hint="0 or more, in the unit of the answers")


# ---------------------------------------------------------------- after


def _found(
    asked: Asked,
    versions: tuple[ModelVersion, ModelVersion],
    releases: tuple[Release, Release],
    usable: Usable,
    chosen: Chosen,
    tally: Tally,
    *,
    scored: bool,
) -> Replay:
    task = releases[0].signature.task
    a, b = tally.answers
    tolerance = differences.default_tolerance(task, a) if asked.tolerance is None else asked.tolerance
    differing = differences.disagree(a, b, task=task, tolerance=tolerance)
    sliced = parts.sliced(tally.columns, differing)
    threshold = asked.threshold if asked.threshold is not None or task != "binary" else THRESHOLD
    return Replay(
        endpoint=asked.endpoint,
        model=versions[0].model,
        task=task,
        a=Side(version=versions[0].version, release_hash=versions[0].release_hash),
        b=Side(version=versions[1].version, release_hash=versions[1].release_hash),
        from_at_ms=asked.from_at_ms,
        to_at_ms=asked.to_at_ms,
        held=0,
        rows=tally.rows,
        chosen=chosen,
        disagree=int(differing.sum()),
        disagreement=interval.wilson(int(differing.sum()), tally.rows),
        tolerance=tolerance if task == "regression" else 0.0,
        matrix=() if task == "regression" else differences.matrix(a, b),
        different=tally.different,
        slices=sliced.slices,
        looked_at=sliced.looked_at,
        verdict="",
        at_ms=0,
        seconds=0.0,
        left_out=usable.left_out,
        withheld=usable.withheld,
        reproduced=tally.reproduced,
        shift=differences.shift(a, b) if scored else None,
        crossing=differences.crossing(a, b, threshold=threshold) if scored and threshold is not None else None,
        right=_right(releases, tally, a, b, differing),
    )


def _right(
    releases: tuple[Release, Release],
    tally: Tally,
    a: Answers,
    b: Answers,
    differing: Array,
) -> Right | None:
    at, truth = tally.labelled
    classes = classes_of(releases[0].signature.classes, releases[1].signature.classes)
    one, other = (Answers(each.prediction[at], each.score[at]) for each in (a, b))
    return differences.right(releases[0].signature.task, truth, one, other, differing[at], classes)


def _as_before(found: Replay) -> bool:
    """Whether the replay stands for what was answered: each release gives again what the log says it gave."""
    return all(each.same == each.rows for each in found.reproduced)


def _kept(found: Replay) -> dict[str, object]:
    """The document as evidence: what was asked stays in the log, where it can be forgotten."""
    kept: dict[str, object] = msgspec.to_builtins(found)
    kept["different"] = [{"id": each.id} for each in found.different[:KEPT_DIFFERENT]]
    return kept
