"""Opening the gRPC port: only where it is asked for, and never at the expense of HTTP."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mlspine.cli.project import _check_grpc
from mlspine.core.errors import MissingExtra
from mlspine.core.plan import Plan
from mlspine.web.grpc import open_grpc
from tests.desk import free_port


def opened(port: int | None) -> Any:
    """What came of it; a server that was opened is stopped again."""
    serving: Any = SimpleNamespace(on_change=[], endpoints={})
    plan = Plan(number=1, workspace="", host="127.0.0.1", port=1, grpc_port=port)

    async def run() -> Any:
        server = await open_grpc(serving, plan, max_body_bytes=1000)
        if server is not None:
            await server.stop()
        return server

    return asyncio.run(run())


def test_nothing_is_opened_unless_asked_for() -> None:
    assert opened(None) is None


def test_a_free_port_is_opened() -> None:
    pytest.importorskip("grpc")
    port = free_port()
    assert opened(port).port == port


def test_a_taken_port_is_told_in_the_log_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("grpc")
    with socket.socket() as owner, caplog.at_level(logging.ERROR):
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = owner.getsockname()[1]
        assert opened(port) is None
    assert f"port {port} on 127.0.0.1 is taken" in caplog.records[-1].__dict__["why"]


def test_absent_libraries_are_told_in_the_log_and_stop_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlspine.web.grpc.server", None)
    with caplog.at_level(logging.ERROR):
        assert opened(free_port()) is None
    assert "pip install 'mlspine[grpc]'" in caplog.records[-1].__dict__["why"]


def test_the_command_refuses_before_anything_starts_when_libraries_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="grpcio and protobuf"):
        _check_grpc()
