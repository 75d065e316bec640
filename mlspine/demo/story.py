"""The director of `mlspine demo flights`: a model is shipped, served, watched, renewed, and brought back once.

Only public faces are used: `mlspine.ship` from Python, the command line, and HTTP.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TextIO, get_args

import msgspec
import numpy as np

from mlspine import api
from mlspine.core.errors import Unavailable
from mlspine.core.ids import now_ms
from mlspine.core.types import LogSummary, ModelVersion
from mlspine.demo import canary, findings, stage
from mlspine.demo.faces import Commands
from mlspine.demo.figures import (
    CameBack,
    CanaryRun,
    Comparison,
    Kind,
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
from mlspine.demo.page import day, duration, render
from mlspine.demo.replay import Hammer, Outcome, by_hour, one_by_one, send
from mlspine.demo.stage import NAME
from mlspine.demo.switching import proof_text, quality_text, switch_figures
from mlspine.demo.timeline import Progress, tell, tell_advice
from mlspine.deployment.service import Switched

if TYPE_CHECKING:
    import pandas as pd

YEAR = ("2013-01-01", "2013-04-01", "2014-01-01")  # fit from, replay from, end; UTC
SWITCH_REQUESTS = 10_500  # single rows around each of the two switches
BEFORE_SWITCH = 3_000
SWITCH_CONNECTIONS = 8
SWITCH_PER_S = 1_800.0  # a pace that leaves the switch time to happen among them
HOUR_CONNECTIONS = 2
FULL_CONNECTIONS = 64
LOG_WAIT_S = 20.0
LEDGER_SHOWN = 40
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
    "The demo sends as fast as the machine answers, so only answers above 2 s count as slow in the canary and the"
    " watch; the canary takes steps of seconds, where hours and a whole day are usual.",
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
    with stage.folder_of(workspace) as folder:
        director = Director(folder, full=full)
        try:
            story = director.play(port=port or stage.free_port(), control_port=control_port or stage.free_port())
        finally:
            director.stop()
    page_path.write_text(render(story), encoding="utf-8")
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(story)) + b"\n")
    leads = stage.leads(page_path, json_path, workspace)
    for line in ("", tell(story, colour=out.isatty()), *leads, "", tell_advice(story, colour=out.isatty())):
        out.write(stage.printable(line, out) + "\n")
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
        self._canary: CanaryRun | None = None
        self._broken: ModelVersion | None = None
        self._came_back: CameBack | None = None
        self._scenes: list[canary.Scene] = []
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
            elif self._renewed() is not None and self._came_back is None:
                self._break(start)
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
            told = quality_text(shipped)
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
            proof = proof_text(served.switched)
            bar.say(proof)
        self._tell(_ms(YEAR[1]), "serve", "Served over HTTP", f"{proof} inside the serving process")

    def _replay_month(self, start: str, end: str) -> None:
        """Send the flights up to `end`; meanwhile hand in the outcomes known when the month began."""
        stop = int(np.searchsorted(_hours(self._year), np.datetime64(end, "h")))
        rows = self._year.iloc[self._sent : stop]
        if rows.empty:  # on a slow machine a scene may take all that was left of a month
            self._label_until(start)
            return
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
        """Promote the renewed release under load, roll back under load as a drill, and bring it forward for good."""
        self._switch("promote", lambda: self._commands.promote(version, reason="it passed the gate"))
        self._switch("rollback", lambda: self._commands.rollback(reason="drill: is the way back open?"))
        self._bring_forward(version)

    def _bring_forward(self, version: int) -> None:
        """By a canary, which promotes it in the end; by hand where the canary came to no good end."""
        with self._step(f"canary of release {version}", into="a canary under load") as bar:
            run, scene = canary.bring_forward(
                self._commands, self._url, self._year.iloc[self._sent :], version, advance=bar.advance
            )
            self._took(scene)
            self._canary = run
            bar.say(f"{run.state} after {duration(run.seconds)}; {run.failed or 'none'} failed")
        self._tell(self._now_ms(), "canary", *canary.forward_told(run))
        if run.state != "promoted":
            with self._step(f"promote release {version} for good", into="a canary under load"):
                self._commands.promote(version, reason=f"the canary ended as {run.state}; the gate had passed it")
            self._tell(self._now_ms(), "promote", f"Release {version} for good", f"the canary ended as {run.state}")

    def _break(self, today: str) -> None:
        """Ship a release with its label turned round, promote it in a hurry, and let it come back by itself."""
        with self._step("ship a broken release", into="a broken release") as bar:
            self._broken = broken = canary.ship_broken(self._commands, NAME, self._flights)
            told = f"{quality_text(broken)} on a holdout that is turned round too"
            bar.say(f"release {broken.version}: {told}")
        self._tell(_ms(today), "ship", f"Release {broken.version} shipped, its label turned round by mistake", told)
        with self._step("promote it, and wait", into="a broken release") as bar:
            self._came_back, scene = canary.watch_it_come_back(
                self._commands, self._url, self._year.iloc[self._sent :], broken.version, advance=bar.advance
            )
            self._took(scene)
            title, detail = canary.back_told(self._came_back)
            bar.say(title)
        if not self._came_back.returned:
            self._commands.rollback(reason="nothing brought it back")
        self._tell(self._now_ms(), "return" if self._came_back.returned else "rollback", title, detail)

    def _took(self, scene: canary.Scene) -> None:
        self._sent += scene.flights
        self._scenes.append(scene)

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
            figures = switch_figures(
                verb, switched, hammer.outcome, asked_at_ms=asked_at_ms, connections=SWITCH_CONNECTIONS
            )
            self._switches.append(figures)
            told = (
                f"{figures.requests:,} single-row requests meanwhile, {figures.failed or 'none'} failed;"
                f" effective after {duration(figures.effective_s)}"
            )
            bar.say(told)
        title = f"Release {figures.to_version} promoted" if verb == "promote" else "Rolled back, as a drill"
        self._tell(moment_ms, verb, f"{title}, under load", f"{told}; {proof_text(switched)}")

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
        versions |= {each.release_hash: each.version for each in (self._broken,) if each is not None}
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
            canary=self._canary,
            came_back=self._came_back,
            traffic=traffic,
            ledger=tuple(entries[-LEDGER_SHOWN:]),
            ledger_intact=verified.intact,
            ledger_entries=verified.entries,
            advised=advised,
            notes=NOTES,
            seconds=time.perf_counter() - self._begun_s,
            seconds_by_step=dict(self._steps),
            machine=stage.machine(),
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
            requests=len(apart)
            + sum(each.requests for each in self._switches)
            + sum(len(each.answers) for each in self._scenes),
            failed=sum(outcome.failed for outcome in self._outcomes)
            + sum(each.failed for each in self._switches)
            + sum(each.failed for each in self._scenes),
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
