"""Two machines on one Postgres and one bucket, a balancer in front, and one of them killed under load."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.balancer import Balancer
from tests.desk import Desk, ship_churn
from tests.postgres import postgres_schema
from tests.s3 import KEYS, s3_bucket

RATE, SECONDS, KILL_AT_S = 200, 5.0, 2.0
SPOOLED_AFTER_S = 0.5  # answers are in the spool 0.25 s after they were given, twice that on a busy machine
PATIENCE_S = 40.0
CONTRACTS = ("month", "year", "two years")

COMPARE_PROFILES = """
import numpy as np
from mlspine.workspace import Workspace
from mlspine.stats import profile as profiles

workspace = Workspace.open()
windows = workspace.predictions.sub_windows("churn")
reference = workspace.registry.references_of(windows[0].release_hash).inputs
merged = profiles.empty(reference)
for window in windows:
    merged = profiles.merge(merged, profiles.decode(window.inputs, reference))
sql = 'select epoch_ms(_event_time) as at, "monthly charge", tenure, contract from log'
told = workspace.predictions.query("churn", sql)
values = list(zip(*told.rows))
columns = {
    "monthly charge": np.array(values[1], dtype=float),
    "tenure": np.array(values[2], dtype=np.int64),
    "contract": np.array(values[3], dtype=object),
}
whole = profiles.profile(reference, columns, event_at_ms=np.array(values[0], dtype=np.int64))
assert merged.rows == whole.rows == len(values[0]), (merged.rows, whole.rows, len(values[0]))
for name, one, other in zip(reference.names, merged.parts, whole.parts):
    assert (one.counts == other.counts).all(), name
    np.testing.assert_allclose([one.mean, one.m2], [other.mean, other.m2], rtol=1e-12)
    assert (one.low, one.high) == (other.low, other.high)
print(len(values[0]), "rows")
workspace.close()
"""


class Shot(NamedTuple):
    """One request: when it was sent and answered, and its id; "" when it failed."""

    sent_s: float
    answered_s: float
    request_id: str


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Desk, Desk]]:
    """Two desks with folders, homes and ports of their own, and the same `[store]`."""
    with postgres_schema() as database, s3_bucket() as (blobs, endpoint):
        desks = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            desk = Desk(tmp_path / name)
            desk.env |= KEYS | {
                "MLSPINE_STORE__DATABASE": database,
                "MLSPINE_STORE__BLOBS": blobs,
                "MLSPINE_STORE__ENDPOINT": endpoint,
            }
            desks.append(desk)
        yield desks[0], desks[1]
        for desk in desks:
            desk.mlspine("down", check=False)


@pytest.mark.long
@pytest.mark.slow
def test_one_of_two_machines_is_killed_under_load(machines: tuple[Desk, Desk]) -> None:
    a, b = machines
    ship_churn(a)
    a.mlspine("serve", "churn")
    b.mlspine("up")
    release = {desk.post("/endpoints/churn/predict", one_row(0))[1]["mlspine-release"] for desk in machines}
    assert len(release) == 1
    assert (b.folder / ".mlspine" / "releases" / release.pop()).is_dir()  # it was shipped on the other
    assert leader(b)["url"].endswith(f":{a.port}")

    shots, broken = asyncio.run(fire(a, b))
    failed = [shot for shot in shots if not shot.request_id]
    assert len(shots) == RATE * SECONDS
    assert len(failed) <= broken[a.port]  # only what was in flight on the one that was killed
    assert broken[b.port] == 0

    until(lambda: leader(b).get("here", False))  # the schedule goes on here
    silent = until(lambda: [each for each in told(b)["alerts"] if each["cause"].startswith("machine:")])
    assert silent[0]["severity"] == "CRITICAL"

    a.mlspine("up")
    outage = told(a)["outages"][0]
    assert outage["cause"] == "killed"
    assert leader(a)["url"].endswith(f":{b.port}")  # it is back, and the other leads on
    until(lambda: not told(b)["alerts"])

    killed_s = shots[0].sent_s + KILL_AT_S
    logged = Counter(row["_id"] for row in log(b, "select _id from log"))
    assert set(logged.values()) == {1}
    near_the_kill = [shot for shot in shots if killed_s - SPOOLED_AFTER_S < shot.answered_s < killed_s + 1.0]
    safe = {shot.request_id for shot in shots if shot.request_id and shot not in near_the_kill}
    assert len(safe) > RATE * (SECONDS - 2.0)
    assert safe - logged.keys() == set()
    assert "rows" in b.python(COMPARE_PROFILES).out


@pytest.mark.long
@pytest.mark.slow
def test_traffic_changed_on_one_machine_follows_on_the_other(machines: tuple[Desk, Desk]) -> None:
    a, b = machines
    ship_churn(a)
    a.mlspine("serve", "churn")
    b.mlspine("up")
    ship_churn(b, C=0.1)
    b.mlspine("promote", "churn", "2")
    until(lambda: a.post("/endpoints/churn/predict", one_row(0))[1]["mlspine-version"] == "2")
    a.mlspine("rollback", "churn")
    until(lambda: b.post("/endpoints/churn/predict", one_row(0))[1]["mlspine-version"] == "1")
    assert a.mlspine("ledger", "--verify").code == 0
    b.mlspine("forget", "nobody", "--yes")
    a.mlspine("down")
    assert [each["stopped"] for each in told(b)["machines"]] == [True, False]


async def fire(a: Desk, b: Desk) -> tuple[list[Shot], dict[int, int]]:
    """200 requests a second through the balancer, whatever becomes of them; machine a dies meanwhile."""
    balancer = Balancer([a.port, b.port])
    port = await balancer.start()
    loop = asyncio.get_running_loop()
    begin = loop.time() + 0.1
    tasks = []
    for number in range(int(RATE * SECONDS)):
        at = begin + number / RATE
        if number == int(KILL_AT_S * RATE):
            await loop.run_in_executor(None, kill_all, a)
        await asyncio.sleep(max(0.0, at - loop.time()))
        tasks.append(asyncio.ensure_future(shoot(port, number)))
    shots = await asyncio.gather(*tasks)
    await balancer.stop()
    return shots, balancer.broken


async def shoot(port: int, number: int) -> Shot:
    sent_s = time.monotonic()
    body = json.dumps(one_row(number)).encode()
    head = (
        "POST /endpoints/churn/predict HTTP/1.1\r\nHost: balancer\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + body)
            answer = await reader.read()
            writer.close()
        status, _, rest = answer.partition(b"\r\n")
        request_id = json.loads(rest.partition(b"\r\n\r\n")[2])["id"] if b" 200 " in status else ""
    except (OSError, TimeoutError, ValueError):
        request_id = ""
    return Shot(sent_s, time.monotonic(), request_id)


def one_row(number: int) -> dict[str, Any]:
    return {
        "rows": [
            {
                "monthly charge": 20.0 + (number * 7919 % 1000) / 10,
                "tenure": number * 31 % 72,
                "contract": CONTRACTS[number % 3],
            }
        ]
    }


def kill_all(desk: Desk) -> None:
    """As a power switch does: every process of this workspace at once."""
    place = str(desk.folder / ".mlspine").encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if place in words:
            os.kill(int(process.name), signal.SIGKILL)


def told(desk: Desk) -> dict[str, Any]:
    return dict(desk.mlspine("status", "--json").json)


def leader(desk: Desk) -> dict[str, Any]:
    return next((each for each in told(desk)["machines"] if each["leads"]), {})


def log(desk: Desk, sql: str) -> list[dict[str, Any]]:
    answer = desk.mlspine("log", "churn", sql, "--json").json
    return [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]


def until(condition: Callable[[], Any]) -> Any:
    """What the condition gives once it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.2)
    return found
