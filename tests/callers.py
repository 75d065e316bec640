"""Callers on keep-alive connections, for tests of what happens to requests while processes come and go."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from typing import NamedTuple


class Failed(NamedTuple):
    """A request without an answer, and the connection's place in it: how many answers it had given before."""

    at_s: float
    why: str
    answers_before: int


class Callers:
    """Threads that ask one endpoint, one request after the other, on connections kept while the server keeps them.

    per_connection: answers after which a caller opens a new one by itself; 0: never.
    """

    def __init__(self, port: int, path: str, body: object, *, threads: int = 4, per_connection: int = 0) -> None:
        self.statuses: Counter[int] = Counter()
        self.releases: list[tuple[float, str]] = []  # when each answer had begun, and the release it came from
        self.failed: list[Failed] = []
        self.connections = 0
        self._port, self._path, self._body = port, path, json.dumps(body).encode()
        self._per_connection = per_connection
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    @property
    def answered(self) -> int:
        return sum(self.statuses.values())

    def await_more(self, answers: int, timeout_s: float = 60.0) -> None:
        """Wait until so many more requests were answered."""
        wanted = self.answered + answers
        deadline = time.monotonic() + timeout_s
        while self.answered < wanted:
            assert time.monotonic() < deadline, f"{self.answered} of {wanted} answers"
            time.sleep(0.01)

    def _call(self) -> None:
        while not self._stop.is_set():
            self._use(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30))

    def _use(self, connection: http.client.HTTPConnection) -> None:
        """Ask on one connection until either side ends it."""
        answers = 0
        with self._lock:
            self.connections += 1
        try:
            while not self._stop.is_set():
                begun_s = time.time()
                connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                answers += 1
                with self._lock:
                    self.statuses[answer.status] += 1
                    self.releases.append((begun_s, answer.headers.get("mlspine-release") or ""))
                if answer.will_close or answers == self._per_connection:
                    return
        except (OSError, http.client.HTTPException) as exc:
            with self._lock:
                self.failed.append(Failed(time.time(), f"{type(exc).__name__}: {exc}", answers))
            self._stop.wait(0.01)
        finally:
            connection.close()
