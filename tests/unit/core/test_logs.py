"""Log lines: what they carry, and that only a process of ours is set up."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mlspine.core.logs import bind, configure

LOGGER = logging.getLogger("mlspine.test")


@pytest.fixture(autouse=True)
def leave_root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_line_carries_event_fields_and_ids() -> None:
    stream = io.StringIO()
    configure(process="control", stream=stream)
    with bind(request="r1", run="n1"):
        LOGGER.warning("revision %d applied", 3, extra={"endpoint": "churn"})
    line = json.loads(stream.getvalue())
    at = line.pop("at")
    assert at.endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "mlspine.test",
        "process": "control",
        "event": "revision 3 applied",
        "request_id": "r1",
        "run_id": "n1",
        "endpoint": "churn",
    }


def test_an_exception_stays_on_one_json_line() -> None:
    stream = io.StringIO()
    configure(process="control", stream=stream)
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        LOGGER.exception("task failed", extra={"odd": object()})
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: bad\nnews" in json.loads(line)["error"]


def test_a_human_line_reads_from_left_to_right() -> None:
    stream = io.StringIO()
    configure(process="inference-0", stream=stream, as_json=False)
    LOGGER.info("ready", extra={"port": 8080})
    assert stream.getvalue()[12:] == " inference-0 INFO ready  port=8080\n"


def test_ids_end_with_their_block_and_nest() -> None:
    stream = io.StringIO()
    configure(process="p", stream=stream)
    with bind(request="outer"):
        with bind(request="inner"):
            LOGGER.info("a")
        LOGGER.info("b")
    LOGGER.info("c")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("request_id") for line in lines] == ["inner", "outer", None]


def test_configuring_twice_writes_each_line_once_and_leaves_foreign_handlers() -> None:
    root = logging.getLogger()
    foreign = logging.NullHandler()
    root.addHandler(foreign)
    first, second = io.StringIO(), io.StringIO()
    configure(process="p", stream=first)
    configure(process="p", stream=second)
    LOGGER.info("once")
    assert (first.getvalue(), len(second.getvalue().splitlines())) == ("", 1)
    assert foreign in root.handlers


def test_importing_touches_no_logger() -> None:
    code = (
        "import logging; root = logging.getLogger(); before = (root.level, list(root.handlers));"
        "import mlspine.core.logs; assert (root.level, list(root.handlers)) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
