"""The director of `mlspine demo flights`: a model is shipped, served, watched, renewed, and brought back once.

Only public faces are used: `mlspine.ship` from Python, the command line, and HTTP.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TextIO, get_args

import msgspec
import numpy as np

from mlspine import __version__, api
from mlspine.core.errors import Conflict, Unavailable
from mlspine.core.ids import now_ms
from mlspine.core.types import LogSummary, ModelVersion
from mlspine.demo import findings
from mlspine.demo.chart import spell
from mlspine.demo.faces import Commands
from mlspine.demo.figures import (
    Comparison,
    Kind,
    Machine,
    Moment,
    Renewal,
    Shipped,
    Story,
    SwitchUnderLoad,
    Traffic,
)
from mlspine.demo.flights import (
    ARRIVED,
    FEATURES,
    KEY,
    TARGET,
    TIME,
    between,
    build_model,
    landed,
    load_flights,
    split,
)
from mlspine.demo.page import day, duration, measure, render
from mlspine.demo.replay import Hammer, Outcome, by_hour, one_by_one, send
from mlspine.demo.timeline import Progress, tell, tell_advice
from mlspine.deployment.service import Switched

if TYPE_CHECKING:
    import pandas as pd

NAME = "flights"
YEAR = ("2013-01-01", "2013-04-01", "2014-01-01")  # fit from, replay from, end; UTC
SWITCH_REQUESTS = 10_500  # single rows around each of the two switches
BEFORE_SWITCH = 3_000
SWITCH_CONNECTIONS = 8
SWITCH_PER_S = 1_800.0  # a pace that leaves the switch time to happen among them
HOUR_CONNECTIONS = 2
FULL_CONNECTIONS = 64
LOG_WAIT_S = 20.0
ORDER: tuple[Kind, ...] = get_args(Kind)  # of moments on one day
NOTES = (
    "Weather of an hour counts as known when the hour is over: the tables file an observation made at 05:51,"
    " and the rain until then, under 05:00. Joined to a flight at 05:15 it would look 36 minutes ahead.",
    "Cancelled and diverted flights are asked about like all others, since nobody knows at the scheduled"
    " departure; their label never comes, so measured quality speaks of flights that arrived.",
    "A label can be known when the plane has landed, and is handed in with the month's file after that.",
    "Months are UTC: an evening in New York belongs to the next day, and that of 31 December is not sent.",
    "The model is renewed from a declared source: every flight of the year that had landed by that day. The newest"
    " quarter of them judges and the rest is fitted on, so the renewed release knows less than the source holds.",
    "Quality is looked at when a month's outcomes are in. After a fall, renewal is tried at the end of each month"
    " until the gate lets one pass.",
    "The gate judges by F1, of the answers given; the months are drawn by AUC, of the ranking behind them. A renewal"
    " can help the one and not the other, so both are compared.",
    "Intervals of monthly quality treat flights as independent; those of the gain resample whole days.",
)


class Fit(NamedTuple):
    """When the model is fitted and what it is measured on, with the words for both."""

    holdout_from: str
    end: str
    fitted_on: str
    holdout: str


FIRST = Fit("2013-03-18", "2013-04-01", "January to mid-March", "18 to 31 March")
ALL_LANDED = "2014-01-03"  # the last flight of the year has arrived
MONTHS = (*(f"2013-{month:02}-01" for month in range(4, 13)), YEAR[2])


def run(
    *,
    workspace: Path | None = None,
    port: int | None = None,
    control_port: int | None = None,
    full: bool = False,
    page_path: Path = Path("flights.html"),
    json_path: Path | None = None,
    out: TextIO | None = None,
) -> Story:
    """Play the year, print it, and write the page (and every figure to `json_path`).

    workspace: a new or empty folder that is kept; None for a temporary one that is removed.
    port, control_port: where predictions and the control API listen; None for free ones.
    full: send every flight alone instead of one request per departure hour.
    Raises MissingExtra without the demo's packages, Conflict when the folder is not empty, Unavailable when a
    command fails.
    """
    out = out or sys.stdout
    # Read when scikit-learn is first loaded. Trees this small lose more to threads that wait for each other, and for
    # the serving process next door, than they gain.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with _folder(workspace) as folder:
        director = Director(folder, full=full)
        try:
            story = director.play(port=port or _free_port(), control_port=control_port or _free_port())
        finally:
            director.stop()
    page_path.write_text(render(story), encoding="utf-8")
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(story)) + b"\n")
    leads = _leads(page_path, json_path, workspace)
    for line in ("", tell(story, colour=out.isatty()), *leads, "", tell_advice(story, colour=out.isatty())):
        out.write(_printable(line, out) + "\n")
    return story


class Director:
    """Plays the acts in order and keeps the figures of each."""

    def __init__(self, workspace: Path, *, full: bool) -> None:
        self._commands = Commands(workspace, NAME)
        self._full = full
        self._begun_s = time.perf_counter()
        self._steps: dict[str, float] = {}
        self._moments: list[Moment] = []
        self._shipped: list[Shipped] = []
        self._fallen = False  # the labels have shown measured quality below what was promised
        self._renewals: list[Renewal] = []
        self._switches: list[SwitchUnderLoad] = []
        self._outcomes: list[Outcome] = []  # of the replay, switches apart
        self._sent = 0  # flights of the year sent so far, in order
        self._labels_sent = 0
        self._labelled_until = YEAR[1]
        self._landed_until = YEAR[0]
        self._url = ""
        self._running = False

    def play(self, *, port: int, control_port: int) -> Story:
        """The whole year; returns its figures."""
        with self._step("read the flights") as bar:
            self._flights = load_flights()
            bar.say(f"{len(self._flights):,} flights, with the weather known at each")
        self._year = between(self._flights, YEAR[1], YEAR[2])
        self._land_until(FIRST.end)
        fitted_s = self._ship(FIRST)
        self._serve(port, control_port)
        first_answer_s = time.perf_counter() - fitted_s
        for start, end in itertools.pairwise(MONTHS):
            if start > FIRST.end and self._renewed() is None:
                self._look_after(start)
            self._replay_month(start, end)
        with self._step("the last outcomes") as bar:
            self._label_until(ALL_LANDED)
            bar.say(f"{self._labels_sent:,} labels in all")
        return self._figures(first_answer_s)

    def stop(self) -> None:
        """End every process this started."""
        if self._running:
            self._running = False
            self._commands.down()

    # ------------------------------------------------------------ the acts

    def _ship(self, fit: Fit) -> float:
        """Fit and ship; returns when the model was fitted (perf_counter)."""
        with self._step("fit and ship release 1") as bar:
            rows = split(self._flights, start=YEAR[0], holdout_from=fit.holdout_from, end=fit.end)
            model = build_model().fit(rows.X[list(FEATURES)], rows.y)
            fitted_s = time.perf_counter()
            shipped = api.ship(
                model,
                rows.X,
                rows.y,
                name=NAME,
                holdout=(rows.X_holdout, rows.y_holdout),
                time=TIME,
                key=KEY,
                source=os.path.relpath(self._source / "*.parquet"),
                labels="caller",
                owner="the flights demo",
                message=f"fitted on {fit.fitted_on} 2013",
                workspace=self._commands.workspace,
                quiet=True,
            )
            told = _quality_text(shipped)
            bar.say(told)
        metric = shipped.metric
        self._shipped.append(
            Shipped(
                version=shipped.version,
                release_hash=shipped.release_hash,
                fitted_on=fit.fitted_on,
                fitted_rows=len(rows.X),
                holdout=fit.holdout,
                holdout_rows=len(rows.X_holdout),
                metric=metric.name if metric else "",
                quality=metric.interval if metric else None,
                seconds=time.perf_counter() - fitted_s,
            )
        )
        detail = f"fitted on {len(rows.X):,} flights of {fit.fitted_on}; {told} on {fit.holdout}"
        self._tell(_ms(fit.end), "ship", f"Release {shipped.version} shipped", detail)
        return fitted_s

    def _serve(self, port: int, control_port: int) -> None:
        """Start serving, and have the first departure hour of the year answered."""
        with self._step("serve, and the first answer") as bar:
            self._running = True
            served = self._commands.serve(port=port, control_port=control_port)
            self._url = served.url
            hour = int(np.searchsorted(_hours(self._year), _hours(self._year)[0], side="right"))
            outcome = send(self._url, by_hour(self._year.iloc[:hour]))
            if outcome.failed:
                raise Unavailable(
                    "the first request was not answered",
                    details=outcome.failures,
                    hint=f"asked at {self._url}",
                )
            self._outcomes.append(outcome)
            self._sent = hour
            proof = _proof_text(served.switched)
            bar.say(proof)
        self._tell(_ms(YEAR[1]), "serve", "Served over HTTP", f"{proof} inside the serving process")

    def _replay_month(self, start: str, end: str) -> None:
        """Send the flights up to `end`; meanwhile hand in the outcomes known when the month began."""
        stop = int(np.searchsorted(_hours(self._year), np.datetime64(end, "h")))
        rows = self._year.iloc[self._sent : stop]
        title = f"replay to {(np.datetime64(end) - 1).item():%d %B}"
        with (
            ThreadPoolExecutor(1) as clerk,
            self._step(title, total=len(rows), into="replay April to December") as bar,
        ):
            handed_in = clerk.submit(self._label_until, start)
            connections = FULL_CONNECTIONS if self._full else HOUR_CONNECTIONS
            outcome = send(
                self._url,
                one_by_one(rows) if self._full else by_hour(rows),
                connections=connections,
                answered=lambda answer: bar.advance(answer.rows),
            )
            handed_in.result()
            self._outcomes.append(outcome)
            self._sent = stop
            bar.say(f"{len(rows):,} flights, {outcome.failed:,} failed")

    def _look_after(self, today: str) -> None:
        """Once the outcomes have shown a fall, renew by hand, and again a month later where the gate refuses."""
        with self._step(f"outcomes until {day(_ms(today))}", into="outcomes and measured quality"):
            self._label_until(today)
            self._land_until(today)
            self._fallen = self._fallen or bool(findings.quality_told(self._commands.quality_by_month()))
        if not self._fallen:
            return
        renewal = self._renew(today)
        if renewal.passed:
            self._replace(renewal.version)

    def _renew(self, today: str) -> Renewal:
        """`mlspine retrain flights`, and what the gate says."""
        with self._step(f"retrain on {day(_ms(today))}", into="retrain, through the gate") as bar:
            again = "the gate refused the last one; a month more has landed"
            done = self._commands.retrain(message=again if self._renewals else "measured quality has fallen")
            renewal = findings.renewal(done, at_ms=_ms(today), seconds=bar.seconds)
            said = "passed the gate" if renewal.passed else "the gate said no"
            bar.say(f"release {renewal.version}: {said}")
        self._renewals.append(renewal)
        title = f"Fitted again as release {renewal.version}: {said}"
        self._tell(_ms(today), "retrain", title, f"{renewal.fitted_rows:,} flights fitted on. {renewal.paragraph}")
        return renewal

    def _renewed(self) -> Renewal | None:
        """The renewal that passed."""
        return next((each for each in self._renewals if each.passed), None)

    def _replace(self, version: int) -> None:
        """Promote the renewed release under load, roll back under load as a drill, and promote it for good."""
        self._switch("promote", lambda: self._commands.promote(version, reason="it passed the gate"))
        self._switch("rollback", lambda: self._commands.rollback(reason="drill: is the way back open?"))
        with self._step(f"promote release {version} for good", into="two switches under load"):
            self._commands.promote(version, reason="drill passed")
        self._tell(self._now_ms(), "promote", f"Release {version} for good", "the drill was passed")

    def _switch(self, verb: Literal["promote", "rollback"], act: Callable[[], Switched]) -> None:
        rest = self._year.iloc[self._sent :]
        with self._step(f"{verb} under load", total=SWITCH_REQUESTS, into="two switches under load") as bar:
            with Hammer(
                self._url,
                rest,
                connections=SWITCH_CONNECTIONS,
                per_s=SWITCH_PER_S,
                answered=lambda _: bar.advance(),
            ) as hammer:
                hammer.wait_for(BEFORE_SWITCH)
                moment_ms, asked_at_ms = self._now_ms(ahead=hammer.sent), now_ms()
                switched = act()
                hammer.wait_for(SWITCH_REQUESTS)
            self._sent += hammer.sent
            figures = _switch_figures(verb, switched, hammer.outcome, asked_at_ms=asked_at_ms)
            self._switches.append(figures)
            told = (
                f"{figures.requests:,} single-row requests meanwhile, {figures.failed or 'none'} failed;"
                f" effective after {duration(figures.effective_s)}"
            )
            bar.say(told)
        title = f"Release {figures.to_version} promoted" if verb == "promote" else "Rolled back, as a drill"
        self._tell(moment_ms, verb, f"{title}, under load", f"{told}; {_proof_text(switched)}")

    def _label_until(self, end: str) -> None:
        """Hand in the outcome of every flight sent that had arrived by then."""
        import pandas as pd

        sent = self._year.iloc[: self._sent]
        since, until = pd.Timestamp(self._labelled_until, tz="UTC"), pd.Timestamp(end, tz="UTC")
        known = sent[(sent[ARRIVED] >= since) & (sent[ARRIVED] < until)]
        if known.empty:
            return
        file = self._commands.workspace / f"labels-{end}.csv"
        label_time = known[ARRIVED].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        labels = pd.DataFrame({"key": known[KEY], "label": known[TARGET].astype("int64"), "label_time": label_time})
        labels.to_csv(file, index=False)
        receipt = self._commands.add_labels(file)
        file.unlink()
        if not self._labels_sent:
            detail = f"{receipt.matched:,} of {receipt.read:,} met their prediction by its key"
            self._tell(_ms(end), "labels", "The first month's outcomes come back", detail)
        self._labels_sent += receipt.read
        self._labelled_until = end

    def _land_until(self, end: str) -> None:
        """Lay the flights that have landed since the last time beside the others, as the declared source has them."""
        import duckdb

        rows = landed(self._flights, self._landed_until, end)
        self._source.mkdir(parents=True, exist_ok=True)
        duckdb.from_df(rows).write_parquet(str(self._source / f"until-{end}.parquet"))
        self._landed_until = end

    @property
    def _source(self) -> Path:
        return self._commands.workspace / "landed"

    # ------------------------------------------------------------ the figures

    def _figures(self, first_answer_s: float) -> Story:
        with self._step("look back on the year") as bar:
            self._commands.check()
            log = self._whole_log()
            quality = self._commands.quality_by_month()
            alerts = self._commands.alerts()
            reports = self._commands.reports()
            entries, verified = self._commands.ledger(), self._commands.verify_ledger()
            comparison = self._compare()
            advised = self._commands.advise()
            bar.say(f"{len(findings.judged(reports)):,} judged windows, {len(alerts):,} alerts")
        alert = findings.first_alert(reports)
        traffic = self._traffic(log)
        end = Moment(
            at_ms=int(self._year[TIME].iloc[-1].timestamp() * 1000),
            kind="end",
            title="The last flight of the year",
            detail=f"{traffic.flights_sent:,} flights sent, {traffic.rows_logged:,} rows in the log",
        )
        moments = [*self._moments, *([alert] if alert else []), *findings.quality_told(quality), end]
        versions = {each.release_hash: each.version for each in self._shipped}
        versions |= {each.release_hash: each.version for each in self._renewals}
        return Story(
            flights=len(self._flights),
            shipped=tuple(self._shipped),
            renewals=tuple(self._renewals),
            first_answer_s=first_answer_s,
            moments=tuple(sorted(moments, key=lambda moment: (moment.at_ms, ORDER.index(moment.kind)))),
            quality=findings.quality_rows(quality, versions),
            comparison=comparison,
            drift=findings.drift_by_feature(reports),
            windows=len(findings.judged(reports)),
            windows_warned=len(findings.warned(reports)),
            top=findings.most_moved(reports),
            alerts=findings.alert_lines(alerts),
            switches=tuple(self._switches),
            traffic=traffic,
            ledger=tuple(entries[-20:]),
            ledger_intact=verified.intact,
            ledger_entries=verified.entries,
            advised=advised,
            notes=NOTES,
            seconds=time.perf_counter() - self._begun_s,
            seconds_by_step=dict(self._steps),
            machine=_machine(),
            finished_at_ms=now_ms(),
        )

    def _compare(self) -> tuple[Comparison, ...]:
        """The first release and the renewed one on all flights since the renewal; () when none passed."""
        renewed = self._renewed()
        if renewed is None:
            return ()
        later = between(self._flights, _date(renewed.at_ms), YEAR[2])
        first, second = (self._commands.scores(version, later[list(FEATURES)]) for version in (1, renewed.version))
        return findings.compare(later, first=first, second=second)

    def _traffic(self, log: LogSummary) -> Traffic:
        apart = [answer.taken_s for outcome in self._outcomes for answer in outcome.answers]
        return Traffic(
            flights_sent=self._sent,
            requests=len(apart) + sum(each.requests for each in self._switches),
            failed=sum(outcome.failed for outcome in self._outcomes) + sum(each.failed for each in self._switches),
            rows_logged=log.rows,
            labels_sent=self._labels_sent,
            labels_matched=log.labelled_rows,
            one_by_one=self._full,
            replay_s=sum(outcome.seconds for outcome in self._outcomes),
            answer_p50_s=float(np.quantile(apart, 0.5)),
            answer_p99_s=float(np.quantile(apart, 0.99)),
            months=findings.traffic_by_month(self._year.iloc[: self._sent]),
        )

    def _whole_log(self) -> LogSummary:
        """The log once it holds every flight sent; after a while, what it does hold."""
        until_s = time.monotonic() + LOG_WAIT_S
        while (log := self._commands.log()).rows < self._sent and time.monotonic() < until_s:
            time.sleep(0.5)
        return log

    def _now_ms(self, *, ahead: int = 0) -> int:
        """Where the year stands: the scheduled departure of the flight sent last."""
        at = min(self._sent + ahead, len(self._year)) - 1
        return int(self._year[TIME].iloc[at].timestamp() * 1000)

    def _tell(self, at_ms: int, kind: Kind, title: str, detail: str) -> None:
        self._moments.append(Moment(at_ms=at_ms, kind=kind, title=title, detail=detail))

    @contextlib.contextmanager
    def _step(self, title: str, *, total: int = 0, into: str = "") -> Iterator[Progress]:
        """A progress line; its seconds are added under `into`, by default the title."""
        with Progress(title, total=total) as bar:
            yield bar
        self._steps[into or title] = self._steps.get(into or title, 0.0) + bar.seconds


# ---------------------------------------------------------------- small facts


def _switch_figures(
    verb: Literal["promote", "rollback"], switched: Switched, outcome: Outcome, *, asked_at_ms: int
) -> SwitchUnderLoad:
    proof = switched.proof
    return SwitchUnderLoad(
        verb=verb,
        from_version=switched.previous_version,
        to_version=switched.revision.version,
        requests=len(outcome.answers),
        failed=outcome.failed,
        requests_per_s=len(outcome.answers) / outcome.seconds,
        connections=SWITCH_CONNECTIONS,
        p50_s=outcome.quantile_s(0.5),
        p99_s=outcome.quantile_s(0.99),
        ready_s=max(0.0, (switched.committed_at_ms - asked_at_ms) / 1000),
        effective_s=switched.effective_s,
        seen_by_callers_s=outcome.effective_s(
            old_version=switched.previous_version, committed_at_ms=switched.committed_at_ms
        ),
        reproduced_rows=proof.reproduced_rows if proof else 0,
        recorded_rows=proof.recorded_rows if proof else 0,
    )


def _quality_text(version: ModelVersion) -> str:
    metric = version.metric
    if metric is None or metric.interval is None:
        return "quality not estimable"
    return f"{measure(metric.name)} {spell(metric.interval)}"


def _proof_text(switched: Switched) -> str:
    proof = switched.proof
    return f"{proof.reproduced_rows} of {proof.recorded_rows} recorded predictions reproduced" if proof else ""


def _hours(flights: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    hours: np.ndarray[tuple[int], np.dtype[np.datetime64]] = (
        flights[TIME].dt.tz_localize(None).to_numpy().astype("datetime64[h]")
    )
    return hours


def _ms(date: str) -> int:
    at = datetime.datetime.fromisoformat(date).replace(tzinfo=datetime.UTC)
    return int(at.timestamp() * 1000)


def _date(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).date().isoformat()


def _machine() -> Machine:
    return Machine(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=platform.system(),
        python=platform.python_version(),
        mlspine=__version__,
        libraries={name: installed(name) for name in ("scikit-learn", "pandas", "numpy", "duckdb")},
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _folder(workspace: Path | None) -> Iterator[Path]:
    """The workspace of the demo: the folder asked for, or a temporary one that is removed afterwards."""
    if workspace is not None:
        if workspace.exists() and (not workspace.is_dir() or any(workspace.iterdir())):
            raise Conflict(
                f"{workspace} is not an empty folder",
                hint="the demo plays a year from its start; name a new folder",
            )
        yield workspace.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="mlspine-demo-")).resolve()
    try:
        yield folder / NAME
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _leads(page_path: Path, json_path: Path | None, workspace: Path | None) -> list[str]:
    rows = [("the page for a colleague", str(page_path))]
    if json_path is not None:
        rows.append(("every figure", str(json_path)))
    if workspace is not None:
        rows.append(("look around", f"MLSPINE_WORKSPACE={workspace} mlspine status {NAME}"))
    return [f"  {name:<28}  {value}" for name, value in rows]


def _printable(text: str, out: TextIO) -> str:
    """What this terminal can show: a question mark for the rest."""
    encoding = out.encoding or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding)
