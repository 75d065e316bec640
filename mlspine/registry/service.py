"""The door of the registry: models, their versions, stages and aliases, and how a release becomes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mlspine.core.errors import Conflict, Invalid, NotFound, closest
from mlspine.core.ids import SHORT_HASH, check_name, now_ms, parse_model_ref
from mlspine.core.public import public
from mlspine.core.types import Actor, Metric, ModelVersion, Stage, Struct, Tier
from mlspine.data.service import Data
from mlspine.governance.approval import Approval
from mlspine.governance.service import Governance
from mlspine.ports import BlobStore, Database, Transaction
from mlspine.registry import store
from mlspine.registry.baseline import read_baseline
from mlspine.registry.naming import check_alias
from mlspine.registry.pickling import distribution_version
from mlspine.registry.prepare import TIERS, Prepared
from mlspine.registry.release import read_release, release_hash
from mlspine.registry.shelf import Shelf
from mlspine.stats.baseline import Baseline

KEPT_BY_FILL = [
    "stage",
    "created_at_ms",
    "description",
    "origin",
    "source",
    "location",
    "run_id",
    "run_link",
    "model_id",
]


class ModelSummary(Struct, frozen=True, kw_only=True):
    """One model as a line of a list. production: the version in stage Production, 0 for none."""

    name: str
    versions: int
    latest: int
    production: int
    aliases: dict[str, int]


class Registry:
    """Releases under names and numbers. A version's stage and aliases change; its release does not, but that a bare
    one is filled in once. Stages and aliases are moved through `deployment.moves`, which asks the gate."""

    def __init__(
        self,
        *,
        db: Database,
        data: Data,
        governance: Governance,
        releases_dir: Path,
        blobs: BlobStore | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._db = db
        self._data = data
        self._governance = governance
        self._releases_dir = releases_dir
        self._shelf = Shelf(releases_dir, blobs)
        self._clock = clock

    # ------------------------------------------------------------ ship

    @public("ship")
    def register(self, prepared: Prepared, *, actor: Actor) -> ModelVersion:
        """Give a prepared release its name and number, in one transaction with its ledger line.

        The same release under the same name again returns the version it has, with the owner named now if one
        is: owners are no part of a release. A release registered by a client with a token is not trusted until
        somebody at the workspace says so: see `trust`. Raises NotFound or Corrupt when the release is not on
        this machine as it was written.
        """
        self._check(prepared)
        with self._db.write() as tx:
            known = store.find_release(self._db, prepared.name, prepared.release_hash, self._releases_dir)
            if known is not None:
                return self._with_owner(tx, known, prepared, actor)
            self._data.record(prepared.dataset, prepared.columns)
            now = self._clock()
            store.add_model(tx, prepared.name, now)
            version = self._version(prepared, actor, store.take_number(tx, prepared.name, now), now)
            store.add_version(tx, version)
            self._governance.record(
                action="ship",
                subject=f"model:{version.model}",
                actor=actor,
                reason=version.message,
                facts=_shipped_facts(version, prepared),
            )
        return version

    @public("ship")
    def fill(self, prepared: Prepared, *, version: int, actor: Actor) -> ModelVersion:
        """Give a bare version the full release that was prepared of its model; number, tags and aliases stay.

        Ledger: "fill" with both hashes. Raises Conflict for a version that has a full release already.
        """
        self._check(prepared)
        with self._db.write() as tx:
            known = self.get(prepared.name, version)
            if not known.bare:
                raise Conflict(
                    f"{known.model}:{version} has a full release already: {known.release_hash[:SHORT_HASH]}",
                    hint="ship the model as a new version: mlspine ship FILE --name " + known.model,
                )
            self._data.record(prepared.dataset, prepared.columns)
            made = self._version(prepared, actor, version, self._clock())
            kept = {name: getattr(known, name) for name in KEPT_BY_FILL}
            filled = msgspec.structs.replace(made, tier=_stricter(made.tier, known.tier), **kept)
            store.replace_version(tx, filled)
            self._governance.record(
                action="fill",
                subject=f"model:{known.model}",
                actor=actor,
                reason=filled.message,
                facts={**_shipped_facts(filled, prepared), "previous_release": known.release_hash},
            )
        return filled

    def _check(self, prepared: Prepared) -> None:
        check_name(prepared.name)
        path = self._releases_dir / prepared.release_hash
        release = read_release(path)
        if release_hash(release) != prepared.release_hash or release.data != prepared.dataset.digest:
            raise Invalid(f"{path} holds another release than was prepared", hint="ship the model again")
        self._shelf.share(prepared.release_hash)

    def _with_owner(self, tx: Transaction, known: ModelVersion, prepared: Prepared, actor: Actor) -> ModelVersion:
        if not prepared.owner or prepared.owner_assumed or (prepared.owner == known.owner and not known.owner_assumed):
            return known
        gaps = tuple(gap for gap in known.missing if not gap.startswith("owner:"))
        store.set_owner(tx, known.model, known.version, prepared.owner, gaps)
        self._governance.record(
            action="owner",
            subject=f"model:{known.model}",
            actor=actor,
            reason=prepared.message,
            facts={"version": known.version, "owner": prepared.owner, "previous_owner": known.owner},
        )
        return msgspec.structs.replace(known, owner=prepared.owner, owner_assumed=False, missing=gaps)

    def _version(self, prepared: Prepared, actor: Actor, number: int, now: int) -> ModelVersion:
        return ModelVersion(
            model=prepared.name,
            version=number,
            release_hash=prepared.release_hash,
            stage="None",
            path=str(self._releases_dir / prepared.release_hash),
            created_at_ms=now,
            updated_at_ms=now,
            owner=prepared.owner,
            owner_assumed=prepared.owner_assumed,
            tier=prepared.tier,
            message=prepared.message,
            description=prepared.message,
            origin=prepared.origin,
            run_id=prepared.run_id,
            trusted=actor.kind != "client",
            flavor=prepared.flavor,
            metric=prepared.metric,
            captured=prepared.captured,
            missing=prepared.missing,
        )

    # ------------------------------------------------------------ reading

    @public("read")
    def models(self) -> list[ModelSummary]:
        """All models that have a version, by name."""
        return [self._summary(name) for name in store.models_with_versions(self._db)]

    @public("read")
    def versions(self, model: str) -> list[ModelVersion]:
        """The versions of a model, oldest first, without the long texts of what was captured."""
        found = store.versions(self._db, model, self._releases_dir)
        if not found:
            raise self._no_version(model) if store.has_model(self._db, model) else self._no_model(model)
        return found

    @public("read")
    def get(self, model: str, version: int) -> ModelVersion:
        """One version; NotFound names the versions there are."""
        found = store.find_version(self._db, model, version, self._releases_dir)
        if found is None:
            numbers = ", ".join(str(each.version) for each in self.versions(model))
            raise NotFound(
                f"no model version {model}:{version}",
                hint=f"versions: {numbers}; see: mlspine models {model}",
            )
        if found.release_hash:
            self._shelf.here(found.release_hash)
        return found

    @public("read")
    def resolve(self, ref: str) -> ModelVersion:
        """What `NAME`, `NAME:VERSION` or `NAME@ALIAS` means.

        A bare name is the version in Production, else the only one; Invalid lists the choices otherwise.
        """
        parsed = parse_model_ref(ref)
        if parsed.kind == "version":
            return self.get(parsed.name, parsed.version)
        if parsed.kind == "alias":
            return self._by_alias(parsed.name, parsed.alias)
        versions = self.versions(parsed.name)
        live = [each for each in versions if each.stage == "Production"]
        chosen = live or versions
        if len(chosen) > 1:
            raise Invalid(
                f"{parsed.name} has {len(versions)} versions and none in production",
                hint=f"name one: {parsed.name}:{versions[-1].version}",
                details=[_line(each) for each in versions],
            )
        return self.get(parsed.name, chosen[0].version)

    @public("read")
    def aliases(self, model: str) -> dict[str, int]:
        """Alias -> version of a model."""
        self.versions(model)
        return store.aliases(self._db, model)

    def by_hash(self, release_hash: str) -> ModelVersion:
        """The oldest version with this release, under whatever name; NotFound when no model has it."""
        found = store.find_by_hash(self._db, release_hash, self._releases_dir)
        if found is None:
            raise NotFound(f"no model version has release {release_hash[:SHORT_HASH]}", hint="mlspine models")
        self._shelf.here(release_hash)
        return found

    def references_of(self, release_hash: str) -> Baseline:
        """The baseline of a release, whose `inputs` and `outputs` rows are counted on."""
        path = self._shelf.here(release_hash)
        return read_baseline(path, read_release(path))

    def has_baseline(self, version: ModelVersion) -> bool:
        """Whether the release carries a baseline that can be read."""
        if version.bare:
            return False
        path = Path(version.path)
        try:
            read_baseline(path, read_release(path))
        except NotFound:
            return False
        return True

    def missing_dependencies(self, version: ModelVersion) -> tuple[str, ...]:
        """Distributions of the release's environment lock that are not installed here, as pip names them."""
        if version.bare:
            return ()  # its model is loaded by whoever fills it in
        locked = read_release(Path(version.path)).environment
        return tuple(
            f"{name}=={wanted}"
            for name, wanted in locked.items()
            if name != "python" and distribution_version(name) is None
        )

    # ------------------------------------------------------------ changing

    def set_stage(self, model: str, version: int, stage: Stage) -> None:
        """Move a version to a stage, inside the caller's transaction, which writes the ledger line."""
        with self._db.write() as tx:
            if not store.set_stage(tx, model, version, stage, self._clock()):
                raise NotFound(f"no model version {model}:{version}", hint=f"see: mlspine models {model}")

    def set_alias(self, model: str, *, alias: str, version: int) -> None:
        """Point `MODEL@ALIAS` at a version, inside the caller's transaction, which writes the ledger line."""
        check_alias(alias)
        with self._db.write() as tx:
            self.get(model, version)
            store.set_alias(tx, model, alias, version)

    def delete_alias(self, model: str, alias: str) -> bool:
        """Take an alias away, inside the caller's transaction; False when there was none."""
        with self._db.write() as tx:
            return bool(store.delete_alias(tx, model, alias))

    @public("approve")
    def approve(self, ref: str, *, actor: Actor, reason: str = "") -> Approval:
        """Deposit a word for the release `ref` means now: one change of Production or of a gated alias may use it.

        Ledger: "approve". Raises Invalid for a version without a release: there is nothing to approve yet.
        """
        with self._db.write():
            found = self.resolve(ref)
            if not found.release_hash:
                raise Invalid(
                    f"{found.model}:{found.version} has no release that could be approved",
                    hint="; ".join(found.missing),
                )
            return self._governance.approve(
                f"model:{found.model}", found.version, found.release_hash, actor=actor, reason=reason
            )

    @public("administer")
    def trust(self, ref: str, *, actor: Actor, reason: str = "") -> ModelVersion:
        """Vouch for the code of a version that came as a file; only then is it loaded. One ledger line."""
        with self._db.write() as tx:
            found = self.resolve(ref)
            if found.trusted:
                return found
            if not found.release_hash:
                raise Invalid(
                    f"{found.model}:{found.version} has no files here that could be vouched for",
                    hint="; ".join(found.missing),
                )
            release = read_release(Path(found.path))
            store.set_trusted(tx, found.model, found.version)
            self._governance.record(
                action="trust",
                subject=f"model:{found.model}",
                actor=actor,
                reason=reason,
                facts={
                    "version": found.version,
                    "release": found.release_hash,
                    "model_digest": release.model,
                    "transform_digest": release.transform,
                    "origin": found.origin,
                },
            )
        return msgspec.structs.replace(found, trusted=True)

    # ------------------------------------------------------------ inside

    def _summary(self, name: str) -> ModelSummary:
        versions = store.versions(self._db, name, self._releases_dir)
        live = [each.version for each in versions if each.stage == "Production"]
        return ModelSummary(
            name=name,
            versions=len(versions),
            latest=versions[-1].version,
            production=live[-1] if live else 0,
            aliases=store.aliases(self._db, name),
        )

    def _by_alias(self, model: str, alias: str) -> ModelVersion:
        self.versions(model)
        aliases = store.aliases(self._db, model)
        if alias not in aliases:
            near = closest(alias, aliases)
            known = f"aliases: {', '.join(aliases)}" if aliases else f"{model} has no alias yet"
            raise NotFound(f"no alias {model}@{alias}", hint=f"did you mean {model}@{near}?" if near else known)
        return self.get(model, aliases[alias])

    def _no_version(self, name: str) -> NotFound:
        return NotFound(
            f"model {name!r} has no version yet", hint=f'ship one with: mlspine.ship(model, X, y, name="{name}")'
        )

    def _no_model(self, name: str) -> NotFound:
        names = store.model_names(self._db)
        near = closest(name, names)
        if near:
            return NotFound(f"no model {name!r}", hint=f"did you mean {near}? try: mlspine models {near}")
        listed = f"models here: {', '.join(names)}" if names else "this workspace has no model yet"
        return NotFound(f"no model {name!r}", hint=f'{listed}; ship one with: mlspine.ship(model, X, y, name="{name}")')


def _shipped_facts(version: ModelVersion, prepared: Prepared) -> dict[str, Any]:
    code = version.captured.get("code", {})
    return {
        "version": version.version,
        "release": version.release_hash,
        "data": prepared.dataset.digest,
        "rows": prepared.dataset.rows,
        "commit": code.get("commit", ""),
        "uncommitted": code.get("dirty_digest", ""),
        "metric": _metric_text(version.metric),
        "owner": version.owner,
        "owner_assumed": version.owner_assumed,
        "tier": version.tier,
        "origin": version.origin,
        "file_digest": prepared.file_digest,
        "trusted": version.trusted,
    }


def _stricter(one: Tier, other: Tier) -> Tier:
    return max(one, other, key=TIERS.index)


def _metric_text(metric: Metric | None) -> str:
    if metric is None or metric.interval is None:
        return "not estimable"
    interval = metric.interval
    return f"{metric.name} {interval.value:.4f} [{interval.lo:.4f}, {interval.hi:.4f}] {metric.rows_from}"


def _line(version: ModelVersion) -> str:
    said = f", {version.message}" if version.message else ""
    return f"{version.model}:{version.version} {version.stage}, {_metric_text(version.metric)}{said}"
