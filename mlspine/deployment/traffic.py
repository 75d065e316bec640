"""Who answers beside the live version: a candidate with a share of the requests, a shadow that nobody hears."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mlspine.core.errors import Conflict, Invalid
from mlspine.core.ids import SHORT_HASH, parse_model_ref
from mlspine.core.plan import Cohort, Endpoint, Revision, Traffic
from mlspine.core.types import Actor, Field, ModelVersion
from mlspine.deployment import dividing, store
from mlspine.deployment.endpoint import next_number, rollback_target
from mlspine.deployment.judging import Judged
from mlspine.deployment.switching import UNASKED, Change, Switched, Switching
from mlspine.ports import Database
from mlspine.registry.release import read_release
from mlspine.registry.service import Registry
from mlspine.registry.watched import require_model


class Dividing:
    """Changes of the division of requests: revisions with the cause "traffic", the live version as it was.

    A candidate answers people, so it is loaded, proved and asked its sentinels first, and the gate is asked as for
    a promotion whenever somebody is answered by it who was not before. An approval is used up by the first split;
    it holds for the steps that follow and for the promotion, until the candidate is taken back.
    """

    def __init__(self, *, db: Database, registry: Registry, switching: Switching) -> None:
        self._db = db
        self._registry = registry
        self._switching = switching

    def split(
        self,
        endpoint: Endpoint,
        ref: str,
        *,
        share: float,
        unit: str,
        cohort: Cohort | None,
        salt: str,
        actor: Actor,
        reason: str,
    ) -> Switched:
        """As `Deployment.split`."""
        revisions, live = self._at(endpoint)
        now = revisions[-1].traffic
        dividing.check_share(share)
        if share == 0.0:
            return self.unsplit(endpoint, actor=actor, reason=reason)
        candidate = self._candidate(endpoint, ref, now)
        self._check_other(candidate, live, "answers already")
        columns = _columns(live)
        where = f"{live.model}:{live.version}"
        if unit:
            dividing.check_column(unit, list(columns), of=where)
        if cohort is not None and cohort != dividing.EVERYBODY:
            dividing.check_column(cohort.field, list(columns), of=where)
            cohort = Cohort(field=cohort.field, values=dividing.typed(cohort.values, columns[cohort.field]))
        then = dividing.with_candidate(
            now,
            candidate.version,
            share=share,
            unit=unit,
            cohort=cohort,
            salt=salt,
            fresh_salt=f"{candidate.release_hash[:SHORT_HASH]}.{next_number(revisions)}",
        )
        if then == now:
            return self._switching.unchanged(revisions)
        judged = UNASKED
        if dividing.widens(now, then):
            known = now.candidate == candidate.version
            judged = self._switching.decide(endpoint.name, candidate, revisions, "promote", actor, approved=known)
        return self._apply(endpoint, live, revisions, then, "split", actor, reason, newcomer=candidate, judged=judged)

    def unsplit(self, endpoint: Endpoint, *, actor: Actor, reason: str, rolled_back: bool = False) -> Switched:
        """Take the candidate back: the live version answers everything again. A shadow stays."""
        revisions, live = self._at(endpoint)
        now = revisions[-1].traffic
        if not now.candidate:
            return self._switching.unchanged(revisions)
        then = dividing.without_candidate(now)
        left = now.candidate if rolled_back else 0
        return self._apply(endpoint, live, revisions, then, "split", actor, reason, rolled_back_from=left)

    def shadow(self, endpoint: Endpoint, ref: str | None, *, share: float, actor: Actor, reason: str) -> Switched:
        """As `Deployment.shadow`."""
        revisions, live = self._at(endpoint)
        now = revisions[-1].traffic
        if ref is None:
            then = dividing.with_shadow(now, 0, 1.0)
            if then == now:
                return self._switching.unchanged(revisions)
            return self._apply(endpoint, live, revisions, then, "shadow", actor, reason)
        dividing.check_share(share, least=1e-6)
        shadow = self._version(endpoint, ref)
        self._check_other(shadow, live, "is what answers, so there is nothing to compare it with")
        then = dividing.with_shadow(now, shadow.version, share)
        if then == now:
            return self._switching.unchanged(revisions)
        judged = self._switching.decide(endpoint.name, shadow, revisions, "shadow", actor)
        back = rollback_target(revisions)
        ready = {now.candidate, now.shadow, back.version if back else 0}
        newcomer = None if shadow.version in ready else shadow  # what is loaded stays where it runs
        return self._apply(endpoint, live, revisions, then, "shadow", actor, reason, newcomer=newcomer, judged=judged)

    # ------------------------------------------------------------ inside

    def _apply(
        self,
        endpoint: Endpoint,
        live: ModelVersion,
        revisions: list[Revision],
        traffic: Traffic,
        action: str,
        actor: Actor,
        reason: str,
        *,
        newcomer: ModelVersion | None = None,
        judged: Judged = UNASKED,
        rolled_back_from: int = 0,
    ) -> Switched:
        current = revisions[-1]
        change = Change(
            live=live,
            cause="traffic",
            action=action,
            log=current.log,
            traffic=traffic,
            guards=current.guards,
            newcomer=newcomer,
            placement="worker" if action == "shadow" else "auto",
            judged=judged,
            rolled_back_from=rolled_back_from,
        )
        return self._switching.apply(endpoint.name, change, revisions, actor=actor, reason=reason)

    def _at(self, endpoint: Endpoint) -> tuple[list[Revision], ModelVersion]:
        """The revisions and the live version; raises where there is none whose requests could be divided."""
        if endpoint.current.cause == "watch":
            raise Invalid(
                f"{endpoint.name} is answered by somebody else's server: no requests are divided here",
                hint=f"compare on logged rows: mlspine gate {endpoint.model}:VERSION --data FILE",
            )
        if endpoint.current.version == 0:
            raise Conflict(
                f'endpoint {endpoint.name} answers "cannot answer": there is nothing to divide',
                hint=f"bring a version forward: mlspine promote {endpoint.name} VERSION",
            )
        revisions = store.revisions(self._db, endpoint.name)
        return revisions, self._registry.get(endpoint.model, revisions[-1].version)

    def _candidate(self, endpoint: Endpoint, ref: str, now: Traffic) -> ModelVersion:
        """The version meant; a bare name means the candidate there is."""
        if parse_model_ref(ref or endpoint.name).kind != "name":
            return self._version(endpoint, ref)
        if now.candidate:
            return self._registry.get(endpoint.model, now.candidate)
        others = [each for each in self._registry.versions(endpoint.model) if each.version != endpoint.current.version]
        raise Invalid(
            f"{endpoint.name} has no candidate yet: say which version is to answer a share",
            hint=f"mlspine split {endpoint.name}:{others[-1].version} 5%" if others else "ship another version first",
            details=[f"{endpoint.model}:{each.version}" for each in others[-10:]],
        )

    def _version(self, endpoint: Endpoint, ref: str) -> ModelVersion:
        if parse_model_ref(ref).kind == "name":
            raise Invalid(
                f"{ref!r} does not say which version", hint=f"e.g. {endpoint.name}@candidate or {endpoint.name}:2"
            )
        version = self._registry.resolve(ref)
        if version.model != endpoint.model:
            raise Invalid(
                f"endpoint {endpoint.name} answers with {endpoint.model}, not with {version.model}",
                hint=f"its versions: mlspine models {endpoint.model}",
            )
        require_model(version)
        return version

    def _check_other(self, version: ModelVersion, live: ModelVersion, what: str) -> None:
        if version.version == live.version or version.release_hash == live.release_hash:
            same = "" if version.version == live.version else f", the same release as {live.model}:{live.version},"
            raise Invalid(
                f"{version.model}:{version.version}{same} {what}",
                hint=f"the other versions: mlspine models {version.model}",
            )


def ended_by_a_move(traffic: Traffic, live: int) -> tuple[str, ...]:
    """What is said of a division that ends because another version goes live."""
    told = dividing.told(msgspec.structs.replace(traffic, candidate=0) if traffic.candidate == live else traffic)
    return (f"the division of requests has ended: {told}",) if told else ()


def _columns(version: ModelVersion) -> dict[str, Field]:
    """The columns that rows of a version may have: its inputs, and the key column named at ship."""
    release = read_release(Path(version.path))
    columns = {field.name: field for field in release.signature.inputs.fields}
    key = release.settings.get("key")
    if isinstance(key, str) and key and key not in columns:
        columns[key] = Field(name=key, type="text", dtype="")
    return columns
