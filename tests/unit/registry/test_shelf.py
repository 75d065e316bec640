"""Releases that machines share: whole or absent, and what they say they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from mlspine import migrations
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.errors import Corrupt, NotFound
from mlspine.core.types import ModelVersion
from mlspine.data.service import Data
from mlspine.governance.service import Governance
from mlspine.ports import BlobStore
from mlspine.registry.prepare import prepare
from mlspine.registry.release import read_release
from mlspine.registry.service import Registry
from mlspine.registry.shelf import SEAL
from tests.unit.registry.conftest import ANN, people


class Machine:
    """A registry with releases of its own, and a store and blobs that are shared."""

    def __init__(self, folder: Path, store: Path, blobs: BlobStore) -> None:
        self.releases = folder / "releases"
        self.blobs = blobs
        db = SqliteDatabase(store)
        db.migrate(migrations.scripts())
        self.registry = Registry(
            db=db, data=Data(db=db), governance=Governance(db=db), releases_dir=self.releases, blobs=blobs
        )

    def ship(self, C: float = 1.0) -> ModelVersion:
        X, y = people()
        model = LogisticRegression(C=C, random_state=0).fit(X[["charge", "visits"]], y)
        prepared = prepare(model, X[["charge", "visits"]], name="churn", releases_dir=self.releases)
        return self.registry.register(prepared, actor=ANN)


@pytest.fixture
def machines(tmp_path: Path) -> tuple[Machine, Machine]:
    blobs = FileBlobStore(tmp_path / "blobs")
    for name in ("a", "b"):
        (tmp_path / name / "releases").mkdir(parents=True)
    return (
        Machine(tmp_path / "a", tmp_path / "store.db", blobs),
        Machine(tmp_path / "b", tmp_path / "store.db", blobs),
    )


def test_a_release_shipped_on_one_machine_is_on_the_other_when_it_is_asked_for(
    machines: tuple[Machine, Machine],
) -> None:
    a, b = machines
    shipped = a.ship()
    assert len(b.registry.versions("churn")) == 1
    assert list(b.releases.iterdir()) == []  # a list fetches nothing
    found = b.registry.get("churn", 1)
    assert Path(found.path).parent == b.releases
    assert read_release(Path(found.path)) == read_release(Path(shipped.path))
    assert b.registry.has_baseline(found)
    assert (
        b.registry.references_of(shipped.release_hash).inputs.id
        == a.registry.references_of(shipped.release_hash).inputs.id
    )
    assert [path.name for path in b.releases.iterdir()] == [shipped.release_hash]


def test_a_release_put_half_is_absent_and_is_put_whole_the_next_time(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    shipped = a.ship()
    a.blobs.delete(f"releases/{shipped.release_hash}/{SEAL}")
    a.blobs.delete(f"releases/{shipped.release_hash}/model.pkl")
    found = b.registry.get("churn", 1)
    assert not Path(found.path).exists()
    with pytest.raises(NotFound):
        b.registry.references_of(found.release_hash)
    a.ship()  # the same release again
    assert b.registry.references_of(found.release_hash)


@pytest.mark.parametrize("file", ["model.pkl", SEAL, "mlspine/baseline.bin"])
def test_a_release_damaged_in_the_store_is_refused_and_leaves_nothing(
    machines: tuple[Machine, Machine], file: str
) -> None:
    a, b = machines
    shipped = a.ship()
    a.blobs.put(f"releases/{shipped.release_hash}/{file}", b"damaged")
    with pytest.raises(Corrupt):
        b.registry.get("churn", 1)
    assert list(b.releases.iterdir()) == []


def test_another_release_under_the_name_is_refused(machines: tuple[Machine, Machine]) -> None:
    a, b = machines
    first, second = a.ship(1.0), a.ship(0.1)
    for file in Path(second.path).rglob("*"):
        if file.is_file():
            a.blobs.put(f"releases/{first.release_hash}/{file.relative_to(second.path).as_posix()}", file)
    with pytest.raises(Corrupt, match="is another release"):
        b.registry.get("churn", 1)
    assert list(b.releases.iterdir()) == []


def test_a_workspace_of_its_own_puts_nothing_into_its_blobs(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    blobs = FileBlobStore(tmp_path / "blobs")
    alone = Machine(tmp_path, tmp_path / "store.db", blobs)
    alone.registry = Registry(
        db=alone.registry._db,
        data=Data(db=alone.registry._db),
        governance=Governance(db=alone.registry._db),
        releases_dir=alone.releases,
    )
    alone.ship()
    assert list(blobs.list()) == []
