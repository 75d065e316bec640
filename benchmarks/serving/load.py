"""How a server is asked: wrk for speed, plain HTTP for whether the answers are right."""

from __future__ import annotations

import http.client
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving.host import usage
from benchmarks.serving.model import TOLERANCE, Body, scores_in

SCRIPT = Path(__file__).with_name("load.lua")
CHECKED = 100  # answers looked at per server


class Load(NamedTuple):
    """One run. client_us: processor time of the generator per request."""

    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    answered: int
    failed: int
    cpu_us: float
    client_us: float


def messages(path: str, bodies: list[Body], file: Path, *headers: str) -> Path:
    """Whole requests, head and body in one, as load.lua reads them: length, line feed, bytes."""
    made = []
    for body in bodies:
        named = "".join(f"{name}: {value}\r\n" for name, value in body.headers)
        named += "".join(f"{each}\r\n" for each in headers)
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{named}Content-Length: {len(body.data)}\r\n\r\n"
        whole = head.encode() + body.data
        made.append(b"%d\n%b" % (len(whole), whole))
    file.write_bytes(b"".join(made))
    return file


def run(port: int, file: Path, pids: list[int], *, clients: int, seconds: float) -> Load:
    """Keep `clients` connections busy for so long; `pids` are the server's. Raises RuntimeError when wrk fails."""
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is not installed: apt-get install wrk")
    words = [program, "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "20s", "-s", str(SCRIPT)]
    before = usage(pids).cpu_s
    done = subprocess.Popen([*words, f"http://127.0.0.1:{port}/", "--", str(file)], stdout=subprocess.PIPE, text=True)
    assert done.stdout is not None
    said = done.stdout.read()
    client_s = _reaped_cpu_s(done)
    spent = usage(pids).cpu_s - before
    lines = [line for line in said.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(f"wrk says nothing: {said[-300:]}")
    found = json.loads(lines[0].removeprefix("RESULT "))
    answered = max(1, found["answered"])
    return Load(
        found["answered"] / found["seconds"],
        found["p50_ms"],
        found["p99_ms"],
        found["max_ms"],
        found["answered"],
        found["refused"] + found["broken"],
        spent / answered * 1e6,
        client_s / answered * 1e6,
    )


def _reaped_cpu_s(process: subprocess.Popen[str]) -> float:
    import os

    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def ask(port: int, path: str, body: Body, connection: http.client.HTTPConnection | None = None) -> list[float]:
    """The scores of one answer; raises RuntimeError when it is not 200."""
    own = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        own.request("POST", path, body.data, dict(body.headers))
        answer = own.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answers {answer.status}: {said[:300]!r}")
        return scores_in(said, int(answer.headers.get("Inference-Header-Content-Length") or 0))
    finally:
        if connection is None:
            own.close()


def check(port: int, path: str, bodies: list[Body], *, sample: int = CHECKED) -> int:
    """Ask for a sample of the bodies and compare the scores; returns how many were right, raises RuntimeError else."""
    picked = random.Random(0).sample(bodies, min(sample, len(bodies)))
    for body in picked:
        found = ask(port, path, body)
        wrong = [(each, right) for each, right in zip(found, body.scores, strict=True) if abs(each - right) > TOLERANCE]
        if wrong:
            raise RuntimeError(f"{path} answers {wrong[0][0]} where {wrong[0][1]} is right")
    return len(picked)
