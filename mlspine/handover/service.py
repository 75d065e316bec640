"""The door of handover: what a second person needs, written from what is there, and proof that it works."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from mlspine.core.address import local_url
from mlspine.core.config import Config
from mlspine.core.errors import Invalid, NotFound
from mlspine.core.ids import SHORT_HASH, now_ms
from mlspine.core.public import public
from mlspine.core.types import Actor, Evidence, Limit, Metric, ModelVersion
from mlspine.deployment.endpoint import trail
from mlspine.deployment.service import Deployment
from mlspine.feeds.service import Feeds
from mlspine.governance.service import Governance
from mlspine.handover import card as cards
from mlspine.handover.card import Card
from mlspine.handover.drill import DRILL, Drilled
from mlspine.handover.runbook import Known, Runbook, Task, write_runbook
from mlspine.handover.trying import Tried, try_paths
from mlspine.monitoring.service import Monitoring
from mlspine.ports import Database
from mlspine.predictions.service import Predictions
from mlspine.registry.account import figure
from mlspine.registry.service import Registry
from mlspine.registry.watched import is_watched_version, require_model


class Handover:
    """Runbooks and cards from the real configuration; drills and cards are evidence, each with a ledger line."""

    def __init__(
        self,
        *,
        db: Database,
        registry: Registry,
        deployment: Deployment,
        predictions: Predictions,
        feeds: Feeds,
        monitoring: Monitoring,
        governance: Governance,
        config: Config,
        workspace: str,
        sinks: Sequence[str],
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._db = db
        self._registry = registry
        self._deployment = deployment
        self._predictions = predictions
        self._feeds = feeds
        self._monitoring = monitoring
        self._governance = governance
        self._config = config
        self._workspace = workspace
        self._sinks = tuple(sinks)
        self._clock = clock

    # ------------------------------------------------------------ runbooks and drills

    @public("read")
    def runbook(self, name: str, task: Task) -> Runbook:
        """How endpoint `name` is deployed, rolled back, retrained or silenced, from what is live now."""
        endpoint = self._deployment.get(name)
        versions = tuple(self._registry.versions(endpoint.model))
        live = endpoint.current.version
        newest = self._registry.get(endpoint.model, versions[-1].version)  # with its recorded example
        if live:
            require_model(self._registry.get(endpoint.model, live))
        said = self._edition(newest)[1]
        serving, control = self._config.serving, self._config.control
        known = Known(
            endpoint=endpoint,
            versions=(*versions[:-1], newest),
            live=self._registry.get(endpoint.model, live) if live else None,
            steps_back=len(trail(self._deployment.revisions(name))),
            workspace=self._workspace,
            predictions_url=local_url(serving.host, serving.port),
            control_url=local_url(control.host, control.port),
            sinks=self._sinks,
            feeds=self._feeds.states(endpoint.model),
            recipe=str(newest.captured.get("recipe", {}).get("kind", "none")),
            labelled_rows=self._predictions.summary(name).labelled_rows,
            owner=said.get("owner") or newest.owner,
            owner_assumed="owner" not in said,
            at_ms=self._clock(),
        )
        return write_runbook(task, known)

    @public("operate")
    def try_paths(self, name: str) -> list[Tried]:
        """Who answers for endpoint `name` if its release does not, each asked with recorded rows; nothing changes."""
        endpoint = self._deployment.get(name)
        current, before = endpoint.current.version, endpoint.previous
        live = self._registry.get(endpoint.model, current) if current else None
        if live is not None:
            require_model(live)
        previous = self._registry.get(endpoint.model, before.version) if before else None
        served = [each.version for each in self._deployment.revisions(name) if each.version]
        rows_of = live or self._registry.get(endpoint.model, served[-1])
        return list(try_paths(endpoint, live, previous, rows_of=rows_of, ask=self._deployment.ask))

    @public("administer")  # the figures are the caller's own: whoever reports them is believed
    def record_drill(self, drilled: Drilled, *, actor: Actor) -> Evidence:
        """Keep how a drill ended: evidence "drill:TASK" of the endpoint, and a ledger line."""
        self._deployment.get(drilled.endpoint)
        subject = f"endpoint:{drilled.endpoint}"
        with self._db.write():
            evidence = self._governance.record_evidence(
                f"{DRILL}:{drilled.task}", subject, actor, passed=drilled.passed, document={"drill": drilled}
            )
            facts = {
                "task": drilled.task,
                "passed": drilled.passed,
                "commands": len(drilled.lines),
                "duration_s": round(drilled.duration_s, 3),
                "failed_requests": drilled.failed_requests,
                "evidence": evidence.id,
            }
            self._governance.record("drill", subject, actor, reason=drilled.why, facts=facts)
        return evidence

    @public("read")
    def drills(self, name: str, *, limit: Limit = 20) -> list[Evidence]:
        """The newest drills of an endpoint, newest first."""
        return self._governance.evidence(f"endpoint:{self._deployment.get(name).name}", kind=DRILL, limit=limit)

    # ------------------------------------------------------------ the card

    @public("read")
    def card(self, model: str) -> Card:
        """The project card of a model: what people said, what is known, which gaps are left, go or no-go."""
        version = self._version(model)
        edition, said = self._edition(version)
        return Card(
            model=model,
            edition=int(edition.document["edition"]) if edition else 0,
            said=said,
            facts=self._known(version),
            gaps=cards.gaps_of(model, said),
            success=cards.judge(said.get("success", ""), self._metrics(version)),
            changed_at_ms=edition.at_ms if edition else 0,
            changed_by=edition.actor if edition else "",
        )

    @public("ship")
    def fill_card(self, model: str, said: dict[str, str], *, actor: Actor) -> Card:
        """Fill fields of the card, "" empties one; a new edition, the older ones stay. One ledger line."""
        given = cards.parse_settings(said)
        if not given:
            raise Invalid("nothing to fill in", hint=f"mlspine card {model} --set purpose=TEXT")
        with self._db.write():
            edition, before = self._edition(self._version(model))
            number = int(edition.document["edition"]) + 1 if edition else 1
            after = {name: text for name, text in {**before, **given}.items() if text}
            gaps = [gap.field for gap in cards.gaps_of(model, after)]
            document = {"edition": number, "said": after, "gaps": gaps}
            self._governance.record_evidence(
                cards.EVIDENCE, f"model:{model}", actor, passed=not gaps, document=document
            )
            facts = {"edition": number, "changed": given, "before": {name: before.get(name, "") for name in given}}
            self._governance.record("card", f"model:{model}", actor, facts=facts)
        return self.card(model)

    # ------------------------------------------------------------ inside

    def _version(self, model: str) -> ModelVersion:
        """The version in Production, else the newest."""
        versions = self._registry.versions(model)
        chosen = next((each for each in reversed(versions) if each.stage == "Production"), versions[-1])
        return self._registry.get(model, chosen.version)

    def _edition(self, version: ModelVersion) -> tuple[Evidence | None, dict[str, str]]:
        """The newest edition of a model's card, and what people said: the owner may have been named at ship."""
        newest = next(iter(self._governance.evidence(f"model:{version.model}", kind=cards.EVIDENCE, limit=1)), None)
        said = {"owner": version.owner} if version.owner and not version.owner_assumed else {}
        return newest, said | (dict(newest.document["said"]) if newest else {})

    def _metrics(self, version: ModelVersion) -> dict[str, Metric]:
        """The truest figure of each metric: measured on labels where there are any, else estimated at ship."""
        shipped = msgspec.convert(version.captured.get("metrics", []), type=list[Metric])
        found = {metric.name: metric for metric in shipped}
        try:
            reports = self._monitoring.quality(self._deployment.get(version.model).name, by="all")
        except NotFound:
            return found  # never served
        own = [each for each in reports if each.release_hash == version.release_hash]
        measured = {metric.name: metric for report in own for metric in report.metrics if metric.interval}
        return found | measured

    def _known(self, version: ModelVersion) -> dict[str, str]:
        serving, captured = self._config.serving, version.captured
        feeds = {feed.role: feed.text for feed in self._feeds.states(version.model)}
        data, code = captured.get("data", {}), captured.get("code", {})
        return {
            "version": f"{version.version}, release {version.release_hash[:SHORT_HASH]}, stage {version.stage}",
            "risk tier": version.tier,
            "task": str(captured.get("task", "")),
            "data": f"{data.get('rows', 0):,} rows, {data.get('columns', 0)} columns",
            "quality at ship": figure(version.metric) if version.metric else "not estimable",
            "code": str(code.get("commit", ""))[:10] or "no commit",
            "answers at": "somebody else's server"
            if is_watched_version(version)
            else f"{local_url(serving.host, serving.port)}/endpoints/{version.model}/predict",
            "fresh rows": feeds.get("source") or "nobody said",
            "labels": feeds.get("labels") or "nobody said",
            "alerts go to": ", ".join(self._sinks) or "the log only",
        }
