"""The catalogue: what MLflow's registry adds to models and versions, and how a version of an MLflow client arrives.

Stages and aliases, deleting and renaming go through `deployment.moves`, which knows what answers and asks the gate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlspine.artifacts import Artifacts
from mlspine.core.errors import AlreadyExists, NotFound, closest
from mlspine.core.ids import check_model_name, now_ms
from mlspine.core.public import public
from mlspine.core.types import Actor, ModelVersion, Stage, Struct, Tier
from mlspine.governance.service import Governance
from mlspine.ports import BlobStore, Database, Row
from mlspine.registry import catalogue_store as listing
from mlspine.registry import store
from mlspine.registry.arrival import Arrival, Arrivals
from mlspine.registry.naming import RESERVED_TAGS, check_stage, check_tag
from mlspine.registry.release import read_release
from mlspine.registry.source import ARTIFACTS
from mlspine.registry.verdict_tags import said_tags, verdict_of
from mlspine.search import MODEL_VERSIONS, REGISTERED_MODELS, build, fetch_page
from mlspine.tracking.logged_model import VERSIONS_TAG
from mlspine.tracking.models import LoggedModels
from mlspine.tracking.service import Tracking

LATEST = "latest"  # what clients say for the greatest version; no alias may be called so
RELEASES = "releases"  # where releases lie among the artifacts once a client asked for one
VERDICTS_READ = 1_000


class Entry(Struct, frozen=True, kw_only=True):
    """A version as the catalogue has it. tags: those that were set, and what the registry itself says."""

    version: ModelVersion
    tags: dict[str, str]
    aliases: tuple[str, ...]


class RegisteredModel(Struct, frozen=True, kw_only=True):
    """A model under its name. latest: the greatest version of each stage."""

    name: str
    description: str
    created_at_ms: int
    updated_at_ms: int
    tags: dict[str, str]
    aliases: dict[str, int]
    latest: tuple[Entry, ...]


class ModelPage(Struct, frozen=True, kw_only=True):
    models: tuple[RegisteredModel, ...]
    next_page_token: str = ""


class EntryPage(Struct, frozen=True, kw_only=True):
    entries: tuple[Entry, ...]
    next_page_token: str = ""


class Catalogue:
    """Registered models and their versions, by the names and numbers that `Registry` gives its releases."""

    def __init__(
        self,
        *,
        db: Database,
        tracking: Tracking,
        models: LoggedModels,
        artifacts: Artifacts,
        governance: Governance,
        releases_dir: Path,
        blobs: BlobStore | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._db = db
        self._models = models
        self._artifacts = artifacts
        self._governance = governance
        self._releases_dir = releases_dir
        self._arrivals = Arrivals(
            tracking=tracking,
            models=models,
            artifacts=artifacts,
            releases_dir=releases_dir,
            blobs=blobs,
            version_of=self._named,
        )
        self._clock = clock

    # ------------------------------------------------------------ models

    def create(
        self, name: str, *, description: str = "", tags: Sequence[tuple[str, str]] = (), actor: Actor
    ) -> RegisteredModel:
        """A model without versions; AlreadyExists when the name is taken. One ledger line."""
        check_model_name(name)
        for key, value in tags:
            check_tag(key, value)
        with self._db.write() as tx:
            if listing.find_model(self._db, name):
                raise _taken(name)
            listing.add_model(tx, name, description, self._clock())
            for key, value in tags:
                listing.set_model_tag(tx, name, key, value)
            self._governance.record("register", f"model:{name}", actor)
            return self.model(name)

    @public("read")
    def model(self, name: str) -> RegisteredModel:
        """One model; NotFound names the nearest."""
        return self._listed([self._row(name)])[0]

    @public("read")
    def search(
        self,
        *,
        filter: str = "",  # noqa: A002  the protocol's own word
        order_by: Sequence[str] = (),
        max_results: int | None = None,
        page_token: str = "",
    ) -> ModelPage:
        """Models by MLflow's filter grammar."""
        query = build(
            REGISTERED_MODELS, filter=filter, order_by=order_by, max_results=max_results, page_token=page_token
        )
        rows, token = fetch_page(query, self._db.read, columns="m.*")
        return ModelPage(models=tuple(self._listed(rows)), next_page_token=token)

    def describe(self, name: str, description: str) -> RegisteredModel:
        with self._db.write() as tx:
            self._row(name)
            listing.describe_model(tx, name, description, self._clock())
            return self.model(name)

    def set_tag(self, name: str, key: str, value: str) -> None:
        check_tag(key, value)
        with self._db.write() as tx:
            self._row(name)
            listing.set_model_tag(tx, name, key, value)

    def delete_tag(self, name: str, key: str) -> None:
        """Gone afterwards, whether or not it was there."""
        with self._db.write() as tx:
            self._row(name)
            listing.delete_model_tag(tx, name, key)

    def rename(self, name: str, to: str, *, actor: Actor) -> RegisteredModel:
        """Another name for a model with all it has; evidence and approvals follow. Ledger: under both names.
        Its own name again changes nothing."""
        check_model_name(to)
        with self._db.write() as tx:
            self._row(name)
            if to == name:
                return self.model(name)
            if listing.find_model(self._db, to):
                raise _taken(to)
            listing.rename_model(tx, name, to, self._clock())
            for version in store.versions(self._db, to, self._releases_dir):
                if version.bare:  # what is said of it names the model
                    said = tuple(each.replace(f"models:/{name}/", f"models:/{to}/") for each in version.missing)
                    store.set_missing(tx, to, version.version, said)
            self._governance.rename(f"model:{name}", f"model:{to}")
            for subject in (name, to):
                self._governance.record("rename", f"model:{subject}", actor, facts={"from": name, "to": to})
            return self.model(to)

    def delete(self, name: str, *, actor: Actor) -> None:
        """Remove a model with its versions, tags and aliases; the ledger keeps which releases they were."""
        with self._db.write() as tx:
            self._row(name)
            gone = {str(each.version): each.release_hash for each in store.versions(self._db, name, self._releases_dir)}
            listing.delete_model(tx, name)
            self._governance.record("delete", f"model:{name}", actor, facts={"releases": gone})

    # ------------------------------------------------------------ versions

    def create_version(
        self,
        name: str,
        *,
        source: str,
        run_id: str = "",
        model_id: str = "",
        run_link: str = "",
        description: str = "",
        tags: Sequence[tuple[str, str]] = (),
        actor: Actor,
    ) -> Entry:
        """A version that arrives by an MLflow client: a bare release where its files are here. One ledger line.

        Nothing of it is loaded. Tags that the registry says itself are left out: copies bring them along. Raises
        NotFound for an absent model, Invalid for a source that names files of the server or another run's.
        """
        kept = [(key, value) for key, value in tags if not key.startswith(RESERVED_TAGS)]
        for key, value in kept:
            check_tag(key, value)
        self._row(name)
        prompt = store.PROMPT_TAG in {**dict(kept), **listing.model_tags(self._db, [name])[name]}
        arrived = Arrival(source) if prompt else self._arrivals.receive(source, run_id=run_id, model_id=model_id)
        with self._db.write() as tx:
            self._row(name)
            now = self._clock()
            version = self._arrivals.version(
                arrived,
                model=name,
                number=store.take_number(tx, name, now),
                now=now,
                owner=actor.name,
                tier=self._tier(name),
                run_link=run_link,
                description=description,
            )
            store.add_version(tx, version)
            for key, value in kept:
                listing.set_version_tag(tx, name, version.version, key, value)
            self._governance.record("register", f"model:{name}", actor, facts=_facts(version))
            if version.model_id and not prompt:
                made = json.dumps([{"name": name, "version": version.version}])
                self._models.set_tags(version.model_id, [(VERSIONS_TAG, made)])
            return self.entry(name, version.version)

    @public("read")
    def entry(self, name: str, version: int) -> Entry:
        """One version; NotFound otherwise."""
        found = store.find_version(self._db, name, version, self._releases_dir)
        if found is None:
            raise NotFound(f"Model Version (name={name}, version={version}) not found", hint=f"mlspine models {name}")
        return self._entries([found])[0]

    @public("read")
    def search_versions(
        self,
        *,
        filter: str = "",  # noqa: A002  the protocol's own word
        order_by: Sequence[str] = (),
        max_results: int | None = None,
        page_token: str = "",
    ) -> EntryPage:
        """Versions of all models by MLflow's filter grammar. Tags the registry says itself are not searched."""
        query = build(MODEL_VERSIONS, filter=filter, order_by=order_by, max_results=max_results, page_token=page_token)
        rows, token = fetch_page(query, self._db.read, columns="v.*")
        found = [store.to_version({**row, "bulk": ""}, self._releases_dir) for row in rows]
        return EntryPage(entries=tuple(self._entries(found)), next_page_token=token)

    def latest(self, name: str, stages: Sequence[str] = ()) -> tuple[Entry, ...]:
        """The greatest version of each of these stages, of all stages when none is named."""
        wanted: set[Stage] = set(map(check_stage, stages))
        return tuple(each for each in self.model(name).latest if not wanted or each.version.stage in wanted)

    def by_alias(self, name: str, alias: str) -> Entry | None:
        """The version an alias names, the greatest one for "latest"; None when there is no such alias."""
        self._row(name)
        if alias.lower() == LATEST:
            return max(self.latest(name), key=lambda each: each.version.version, default=None)
        number = store.aliases(self._db, name).get(alias)
        return self.entry(name, number) if number else None

    def describe_version(self, name: str, version: int, description: str) -> Entry:
        with self._db.write() as tx:
            self.entry(name, version)
            listing.describe_version(tx, name, version, description, self._clock())
            return self.entry(name, version)

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        """Set a tag. Denied for one that the registry says itself."""
        check_tag(key, value)
        with self._db.write() as tx:
            self.entry(name, version)
            listing.set_version_tag(tx, name, version, key, value)

    def delete_version_tag(self, name: str, version: int, key: str) -> None:
        """Gone afterwards, whether or not it was there."""
        with self._db.write() as tx:
            self.entry(name, version)
            listing.delete_version_tag(tx, name, version, key)

    def delete_version(self, name: str, version: int, *, actor: Actor) -> None:
        """Remove a version with its tags and aliases; its number is never given again. One ledger line."""
        with self._db.write() as tx:
            found = self.entry(name, version)
            listing.delete_version(tx, name, version)
            listing.touch_model(tx, name, self._clock())
            facts = {**_facts(found.version), "aliases": found.aliases}
            self._governance.record("delete", f"model:{name}", actor, facts=facts)

    def download_uri(self, name: str, version: int) -> str:
        """Where a client finds the files of a version. Those of a shipped release are laid out when first asked for."""
        found = self.entry(name, version).version
        if found.location:
            return found.location
        return self._laid_out(found) if found.release_hash and not found.bare else found.source

    # ------------------------------------------------------------ inside

    def _laid_out(self, version: ModelVersion) -> str:
        folder, path = f"{RELEASES}/{version.release_hash}", self._arrivals.shelf.here(version.release_hash)
        if self._artifacts.find(f"{folder}/MLmodel") is None:
            read_release(path)
            files = sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())
            for file in sorted(files, key=lambda file: file == "MLmodel"):  # with the last, everything is there
                self._artifacts.put(f"{folder}/{file}", path / file)
        return f"{ARTIFACTS}{folder}"

    def _named(self, name: str, which: str) -> ModelVersion:
        """What models:/NAME/WHICH means: a number, "@alias", a stage or "latest"."""
        if which.startswith("@"):
            found = self.by_alias(name, which[1:])
        elif which.isascii() and which.isdigit():
            found = self.entry(name, int(which[:18]))
        else:
            found = (
                self.by_alias(name, which) if which.lower() == LATEST else next(iter(self.latest(name, [which])), None)
            )
        if found is None:
            raise NotFound(f"models:/{name} has no version {which!r}", hint=f"mlspine models {name}")
        whole = store.find_version(self._db, name, found.version.version, self._releases_dir)
        assert whole is not None
        return whole

    def _tier(self, name: str) -> Tier:
        """What a new version is held to: the tier of the one in Production, else of the newest."""
        versions = store.versions(self._db, name, self._releases_dir)
        live = [each for each in versions if each.stage == "Production"]
        chosen = (live or versions)[-1:]
        return chosen[0].tier if chosen else "low"

    def _row(self, name: str) -> Row:
        row = listing.find_model(self._db, name)
        if row is None:
            check_model_name(name)
            near = closest(name, store.model_names(self._db))
            hint = f"did you mean {near!r}?" if near else "see what there is: mlspine models"
            raise NotFound(f"Registered Model with name={name} not found", hint=hint)
        return row

    def _listed(self, rows: Sequence[Row]) -> list[RegisteredModel]:
        names = [row["name"] for row in rows]
        tags, aliases = listing.model_tags(self._db, names), listing.aliases(self._db, names)
        latest: dict[str, list[Entry]] = {name: [] for name in names}
        found = [store.to_version(row, self._releases_dir) for row in listing.latest(self._db, names)]
        for entry in self._entries(found):
            latest[entry.version.model].append(entry)
        return [
            RegisteredModel(
                name=row["name"],
                description=row["description"],
                created_at_ms=row["created_at_ms"],
                updated_at_ms=row["updated_at_ms"],
                tags=tags.get(row["name"], {}),
                aliases=aliases.get(row["name"], {}),
                latest=tuple(latest[row["name"]]),
            )
            for row in rows
        ]

    def _entries(self, versions: Sequence[ModelVersion]) -> list[Entry]:
        names = list(dict.fromkeys(each.model for each in versions))
        tags, aliases = listing.version_tags(self._db, names), listing.aliases(self._db, names)
        verdicts = {
            name: self._governance.evidence(f"model:{name}", kind="gate", limit=VERDICTS_READ) for name in names
        }
        return [
            Entry(
                version=each,
                tags=tags.get((each.model, each.version), {}) | said_tags(each, verdict_of(each, verdicts[each.model])),
                aliases=_pointing(aliases.get(each.model, {}), each.version),
            )
            for each in versions
        ]


def _pointing(aliases: Mapping[str, int], version: int) -> tuple[str, ...]:
    return tuple(alias for alias, number in aliases.items() if number == version)


def _facts(version: ModelVersion) -> dict[str, object]:
    return {
        "version": version.version,
        "release": version.release_hash,
        "source": version.source,
        "run": version.run_id,
        "logged_model": version.model_id,
        "trusted": version.trusted,
        "tier": version.tier,
        "missing": list(version.missing),
    }


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"Registered Model (name={name}) already exists.", hint="use it, or take another name")
