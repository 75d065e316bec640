"""Brings registered models: versions under the numbers they had, stages, aliases. Each one with a line in the ledger.

What was decided elsewhere is written down as decided there: no gate is asked, and nothing is served by it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mlspine.core.errors import Invalid, NotFound
from mlspine.core.types import Actor, ModelVersion
from mlspine.governance.service import Governance
from mlspine.interop import store
from mlspine.interop.models import OurModels, add_model, add_version, stage_of
from mlspine.interop.naming import MODELS, free_name
from mlspine.interop.progress import Tally
from mlspine.interop.source import RegisteredModel, RegisteredVersion
from mlspine.ports import Database, Transaction
from mlspine.registry import store as registry
from mlspine.registry.arrival import Arrival, Arrivals

REGISTERED = "registered_model"


class ModelImport:
    """Registered models of one source. `as_ours` names a version's run, logged model and files as they are here."""

    def __init__(
        self,
        source: str,
        *,
        db: Database,
        governance: Governance,
        actor: Actor,
        clock: Callable[[], int],
        tally: Tally,
        arrivals: Arrivals,
        as_ours: Callable[[RegisteredVersion], RegisteredVersion],
    ) -> None:
        self._source = source
        self._db = db
        self._governance = governance
        self._actor = actor
        self._clock = clock
        self._tally = tally
        self._arrivals = arrivals
        self._as_ours = as_ours
        self._models = OurModels(db)
        self._brought = store.brought(db, source, REGISTERED)
        self._names = {foreign: known.our_id for foreign, known in self._brought.items()}

    def name_of(self, foreign: str) -> str:
        """What a model is called here: as there, unless a model of another origin has the name."""
        if foreign not in self._names:
            taken = {*self._names.values()}
            name = free_name(foreign, lambda each: each in taken or self._models.is_taken(each), "{}-{}")
            self._names[foreign] = name
        return self._names[foreign]

    def bring(self, foreign: RegisteredModel) -> None:
        """Bring a model, or the versions it got since it was brought; its aliases and stages then stay as here."""
        name = self.name_of(foreign.name)
        ours = self._models.find(name) if foreign.name in self._brought else None
        if ours is not None:
            self._newer(foreign, ours)
            return
        versions = [self._arrived(name, version) for version in foreign.versions]
        with self._db.write() as tx:
            add_model(tx, msgspec.structs.replace(foreign, name=name))
            for version, ours_now in zip(foreign.versions, versions, strict=True):
                add_version(tx, ours_now, version.tags)
            for alias, number in foreign.aliases.items():
                registry.set_alias(tx, name, alias, number)
            self._record(tx, foreign, name, foreign.versions)
        self._tally.add(registered_models=1, versions=len(foreign.versions))
        if name != foreign.name:
            self._tally.renamed(f"model {foreign.name!r} is {name!r} here: that name was taken")

    def _newer(self, foreign: RegisteredModel, ours: RegisteredModel) -> None:
        known = {version.version for version in ours.versions}
        absent = [version for version in foreign.versions if version.version not in known]
        newer = tuple(version for version in absent if version.version > ours.newest)
        if newer:
            versions = [self._arrived(ours.name, version) for version in newer]
            with self._db.write() as tx:
                for version, ours_now in zip(newer, versions, strict=True):
                    add_version(tx, ours_now, version.tags)
                self._record(tx, foreign, ours.name, newer)
            self._tally.add(versions=len(newer))

    def _arrived(self, name: str, foreign: RegisteredVersion) -> ModelVersion:
        """A version as it is here: a bare release where its files were brought, with its stage and times of there."""
        named = self._as_ours(foreign)
        source = self._renamed(named.source)
        try:
            arrived = self._arrivals.receive(source, run_id=named.run_id, model_id=named.model_id)
        except (NotFound, Invalid):
            # What a client may not register now may have been registered there: a path of that server, for one.
            arrived = Arrival(source, named.location, named.run_id, named.model_id, files=False)
        version = self._arrivals.version(
            arrived,
            model=name,
            number=named.version,
            now=named.created_at_ms,
            owner=named.user_id,
            tier="low",
            run_link=named.run_link,
            description=named.description,
        )
        return msgspec.structs.replace(
            version,
            stage=stage_of(named.stage),
            updated_at_ms=named.updated_at_ms,
            run_id=named.run_id,
            origin=f"mlflow:{named.run_id or named.model_id}",
        )

    def _renamed(self, source: str) -> str:
        """A source that names a version of another model, by the name that model has here."""
        name, slash, which = source.removeprefix(MODELS).rpartition("/")
        return f"{MODELS}{self._names[name]}/{which}" if slash and name in self._names else source

    def _record(
        self, tx: Transaction, foreign: RegisteredModel, name: str, versions: tuple[RegisteredVersion, ...]
    ) -> None:
        store.note_brought(tx, self._source, REGISTERED, foreign.name, name, store.DONE, self._clock())
        self._governance.record(
            action="import",
            subject=f"model:{name}",
            actor=self._actor,
            reason=f"from {self._source}",
            facts={
                "versions": [version.version for version in versions],
                "stages": {str(version.version): version.stage for version in versions if version.stage != "None"},
                "aliases": foreign.aliases,
            },
        )
