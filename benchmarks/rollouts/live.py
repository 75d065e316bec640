"""Rollouts of identical releases on a running server: how many come back? And planted faults: how soon?

Each rollout serves two releases that answer the same, begins a short canary under load with bursts, and waits for its
end. Everything is the product: processes, HTTP, the duties of the control process.

    python -m benchmarks.rollouts.live [--rollouts 20] [--rate 200] [--fault none|errors|slow|inverted]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.desk import Desk

SHIP = """
import os, random, time
import numpy as np, pandas as pd
import mlspine

class Alike:
    "The same answers in every release; a fault begins when the file is there."
    def __init__(self, number, file, fault):
        self.number, self.file, self.fault = number, file, fault
    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-np.asarray(X, dtype=float)[:, 0]))
        if self.fault and os.path.exists(self.file):
            if self.fault == "errors" and random.random() < 0.05:
                raise RuntimeError("planted")
            if self.fault == "slow":
                time.sleep(0.1)
            if self.fault == "inverted":
                p = 1 - p
        return np.column_stack([1 - p, p])
    def predict(self, X):
        return (self.predict_proba(X)[:, 1] > 0.5).astype(int)

rng = np.random.default_rng(0)
X = pd.DataFrame({{"x": rng.normal(size=500)}})
mlspine.ship(Alike({number}, {file!r}, {fault!r}), X, (X.x > 0).astype(int), name="alike", owner="ada@example.org")
"""


class Load:
    """Requests at a rate that moves and bursts, from a few threads, until stopped."""

    def __init__(self, url: str, rate: float, threads: int = 8) -> None:
        self.answered = self.failed = 0
        self._url, self._rate, self._stop = url, rate / threads, threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,), daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _send(self, number: int) -> None:
        dice = random.Random(number)
        while not self._stop.wait(dice.expovariate(self._rate * (5 if time.time() % 20 < 2 else 1))):
            body = json.dumps({"rows": [{"x": dice.gauss(0, 1)}]}).encode()
            request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=30):
                    self.answered += 1
            except (urllib.error.URLError, TimeoutError):
                self.failed += 1


def one(folder: Path, *, rate: float, fault: str, minutes: float) -> dict[str, Any]:
    """One rollout from ship to its end; how it ended, after how long and how many requests of the candidate."""
    folder.mkdir()
    desk, mood = Desk(folder), folder / "mood"
    for number in (1, 2):
        desk.python(SHIP.format(number=number, file=str(mood), fault=fault if number == 2 else ""))
    desk.mlspine("serve", "alike:1")
    load = Load(f"http://127.0.0.1:{desk.port}/endpoints/alike/predict", rate)
    try:
        time.sleep(5.0)
        began = time.monotonic()
        desk.mlspine(
            *("rollout", "start", "alike:2", "--canary", "5,25,50,100", "--min-hours", str(minutes / 60)),
            *("--step-minutes", str(minutes / 3), "--step-requests", "100", "--margin", "0.03"),
        )
        mood.touch()
        deadline = began + 60 * (3 * minutes + 5)
        found, seen = _canary(desk), {}
        while found["rollout"]["state"] == "open" and time.monotonic() < deadline:
            time.sleep(0.5)
            seen, found = found, _canary(desk)
    finally:
        load.stop()
        desk.mlspine("down", check=False)
    found = seen | found  # a watch takes its place where it was promoted: the counts are then of the look before
    found["took_s"], found["answered"], found["failed"] = time.monotonic() - began, load.answered, load.failed
    return found


def _canary(desk: Desk) -> dict[str, Any]:
    """The newest canary, with its counts while it is under way."""
    newest = next(
        each for each in desk.mlspine("rollout", "history", "alike", "--json").json if each["kind"] == "canary"
    )
    states = desk.mlspine("rollout", "status", "alike", "--json").json
    return next((each for each in states if each["rollout"]["id"] == newest["id"]), {"rollout": newest})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second")
    parser.add_argument("--minutes", type=float, default=1.0, help="that a canary lasts at least")
    parser.add_argument("--fault", choices=("none", "errors", "slow", "inverted"), default="none")
    given = parser.parse_args()
    fault = "" if given.fault == "none" else given.fault
    ends: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as place:
        for number in range(given.rollouts):
            found = one(Path(place) / str(number), rate=given.rate, fault=fault, minutes=given.minutes)
            rollout, newer = found["rollout"], found.get("newer", {})
            ends[rollout["state"]] = ends.get(rollout["state"], 0) + 1
            print(
                f"{number + 1}: {rollout['state']} after {found['took_s']:.0f} s, {newer.get('requests', '?')} requests"
                f" of the candidate, {newer.get('failures', '?')} failed; callers: {found['failed']} of"
                f" {found['answered'] + found['failed']} failed; {rollout['why']}",
                flush=True,
            )
    print(
        f"{given.rollouts} rollouts, {given.fault} planted: " + ", ".join(f"{n} {state}" for state, n in ends.items())
    )


if __name__ == "__main__":
    main()
