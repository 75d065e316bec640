"""Where a change of a window comes from: which column, since when, whose rows, and which to look at."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mlspine.core.errors import MlspineError, NotFound
from mlspine.core.types import CauseReport, DriftReport, SubWindow, Suspect
from mlspine.monitoring import store
from mlspine.monitoring.cause_model import asking, why_not_asked
from mlspine.monitoring.cause_onset import Begun, onsets
from mlspine.monitoring.cause_output import Output, mean_of, output_of
from mlspine.monitoring.cause_rest import what_remains
from mlspine.monitoring.cause_rows import Logged, read_rows
from mlspine.monitoring.cause_says import answer, suspicion
from mlspine.monitoring.cause_segments import likeness_of, segments
from mlspine.monitoring.cause_skew import clock_rules, clock_skew, source_skew
from mlspine.monitoring.cause_suspects import Ranked, changed, rank, rank_by_importance
from mlspine.monitoring.window import DAY_MS, Span, rows_by_slot
from mlspine.monitoring.yardstick import Yardstick, Yardsticks
from mlspine.ports import Database
from mlspine.predictions.service import Predictions
from mlspine.registry.release import is_watched, read_recorded
from mlspine.registry.service import Registry
from mlspine.stats import profile as profiles
from mlspine.stats.baseline import at_hours
from mlspine.stats.profile import Array, Floats, Profile, Reference
from mlspine.stats.surrogate import fit_surrogate

WINDOW_ROWS = 5_000  # read of the window's rows
BEFORE_ROWS = 5_000  # and of those of earlier windows without an alert
HISTORY_MS = 14 * DAY_MS
LOOKED_BACK = 500  # windows looked through for earlier rows and for the newest alert
LEAST_WINDOWS = 24  # of them, so that the hours of a day are among them
ROWS_SHOWN = 10
SUSPECTS_SHOWN = 12
DATED = 5  # suspects whose onset is looked for
LEAST_EXPLAINED = 0.5  # of the variation of logged answers, for a stand-in of the model to be asked
LEAST_ROWS = 100
FITTED_COLUMNS = 60  # of the stand-in
KEPT = 32

THE_MODEL = "the model itself"
STAND_IN = "a stand-in fitted on logged answers"
IMPORTANCE = "importance times how far past its limit"


class Causes:
    """Answers "why" about windows that were judged. Reads only; each answer is kept while its window is."""

    def __init__(
        self, *, db: Database, predictions: Predictions, registry: Registry, yardsticks: Yardsticks, root: Path | None
    ) -> None:
        self._db = db
        self._predictions = predictions
        self._registry = registry
        self._yardsticks = yardsticks
        self._root = root
        self._kept: OrderedDict[tuple[object, ...], CauseReport] = OrderedDict()
        self._turn = threading.Lock()  # one model process at a time

    def of(self, endpoint: str, *, at_ms: int = 0, release_hash: str = "") -> CauseReport:
        """The causes of the window that holds `at_ms`; with 0 of the newest at WARNING or worse, else the newest.

        Raises NotFound when no such window was judged.
        """
        report = self._window(endpoint, at_ms, release_hash)
        key = (endpoint, report.release_hash, report.from_at_ms, report.to_at_ms, report.judged_at_ms)
        with self._turn:
            if key not in self._kept:
                self._kept[key] = self._found(report)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return self._kept[key]

    # ------------------------------------------------------------ gathering

    def _window(self, endpoint: str, at_ms: int, release_hash: str) -> DriftReport:
        if at_ms:
            held = store.find_report(self._db, endpoint, at_ms=at_ms, release_hash=release_hash)
            if held is None or held.status != "JUDGED":
                raise NotFound(
                    f"no judged window of {endpoint} holds that moment", hint=f"see: mlspine check {endpoint}"
                )
            return held
        found = store.reports(self._db, endpoint, limit=LOOKED_BACK)
        judged = [each for each in found if each.status == "JUDGED" and each.release_hash.startswith(release_hash)]
        if not judged:
            raise NotFound(
                f"no window of {endpoint} has been judged yet", hint=f"mlspine check {endpoint} says what is missing"
            )
        alerting = [each for each in judged if each.severity in ("WARNING", "CRITICAL")]
        return (alerting or judged)[-1]

    def _found(self, report: DriftReport) -> CauseReport:
        yardstick = self._as_judged(report)
        reference = yardstick.baseline.inputs
        window = self._counted(report, reference)
        span = Span(report.from_at_ms, report.to_at_ms)
        now = self._rows(report, yardstick, [span], WINDOW_ROWS)
        task = yardstick.release.signature.task
        output = output_of(report, task, self._outputs(report, yardstick), now)
        ranked, method = self._ranked(report, yardstick, window, now, output)
        suspects = self._suspects(report, ranked, reference, window, output.name)
        before, earlier, windows_before = self._before(report, yardstick, suspects)
        names = [each.name for each in suspects]
        likeness = _likeness(reference, window, names[:3] if ranked.beyond_chance else [], before, now)
        said_skew, compared = self._skew(yardstick, before, now)
        moved = names if ranked.beyond_chance else []
        rest = what_remains(reference, yardstick.baseline.importance, before, now, moved, windows_before)
        output_before, output_now = output.of(before), output.of(now)
        found = CauseReport(
            endpoint=report.endpoint,
            release_hash=report.release_hash,
            from_at_ms=report.from_at_ms,
            to_at_ms=report.to_at_ms,
            rows=report.rows,
            output=output.name,
            before=mean_of(output_before) if output.before is None else output.before,
            now=mean_of(output_now),
            suspects=suspects,
            segments=segments(
                before,
                now,
                output_before=output_before,
                output_now=output_now,
                likeness=likeness,
                output=output.name,
            ),
            interaction=rest.interaction,
            domain_auc=rest.auc,
            skew=said_skew,
            row_ids=_row_ids(reference, window, suspects, now) if ranked.beyond_chance else (),
            method=method,
            compared_with="; ".join(filter(None, [earlier, rest.compared, compared])),
        )
        return answer(found, beyond_chance=ranked.beyond_chance)

    def _as_judged(self, report: DriftReport) -> Yardstick:
        """The yardstick with its baseline as it looked at the hours of the week this window covers."""
        yardstick = self._yardsticks.of(report.endpoint, report.release_hash)
        slots = rows_by_slot(self._hours(report, report.from_at_ms))
        return yardstick._replace(baseline=at_hours(yardstick.baseline, slots))

    def _rows(self, report: DriftReport, yardstick: Yardstick, spans: Sequence[Span], most: int) -> Logged:
        return read_rows(
            self._predictions,
            report.endpoint,
            report.release_hash,
            yardstick.release.signature.inputs,
            spans=spans,
            most=most,
        )

    def _before(
        self, report: DriftReport, yardstick: Yardstick, suspects: Sequence[Suspect]
    ) -> tuple[Logged, str, int]:
        """Rows from before the change, which rows these are in words, and how many windows they come from.

        They are those of earlier windows without an alert, the newest first. Where every window alerts, they are
        of the days before the first suspect began to change.
        """
        begun = [each.onset_lo_ms for each in suspects[:1] if each.onset_at_ms]
        until = min([report.from_at_ms, *begun])
        earlier = [
            each
            for each in store.reports(self._db, report.endpoint, release_hash=report.release_hash, limit=LOOKED_BACK)
            if each.to_at_ms <= until and each.status == "JUDGED"
        ]
        calm = [each for each in earlier if each.severity in ("OK", "INFO")]
        taken, rows = list[DriftReport](), 0
        for each in reversed(calm or (earlier if begun else [])):
            if rows >= 2 * BEFORE_ROWS and len(taken) >= LEAST_WINDOWS:
                break
            taken.append(each)
            rows += each.rows
        found = self._rows(report, yardstick, [Span(each.from_at_ms, each.to_at_ms) for each in taken], BEFORE_ROWS)
        if not found.rows:
            return found, "no earlier rows: segments and interactions are not compared", 0
        kind = "without an alert" if calm else "from before it began"
        return found, f"{found.rows:,} logged rows of {len(taken)} earlier windows {kind}", len(taken)

    def _counted(self, report: DriftReport, reference: Reference) -> Profile:
        total = profiles.empty(reference)
        for hour in self._hours(report, report.from_at_ms):
            if hour.inputs:
                total = profiles.merge(total, profiles.decode(hour.inputs, reference))
        return total

    def _hours(self, report: DriftReport, from_at_ms: int) -> list[SubWindow]:
        return self._predictions.sub_windows(
            report.endpoint, release_hash=report.release_hash, from_at_ms=from_at_ms, to_at_ms=report.to_at_ms
        )

    def _outputs(self, report: DriftReport, yardstick: Yardstick) -> Reference | None:
        if yardstick.baseline.outputs is not None:
            return yardstick.baseline.outputs
        learned = self._predictions.learned(report.endpoint, report.release_hash)
        return learned.reference if learned else None

    # ------------------------------------------------------------ which column

    def _ranked(
        self, report: DriftReport, yardstick: Yardstick, window: Profile, now: Logged, output: Output
    ) -> tuple[Ranked, str]:
        needed = yardstick.release.signature.inputs.names
        withheld = [name for name in needed if name not in now.inputs]
        why = why_not_asked(yardstick.version, yardstick.release)
        if now.rows < LEAST_ROWS:
            return rank_by_importance(report), f"{IMPORTANCE}: {now.rows} rows of the window are in the log"
        if withheld:
            why = why or f"the log does not hold {', '.join(withheld[:3])}"
        if not why:
            try:
                path = Path(yardstick.version.path)
                recorded, _ = read_recorded(path, yardstick.release)
                stand_ins: Mapping[str, Array] = {name: values for name, values in recorded.items() if len(values)}
                with asking(yardstick.version) as ask:
                    ranked = rank(
                        report,
                        yardstick.baseline,
                        window,
                        now.inputs,
                        ask,
                        event_at_ms=now.event_at_ms,
                        stand_ins=stand_ins,
                    )
                    return ranked, THE_MODEL
            except MlspineError as exc:
                why = exc.message
        return self._without_model(report, yardstick, window, now, output, why)

    def _without_model(
        self, report: DriftReport, yardstick: Yardstick, window: Profile, now: Logged, output: Output, why: str
    ) -> tuple[Ranked, str]:
        reference = yardstick.baseline.inputs
        importance = yardstick.baseline.importance
        suspected, _ = changed(report)
        first = [each.name for each in suspected] + sorted(reference.names, key=lambda name: -importance.get(name, 0.0))
        names = [name for name in dict.fromkeys(first) if name in now.inputs][:FITTED_COLUMNS]
        if names:
            fitted = fit_surrogate(reference, now.inputs, output.of(now), names=names)
            if fitted.share_explained >= LEAST_EXPLAINED:
                ranked = rank(report, yardstick.baseline, window, now.inputs, fitted.ask)
                explains = f"{fitted.share_explained:.0%} of their variation explained"
                return ranked, f"{STAND_IN}, {explains}; the model was not asked: {why}"
        return rank_by_importance(report), f"{IMPORTANCE}; the model was not asked: {why}"

    def _suspects(
        self, report: DriftReport, ranked: Ranked, reference: Reference, window: Profile, output: str
    ) -> tuple[Suspect, ...]:
        verdicts = {each.name: each for each in report.features if each.role == "input"}
        dated = [each.name for each in ranked.credits[:DATED]] if ranked.beyond_chance else []
        history = self._hours(report, report.to_at_ms - HISTORY_MS)
        since = onsets(history, reference, window, dated, from_at_ms=report.from_at_ms)
        made = []
        for credit in ranked.credits[:SUSPECTS_SHOWN]:
            begun = since.begun.get(credit.name, Begun())
            influence = ranked.influences.get(credit.name)
            days = since.days if credit.name in since.begun else 0.0
            made.append(
                Suspect(
                    name=credit.name,
                    influence=credit.share,
                    onset_at_ms=begun.at_ms,
                    onset_lo_ms=begun.lo_ms,
                    onset_hi_ms=begun.hi_ms,
                    why=suspicion(verdicts[credit.name], credit, influence, output, days_of_log=days),
                )
            )
        return tuple(made)

    # ------------------------------------------------------------ skew

    def _skew(self, yardstick: Yardstick, before: Logged, now: Logged) -> tuple[tuple[str, ...], str]:
        release, version = yardstick.release, yardstick.version
        # A release whose model is elsewhere records no answers.
        shipped = {} if is_watched(release) else read_recorded(Path(version.path), release)[0]
        rules = clock_rules(shipped, None)
        known = {(rule.column, rule.clock) for rule in rules}
        later = clock_rules(before.inputs, before.event_at_ms)
        rules += tuple(rule for rule in later if (rule.column, rule.clock) not in known)
        said = clock_skew(now, rules)
        if self._root is None:
            return said, ""
        data = self._registry.get(version.model, version.version).captured.get("data", {})
        more, compared = source_skew(
            now,
            release.signature.inputs,
            source=str(data.get("source") or data.get("reference") or ""),
            root=self._root,
            key=str(release.settings.get("key") or ""),
            time=str(release.settings.get("time") or ""),
        )
        return said + more, compared


# ---------------------------------------------------------------- rows


def _likeness(
    reference: Reference, window: Profile, names: Sequence[str], before: Logged, now: Logged
) -> dict[str, tuple[Floats, Floats]]:
    found = {}
    for name in names:
        old = likeness_of(reference, window, name, before.inputs, before.event_at_ms)
        new = likeness_of(reference, window, name, now.inputs, now.event_at_ms)
        if old is not None and new is not None:
            found[name] = (old, new)
    return found


def _row_ids(reference: Reference, window: Profile, suspects: Sequence[Suspect], now: Logged) -> tuple[str, ...]:
    """The rows most unlike the reference in what is suspected, weighted by its influence."""
    if not now.rows:
        return ()
    total = np.zeros(now.rows)
    for suspect in suspects[:3]:
        likeness = likeness_of(reference, window, suspect.name, now.inputs, now.event_at_ms)
        if likeness is not None:
            total += suspect.influence * likeness
    order = np.argsort(-total, kind="stable")[:ROWS_SHOWN]
    return tuple(now.ids[i] for i in order.tolist() if total[i] > 0)
