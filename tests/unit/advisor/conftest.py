from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .world import World


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    """Makes the workspace of a story in an empty folder; commands run in the same folder find it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SYSTEMD_EXEC_PID", "XPC_SERVICE_NAME", "KUBERNETES_SERVICE_HOST", "MLSPINE_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    made: list[World] = []

    def make(settings: str = "") -> World:
        world = World(tmp_path, settings=settings)
        monkeypatch.setenv("MLSPINE_SERVING__PORT", world.ports["serving.port"])
        monkeypatch.setenv("MLSPINE_CONTROL__PORT", world.ports["control.port"])
        made.append(world)
        return world

    yield make
    for world in made:
        world.close()
