from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlspine.backends.choose import is_shared, open_blobs, open_database
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.config import StoreConfig, load_config
from mlspine.core.errors import Invalid

DATABASE, BLOBS = "postgresql://me:hidden@host/db", "s3://bucket/prefix"


def test_nothing_set_is_sqlite_and_files_in_the_workspace(tmp_path: Path) -> None:
    assert not is_shared(StoreConfig())
    database = open_database(StoreConfig(), tmp_path)
    assert isinstance(database, SqliteDatabase)
    database.close()
    assert isinstance(open_blobs(StoreConfig(), tmp_path), FileBlobStore)


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        (StoreConfig(database=DATABASE), 'blobs = "s3://BUCKET/PREFIX"'),
        (StoreConfig(blobs=BLOBS), 'database = "postgresql://USER@HOST/DATABASE"'),
    ],
)
def test_half_a_shared_store_is_refused_with_the_other_half(config: StoreConfig, missing: str, tmp_path: Path) -> None:
    for act in (open_database, open_blobs):
        with pytest.raises(Invalid, match="machines would not see") as caught:
            act(config, tmp_path)
        assert missing in caught.value.hint
        assert "hidden" not in str(caught.value)


def test_another_kind_of_database_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no Postgres URL") as caught:
        open_database(StoreConfig(database="mysql://me:hidden@host/db", blobs=BLOBS), tmp_path)
    assert "hidden" not in str(caught.value)


def test_the_configuration_shows_a_password_by_its_reference_or_not_at_all() -> None:
    written = {"MLSPINE_STORE__DATABASE": DATABASE, "MLSPINE_STORE__BLOBS": BLOBS}
    shown = {each.key: each.value for each in load_config("/", environment=written).settings}
    assert shown["store.database"] == "postgresql://me:***@host/db"
    referred = {"MLSPINE_STORE__DATABASE": "env:URL", "URL": DATABASE, "MLSPINE_STORE__BLOBS": BLOBS}
    config = load_config("/", environment=referred)
    assert config.store.database == DATABASE
    assert {each.key: each.value for each in config.settings}["store.database"] == "env:URL"


def test_a_workspace_of_its_own_loads_neither_client() -> None:
    probe = (
        "import sys, mlspine.workspace, mlspine.web.control\n"
        "print([name for name in ('psycopg', 'obstore', 'boto3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_missing_client_is_told_with_the_pip_line() -> None:
    probe = (
        "import sys; sys.modules[sys.argv[1]] = None\n"
        "from pathlib import Path; from mlspine.backends.choose import *\n"
        "from mlspine.core.config import StoreConfig; from mlspine.core.errors import MissingExtra\n"
        "config = StoreConfig(database='postgresql://host/db', blobs='s3://bucket/prefix')\n"
        "try: (open_database if sys.argv[1] == 'psycopg' else open_blobs)(config, Path('.'))\n"
        "except MissingExtra as exc: print(exc.hint)"
    )
    for module, extra in (("psycopg", "postgres"), ("obstore", "s3")):
        done = subprocess.run([sys.executable, "-c", probe, module], capture_output=True, text=True, check=True)
        assert done.stdout == f'pip install "mlspine[{extra}]"\n'
