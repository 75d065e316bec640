"""Mutated requests over real sockets, and requests made from our own OpenAPI document; every answer is looked at."""

from __future__ import annotations

import contextlib
import json
import random
import re
import select
import socket
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from tests.http_cases import LIVE
from tests.raw_http import RawClient
from tests.soak.mutating import mutated, parts

STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
QUIET_S = 0.02  # without another byte for so long, the next request is sent


def is_fault(status: int) -> bool:
    """Whether a status blames the server. 501 is what a wire's document says of `:explain`: nobody's fault."""
    return status >= 500 and status != 501


class Told(NamedTuple):
    """Requests sent, answers by status, and what was sent before an answer of 500 and more (a few)."""

    sent: int
    statuses: Counter[int]
    faults: list[str]

    @property
    def fives(self) -> int:
        return sum(count for status, count in self.statuses.items() if is_fault(status))


def mutate(port: int, *, seconds: float, seed: int, alive: Callable[[], bool]) -> Told:
    """Send mutated requests on connections of one to five messages; every hundredth time an ordinary one must do."""
    until, sent = time.monotonic() + seconds, 0
    statuses: Counter[int] = Counter()
    faults: list[str] = []
    while time.monotonic() < until and alive():
        dice = random.Random(seed + sent)
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(dice.choice((1, 1, 2, 5))):
                raw = mutated(dice)
                sent += 1
                for part in parts(raw, dice):
                    client.sendall(part)
                found = [int(each) for each in STATUS.findall(_said(client))]
                statuses.update(found)
                if any(map(is_fault, found)) and len(faults) < 20:
                    faults.append(f"{found} to {raw!r:.3000}")
        if sent % 100 < 3:
            with contextlib.suppress(OSError, EOFError), RawClient(port) as client:
                client.send(LIVE)
                if client.answer().status != 200:
                    faults.append(f"{LIVE!r} is not answered after {sent} requests")
    return Told(sent, statuses, faults)


def _said(client: socket.socket) -> bytes:
    received = b""
    while select.select([client], [], [], QUIET_S)[0]:
        data = client.recv(1 << 16)
        if not data:
            break
        received += data
    return received


def documented(port: int, *, seconds: float, alive: Callable[[], bool]) -> Told:
    """schemathesis: what the document allows, of every operation in turn, until the time is up."""
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import Case, openapi

    with RawClient(port) as client:
        client.send(b"GET /openapi.json HTTP/1.1\r\nHost: t\r\n\r\n")
        document = client.answer().json
    operations = [each.ok() for each in openapi.from_dict(document).get_all_operations()]
    until, statuses, faults, sent = time.monotonic() + seconds, Counter[int](), list[str](), 0

    def ask(case: Case) -> None:
        nonlocal sent
        path = case.path
        for name, value in (case.path_parameters or {}).items():
            path = path.replace(f"{{{name}}}", urllib.parse.quote(str(value), safe=""))
        body = case.body if isinstance(case.body, bytes) else None
        if body is None and isinstance(case.body, dict | list | str | int | float | bool):
            body = json.dumps(case.body).encode()
        named = "".join(f"{name}: {value}\r\n" for name, value in (case.headers or {}).items())
        named = named if named.isascii() else ""
        head = f"{case.method.upper()} {path} HTTP/1.1\r\nHost: t\r\n{named}Content-Length: {len(body or b'')}\r\n"
        head += "Content-Type: application/json\r\n\r\n"
        sent += 1
        with RawClient(port) as client:
            client.send(head.encode("latin-1", "replace") + (body or b""))
            try:
                answer = client.answer(head_only=case.method.upper() == "HEAD")
            except EOFError:
                return
        statuses[answer.status] += 1
        if is_fault(answer.status) and len(faults) < 20:
            faults.append(f"{answer.status} {answer.body!r:.300} to {case.method} {path} {body!r:.2000}")

    while time.monotonic() < until and alive():
        for operation in operations:
            if time.monotonic() > until:
                break
            tried = settings(
                max_examples=50,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],
            )
            tried(given(case=operation.as_strategy())(ask))()
    return Told(sent, statuses, faults)
