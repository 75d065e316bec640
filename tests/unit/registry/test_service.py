"""Releases under names and numbers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sklearn.linear_model import LogisticRegression

from mlspine.core.errors import Corrupt, Invalid, NotFound
from mlspine.core.public import surface
from mlspine.core.types import Actor, ModelVersion
from mlspine.registry.prepare import Prepared, prepare
from mlspine.registry.release import read_release
from mlspine.registry.service import Registry
from tests.unit.registry.conftest import ANN, World, people

X, Y = people(80)
NUMERIC = X[["charge"]].astype("float64")
MODEL = LogisticRegression().fit(NUMERIC, Y)
TOKEN = Actor(name="ci", kind="client")


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Prepared]]:
    """Three releases of one model, made once."""
    folder = tmp_path_factory.mktemp("releases")
    made = [
        prepare(
            LogisticRegression(C=strength).fit(NUMERIC, Y),
            NUMERIC,
            releases_dir=folder,
            name="churn",
            owner="ann@example.org",
            message=f"C={strength}",
        )
        for strength in (1.0, 0.1, 0.01)
    ]
    return folder, made


@pytest.fixture
def registry(world: World, releases: tuple[Path, list[Prepared]]) -> Registry:
    world.releases_dir.symlink_to(releases[0])
    return world.registry


@pytest.fixture
def made(releases: tuple[Path, list[Prepared]]) -> list[Prepared]:
    return releases[1]


def _registered(registry: Registry, made: list[Prepared], count: int) -> list[ModelVersion]:
    return [registry.register(each, actor=ANN) for each in made[:count]]


def test_a_release_gets_the_next_number_and_one_ledger_line(
    world: World, registry: Registry, made: list[Prepared]
) -> None:
    first, second = _registered(registry, made, 2)
    assert (first.version, second.version) == (1, 2)
    assert first.stage == "None"
    assert (first.owner, first.owner_assumed, first.message) == ("ann@example.org", False, "C=1.0")
    entries = world.governance.entries("model:churn")
    assert [entry.action for entry in entries] == ["ship", "ship"]
    assert entries[0].facts["release"] == first.release_hash
    assert entries[0].facts["metric"] == "not estimable"
    assert world.governance.verify().intact
    assert world.data.get(made[0].dataset.digest).rows == 80


def test_what_is_read_back_is_what_was_put(registry: Registry, made: list[Prepared]) -> None:
    version = registry.register(made[0], actor=ANN)
    assert registry.get("churn", 1) == version
    assert registry.get("churn", 1).captured == made[0].captured
    (listed,) = registry.versions("churn")
    assert set(made[0].captured) - set(listed.captured) == {"diff", "freeze"}
    assert registry.by_hash(version.release_hash) == version
    assert read_release(Path(version.path)).data == made[0].dataset.digest


def test_the_same_release_again_is_the_version_it_was(world: World, registry: Registry, made: list[Prepared]) -> None:
    first = registry.register(made[0], actor=ANN)
    again = msgspec.structs.replace(made[0], message="other words")
    assert registry.register(again, actor=ANN) == first
    assert len(world.governance.entries()) == 1
    other_name = registry.register(msgspec.structs.replace(made[0], name="leavers"), actor=ANN)
    assert (other_name.model, other_name.version) == ("leavers", 1)


def test_a_release_that_is_damaged_or_absent_is_not_registered(
    world: World, made: list[Prepared], releases: tuple[Path, list[Prepared]]
) -> None:
    with pytest.raises(NotFound, match="no release at"):
        world.registry.register(made[0], actor=ANN)
    import shutil

    copy = shutil.copytree(releases[0] / made[0].release_hash, world.releases_dir / made[0].release_hash)
    (copy / "model.pkl").write_bytes(b"other")
    with pytest.raises(Corrupt, match=r"model\.pkl"):
        world.registry.register(made[0], actor=ANN)
    assert world.registry.models() == []
    assert world.governance.entries() == []


def test_a_release_under_another_hash_is_refused(registry: Registry, made: list[Prepared], world: World) -> None:
    (world.releases_dir / ("0" * 64)).symlink_to(world.releases_dir / made[0].release_hash)
    try:
        with pytest.raises(Invalid, match="another release than was prepared"):
            registry.register(msgspec.structs.replace(made[0], release_hash="0" * 64), actor=ANN)
    finally:
        (world.releases_dir / ("0" * 64)).unlink()


def test_a_failure_leaves_nothing_behind(
    world: World, registry: Registry, made: list[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(world.governance, "record", fails)
    with pytest.raises(OSError, match="disk full"):
        registry.register(made[0], actor=ANN)
    assert registry.models() == []
    assert world.data.versions() == []


def test_an_owner_named_later_is_kept_with_a_ledger_line(
    world: World, registry: Registry, made: list[Prepared]
) -> None:
    gap = 'owner: a@example.org is assumed from git; owner="a@example.org"'
    assumed = msgspec.structs.replace(made[0], owner="a@example.org", owner_assumed=True, missing=(gap, "seed: x"))
    assert registry.register(assumed, actor=ANN).missing == (gap, "seed: x")
    named = registry.register(msgspec.structs.replace(assumed, owner="b@example.org", owner_assumed=False), actor=ANN)
    assert (named.owner, named.owner_assumed, named.missing) == ("b@example.org", False, ("seed: x",))
    assert registry.get("churn", 1) == named
    last = world.governance.entries()[-1]
    assert (last.action, last.facts["owner"], last.facts["previous_owner"]) == (
        "owner",
        "b@example.org",
        "a@example.org",
    )
    registry.register(assumed, actor=ANN)
    assert registry.get("churn", 1).owner == "b@example.org"


# ---------------------------------------------------------------- names


def test_a_bare_name_is_the_only_version_or_the_one_in_production(registry: Registry, made: list[Prepared]) -> None:
    _registered(registry, made, 1)
    assert registry.resolve("churn").version == 1
    _registered(registry, made, 3)
    with pytest.raises(Invalid) as caught:
        registry.resolve("churn")
    assert len(caught.value.details) == 3
    assert "churn:3" in caught.value.hint
    registry.set_stage("churn", 2, "Production")
    assert registry.resolve("churn").version == 2
    assert registry.resolve("churn:3").version == 3


def test_an_alias_names_a_version_and_moves(registry: Registry, made: list[Prepared]) -> None:
    _registered(registry, made, 2)
    registry.set_alias("churn", alias="champion", version=1)
    assert registry.resolve("churn@champion").version == 1
    registry.set_alias("churn", alias="champion", version=2)
    assert registry.resolve("churn@champion").version == 2
    assert registry.aliases("churn") == {"champion": 2}
    with pytest.raises(NotFound) as caught:
        registry.resolve("churn@champoin")
    assert caught.value.hint == "did you mean churn@champion?"
    with pytest.raises(NotFound, match="churn:9"):
        registry.set_alias("churn", alias="champion", version=9)


def test_what_is_not_there_is_answered_with_what_is(registry: Registry, made: list[Prepared]) -> None:
    with pytest.raises(NotFound) as caught:
        registry.resolve("churn")
    assert "this workspace has no model yet" in caught.value.hint
    _registered(registry, made, 2)
    with pytest.raises(NotFound) as caught:
        registry.versions("chrun")
    assert "did you mean churn?" in caught.value.hint
    with pytest.raises(NotFound) as caught:
        registry.get("churn", 9)
    assert caught.value.hint.startswith("versions: 1, 2")
    with pytest.raises(NotFound):
        registry.set_stage("churn", 9, "Production")
    with pytest.raises(NotFound):
        registry.by_hash("0" * 64)


def test_models_are_listed_with_what_is_live(registry: Registry, made: list[Prepared]) -> None:
    _registered(registry, made, 2)
    registry.set_stage("churn", 1, "Production")
    (row,) = registry.models()
    assert (row.name, row.versions, row.latest, row.production) == ("churn", 2, 2, 1)


# ---------------------------------------------------------------- trust, and what deployment asks


def test_what_a_token_registers_is_not_trusted_until_somebody_says_so(
    world: World, registry: Registry, made: list[Prepared]
) -> None:
    assert not registry.register(made[0], actor=TOKEN).trusted
    assert registry.trust("churn:1", actor=ANN, reason="ours").trusted
    assert registry.get("churn", 1).trusted
    entry = world.governance.entries()[-1]
    assert (entry.action, entry.actor, entry.reason) == ("trust", "ann", "ours")
    release = read_release(Path(registry.get("churn", 1).path))
    assert entry.facts["model_digest"] == release.model
    registry.trust("churn:1", actor=ANN)
    assert len(world.governance.entries()) == 2


def test_the_owner_at_the_workspace_is_trusted(registry: Registry, made: list[Prepared]) -> None:
    assert registry.register(made[0], actor=ANN).trusted


def test_deployment_learns_of_baseline_and_dependencies(
    registry: Registry, made: list[Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registry.register(made[0], actor=ANN)
    assert registry.has_baseline(version)
    assert registry.missing_dependencies(version) == ()
    locked = read_release(Path(version.path)).environment["scikit-learn"]
    monkeypatch.setattr(
        "mlspine.registry.service.distribution_version", lambda name: None if name == "scikit-learn" else "1"
    )
    assert registry.missing_dependencies(version) == (f"scikit-learn=={locked}",)
    gone = msgspec.structs.replace(version, path=version.path + "-gone")
    assert not registry.has_baseline(gone)


def test_rows_are_counted_on_the_release_s_own_reference(registry: Registry, made: list[Prepared]) -> None:
    references = registry.references_of(registry.register(made[0], actor=ANN).release_hash)
    assert references.inputs.names == ("charge",)
    assert references.outputs is None


def test_the_public_surface_takes_and_gives_travelling_types_only() -> None:
    methods = {each.name: each for each in surface(Registry)}
    changing = {"approve", "fill", "register", "trust"}
    assert set(methods) == {"aliases", "get", "models", "resolve", "versions"} | changing
    assert {name for name, each in methods.items() if each.takes_actor} == changing
    prepared = methods["register"].parameters["prepared"][0]
    assert prepared is Prepared
