"""Both servers, asked everything by every client, once per session: the long tests read what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.needs import need
from tests.wire.mlflow.clients import CLIENTS, SKINNY, find
from tests.wire.mlflow.observed import Observed, Steps, observe
from tests.wire.mlflow.servers import Server, mlflow_server, our_server

collect_ignore_glob = ["flows/*"]  # they are read by other interpreters


@pytest.fixture(scope="session")
def environments() -> None:
    missing = [str(client.python) for client in CLIENTS if not client.python.exists()]
    need("mlflow", not missing, f"{', '.join(missing)} absent: make wire brings them")


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with our_server(tmp_path_factory.mktemp("ours")) as server:
        yield server


@pytest.fixture(scope="session")
def theirs(environments: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server(find("v318"), tmp_path_factory.mktemp("theirs")) as server:
        yield server


@pytest.fixture(scope="session")
def observed(theirs: Server, ours: Server, tmp_path_factory: pytest.TempPathFactory) -> list[Observed]:
    """What every client saw of `mlflow server` and of us."""
    folder = tmp_path_factory.mktemp("clients")

    def all_of(server: Server) -> list[dict[str, Steps]]:
        return [observe(client, server, folder) for client in CLIENTS]

    with ThreadPoolExecutor(2) as two:
        sides = list(two.map(all_of, (theirs, ours)))
    return [Observed(client, sides[0][number], sides[1][number]) for number, client in enumerate(CLIENTS)]


@pytest.fixture(scope="session")
def themselves(theirs: Server, tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """What one client saw of two instances of `mlflow server`."""
    folder: Path = tmp_path_factory.mktemp("themselves")
    (folder / "server").mkdir()
    with mlflow_server(find("v318"), folder / "server") as another:
        # By another name, so that what it makes is in nobody's way when the server is asked again.
        twin = SKINNY._replace(name="twin")
        first, second = (observe(twin, each, folder / str(number)) for number, each in enumerate((another, theirs)))
    return Observed(twin, first, second)
