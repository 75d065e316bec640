"""The door of the adviser: what to add next and what not yet, what deployments took of people, what answering costs.

Everything it says is measured by the workspace; it asks nobody. It changes nothing but its own records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from mlspine.advisor import cost as costs
from mlspine.advisor import effort as efforts
from mlspine.advisor import rules, stages, store
from mlspine.advisor.advice import Advice
from mlspine.advisor.cost import Cost, Job, Managed
from mlspine.advisor.effort import EffortReport
from mlspine.advisor.facts import DAY_MS, Facts
from mlspine.advisor.gather import SCRAPED, SHARED_STORE, ClusterUse, Sources, day, gather
from mlspine.advisor.stages import Maturity
from mlspine.core import effort
from mlspine.core.config import Config
from mlspine.core.errors import NotFound
from mlspine.core.ids import now_ms
from mlspine.core.plan import ProcessState
from mlspine.core.public import public
from mlspine.core.types import Struct
from mlspine.deployment.service import Deployment
from mlspine.feeds.service import Feeds
from mlspine.governance.service import PAGE_LIMIT, Governance
from mlspine.governance.tokens import Tokens
from mlspine.machines.service import Machines
from mlspine.monitoring.service import Monitoring
from mlspine.monitoring.status import StatusReader
from mlspine.ports import Database, Deployer
from mlspine.predictions.service import Predictions
from mlspine.registry.service import Registry

COST_DAYS = 30
KEPT_DAYS = 400
SCRAPES_IN_EARNEST = 10  # by one product; somebody who looks once by hand has no dashboard


class Advised(Struct, frozen=True, kw_only=True):
    """All advice, the one next thing (None: change nothing), and what the last line of `status` says.

    plan: what this stage is planned to cost elsewhere; actual: what it costs here.
    """

    line: str
    next: Advice | None
    advice: tuple[Advice, ...]
    maturity: Maturity
    plan: str
    actual: str
    currency: str


class Advisor:
    """Reads the rooms below; writes only what was metered and which parts were of use."""

    def __init__(
        self,
        *,
        db: Database,
        registry: Registry,
        deployment: Deployment,
        predictions: Predictions,
        monitoring: Monitoring,
        feeds: Feeds,
        machines: Machines,
        governance: Governance,
        tokens: Tokens,
        status: StatusReader,
        deployer: Deployer,
        config: Config,
        workspace: Path,
        cluster: ClusterUse | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._db = db
        self._registry = registry
        self._deployment = deployment
        self._governance = governance
        self._machines = machines
        self._deployer = deployer
        self._config = config
        self._workspace = workspace
        self._clock = clock
        self._sources = Sources(
            db=db,
            registry=registry,
            deployment=deployment,
            predictions=predictions,
            monitoring=monitoring,
            feeds=feeds,
            machines=machines,
            governance=governance,
            tokens=tokens,
            status=status,
            config=config,
            folder=workspace.parent,
            cluster=cluster,
        )

    # ------------------------------------------------------------ advice

    @public("read")
    def facts(self) -> Facts:
        """What the advice follows from, each fact with where it can be read again."""
        return gather(self._sources, effort.read(self._workspace), now_ms=self._clock())

    @public("read")
    def advise(self) -> Advised:
        """What follows from the facts, the most urgent first."""
        facts = self.facts()
        advice = rules.advise(facts)
        chosen = advice[0] if advice and advice[0].kind in ("add", "remove") else None
        return Advised(
            line=rules.line(facts, advice),
            next=chosen,
            advice=advice,
            maturity=stages.maturity(facts),
            plan=stages.stage_of(len(facts.served)).plan,
            actual=self._actual(facts),
            currency=facts.currency,
        )

    def _actual(self, facts: Facts) -> str:
        hours = facts.cpu_s_30_days / costs.HOUR_S
        amount = costs.money(facts.cpu_s_30_days, facts.per_cpu_hour)
        spent = f"{hours:.2f} CPU-hours in 30 days" + (f", {amount:.2f} {facts.currency}" if amount is not None else "")
        done = [each for each in self.effort().deployments if each.answered_at_ms]
        if not done:
            return spent
        last = done[-1]
        return f"{spent}; the last deployment ({last.model}) took {last.until_answering.minutes:g} minutes"

    # ------------------------------------------------------------ effort

    @public("read")
    def effort(self) -> EffortReport:
        """What each deployment took of people, from what was typed and from notebook lines on this machine."""
        answering = {
            each.name: self._deployment.revisions(each.name)[0].created_at_ms for each in self._deployment.endpoints()
        }
        return efforts.report(effort.read(self._workspace), answering)

    # ------------------------------------------------------------ cost

    @public("read")
    def cost(self, name: str = "") -> Cost:
        """What answering took in the last 30 days: of one endpoint, or of all. Adds up what is new first."""
        if name:
            self._deployment.get(name)
        self.meter()
        today = day(self._clock())
        from_day = day(self._clock() - (COST_DAYS - 1) * DAY_MS)
        shares = store.spent(self._db, from_day=from_day)
        days = store.uptimes(self._db, from_day=from_day)
        rate = self._config.cost.per_cpu_hour
        up_s, offered_s = sum(row["up_s"] for row in days), sum(row["up_s"] * row["cpus"] for row in days)
        background_s = sum(row["idle_cpu_s"] for row in days)
        used_s = sum(each.cpu_s for each in shares) + background_s
        chosen = [each for each in shares if name in ("", each.endpoint)]
        return Cost(
            from_day=min((str(row["day"]) for row in days), default=today),
            to_day=today,
            releases=tuple(costs.costs_of(each, self._version(each), rate) for each in chosen),
            up_s=up_s,
            cpu_s_offered=offered_s,
            cpu_s_used=used_s,
            cpu_s_background=background_s,
            jobs=self._jobs(name),
            currency=self._config.cost.currency,
            per_cpu_hour=rate,
            money=costs.money(sum(each.cpu_s for each in chosen), rate),
            idle_money=costs.money(max(0.0, offered_s - used_s), rate),
            break_even=self._break_even(sum(each.rows for each in shares), up_s, offered_s),
        )

    def _break_even(self, rows: int, up_s: float, offered_s: float) -> str:
        prices = self._config.cost
        if prices.per_cpu_hour is None or not up_s:
            return ""
        per_month = costs.MONTH_S / up_s
        return costs.break_even(
            Managed(per_hour=prices.managed_per_hour, per_million=prices.managed_per_million),
            own_per_month=offered_s * per_month / costs.HOUR_S * prices.per_cpu_hour,
            endpoints=len(self._deployment.endpoints()),
            rows_per_month=rows * per_month,
            currency=prices.currency,
        )

    def _version(self, share: costs.Share) -> int:
        revisions = self._revisions(share.endpoint)
        return next((version for release, version in revisions if release == share.release_hash), 0)

    def _revisions(self, endpoint: str) -> list[tuple[str, int]]:
        try:
            return [(each.release_hash, each.version) for each in self._deployment.revisions(endpoint)]
        except NotFound:
            return []

    def _jobs(self, model: str) -> tuple[Job, ...]:
        """Work beside answering whose time is known: scoring at ship, fitting again."""
        names = [model] if model else [each.name for each in self._registry.models()]
        fitted: list[float] = []
        evaluated: list[float] = []
        for name in names:
            for found in self._governance.evidence(f"model:{name}", kind="retrain", limit=PAGE_LIMIT):
                fitted += [float(found.document["fitted_s"])] if "fitted_s" in found.document else []
            for version in self._known(name):
                evaluated.append(float(self._registry.get(name, version).captured.get("evaluated_s", 0.0)))
        jobs = (("evaluation at ship", evaluated), ("fitting again", fitted))
        return tuple(Job(what=what, times=len(times), seconds=sum(times)) for what, times in jobs if times)

    def _known(self, model: str) -> list[int]:
        try:
            return [version.version for version in self._registry.versions(model)]
        except NotFound:
            return []

    # ------------------------------------------------------------ what the scheduler asks

    def meter(self) -> None:
        """Add up what this machine's serving processes used since the last time, in one transaction."""
        now = self._clock()
        states = self._deployer.observe()
        if not states:
            return
        with self._db.lock("meter"), self._db.write() as tx:
            up_s = idle_cpu_s = 0.0
            for state in states:
                divided = costs.divide(store.find_mark(tx, self._machines.id, state.process), state, now)
                for share in divided.shares:
                    store.add_spent(tx, day(now), share)
                store.set_mark(tx, self._machines.id, state.process, divided.mark)
                # The machine's CPUs are there once, however many processes use them.
                up_s, idle_cpu_s = max(up_s, divided.up_s), idle_cpu_s + divided.idle_cpu_s
            cpus = max(state.cpus for state in states)
            store.add_uptime(tx, day(now), self._machines.id, up_s=up_s, cpus=cpus, idle_cpu_s=idle_cpu_s)
            for agent, times in _scrapes(states).items():
                if times >= SCRAPES_IN_EARNEST:
                    store.note_part(tx, f"{SCRAPED}{agent}", at_ms=now, used=True)

    def note(self) -> None:
        """Take note of which parts are of use, and let costs older than 400 days go."""
        now = self._clock()
        with self._db.write() as tx:
            store.drop_before(tx, day(now - KEPT_DAYS * DAY_MS))
            if not self._config.store.database:
                store.drop_part(tx, SHARED_STORE)
                return
            living = [each for each in self._machines.machines() if not (each.missing or each.stopped)]
            store.note_part(tx, SHARED_STORE, at_ms=now, used=len(living) > 1)


def _scrapes(states: Iterable[ProcessState]) -> Counter[str]:
    """How often each product read the metrics; a scrape reaches one process of them."""
    times: Counter[str] = Counter()
    for state in states:
        times.update(state.scrapes)
    return times
