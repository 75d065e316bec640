"""`mlspine.Client`: ask an endpoint for predictions."""

from __future__ import annotations

import datetime as dt
import http.client
import ssl
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from mlspine.client.answers import Predictions, from_bytes, from_json
from mlspine.client.pool import Exchanged, Pool
from mlspine.client.retries import ASK_AGAIN, Backoff
from mlspine.client.rows import BYTES_FROM_VALUES, Body, Described, as_bytes, as_json, read
from mlspine.core.errors import FAMILY, Denied, Invalid, MlspineError, NotFound, Unavailable
from mlspine.core.ids import uuid7

_BY_STATUS: dict[int, type[MlspineError]] = {400: Invalid, 403: Denied, 404: NotFound, 413: Invalid, 415: Invalid}


class Client:
    """Asks the endpoints at one address.

    url: where predictions are answered, as `mlspine serve` prints it. endpoint: which one; "" where one is served.
    deadline_s: an answer not there by then is an error, retries included. retries: how often more a request is sent
    that met no server, or an overloaded one; each with the same request id, so that it is one prediction in the log's
    eyes. headers: sent with every request, e.g. for a proxy that wants a token. tls: a context of your own.
    connections: kept open between requests. One client may be used by many threads.

        with mlspine.Client("http://127.0.0.1:8080") as client:
            answer = client.predict([{"income": 1200.0, "age": 30}])
            answer.predictions, answer.scores, answer.id
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        endpoint: str = "",
        deadline_s: float = 10.0,
        retries: int = 3,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = 10,
        sleep: Callable[[float], None] = time.sleep,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._endpoint = endpoint
        self._deadline_s = deadline_s
        self._retries = retries
        self._headers = dict(headers or {})
        self._sleep = sleep
        self._timer = timer
        self._pool = Pool(url, size=connections, tls=tls, timer=timer)
        self._described: dict[str, Described] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def predict(
        self,
        rows: Any,
        *,
        endpoint: str = "",
        key: str | None = None,
        event_time: dt.datetime | str | int | None = None,
        request_id: str | None = None,
        deadline_s: float | None = None,
    ) -> Predictions:
        """Predictions for these rows.

        rows: a list of dicts (or of lists in column order), one dict, a dict of columns, a pandas, polars or Arrow
            table, or a numpy matrix. Many numbers in arrays travel as bytes, all else as JSON.
        key: whom or what they are about, to join outcomes by and to stay with one release in a split.
        event_time: when it happened: a datetime, ISO 8601 text or milliseconds since 1970 (without an offset: UTC).
        request_id: a UUID of your own; asking again with it is the same prediction.

        Raises Invalid with every problem of the rows, NotFound, and Unavailable when no answer came in time.
        """
        until_s = self._timer() + (self._deadline_s if deadline_s is None else deadline_s)
        name = urllib.parse.quote(endpoint or self._endpoint or self._the_only(until_s), safe="")
        headers = _identity(key, event_time, request_id)
        body, described = self._body(rows, name, until_s)
        path = f"/v2/models/{name}/infer" if body.binary else f"/endpoints/{name}/predict"
        answer = self._ask("POST", path, body.data, {**self._headers, **body.headers, **headers}, until_s)
        if not body.binary or described is None:
            return from_json(answer.body)
        release = answer.headers.get("mlspine-release", "")
        if release != described.release:  # another one took over: its classes may be others
            described = self._describe(name, until_s, release)
        return from_bytes(answer.body, answer.headers, name, described)

    def endpoints(self) -> list[str]:
        """The names of the endpoints served there."""
        return self._names(self._timer() + self._deadline_s)

    def ready(self) -> bool:
        """Whether every endpoint there reproduces a recorded prediction at this moment. Asked once, without retries."""
        until_s = self._timer() + self._deadline_s
        try:
            return self._pool.exchange("GET", "/health/ready", b"", self._headers, until_s).status == 200
        except (OSError, http.client.HTTPException):
            return False

    # ------------------------------------------------------------ what is served

    def _body(self, rows: Any, name: str, until_s: float) -> tuple[Body, Described | None]:
        given = read(rows)
        if given.values >= BYTES_FROM_VALUES or given.needs_bytes:
            described = self._described.get(name) or self._describe(name, until_s)
            body = as_bytes(given, described)
            if body is not None:
                return body, described
        return as_json(given), None

    def _describe(self, name: str, until_s: float, release: str = "") -> Described:
        """The endpoint described, kept as the account of `release` even where another one is live: a candidate."""
        known = self._described.get(f"{name}@{release}") if release else None
        if known is not None:
            return known
        answer = self._ask("GET", f"/endpoints/{name}", b"", self._headers, until_s)
        described: Described = _read(answer.body, Described)
        with self._lock:
            self._described[name] = described
            self._described[f"{name}@{release or described.release}"] = described
        return described

    def _the_only(self, until_s: float) -> str:
        names = self._names(until_s)
        if len(names) != 1:
            listed = ", ".join(names) or "none"
            raise Invalid(
                f"{len(names)} endpoints are served at {self.url}: {listed}",
                hint='name one: Client(url, endpoint="NAME")',
            )
        self._endpoint = names[0]
        return names[0]

    def _names(self, until_s: float) -> list[str]:
        answer = self._ask("GET", "/endpoints", b"", self._headers, until_s)
        return [each.name for each in _read(answer.body, _Endpoints).endpoints]

    # ------------------------------------------------------------ asking

    def _ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str | bytes], until_s: float
    ) -> Exchanged:
        """The answer to a request, asked again where that may help and the deadline allows; errors are raised."""
        backoff, left = Backoff(), self._retries
        while True:
            retry_after = ""
            failure: MlspineError
            try:
                answer = self._pool.exchange(method, path, body, headers, until_s)
            except TimeoutError as exc:
                raise self._too_late(path) from exc
            except ssl.SSLError as exc:
                raise self._unreachable(exc) from exc
            except (OSError, http.client.HTTPException) as exc:
                failure = self._unreachable(exc)
            else:
                if answer.status < 300:
                    return answer
                failure = _failure(answer, path)
                if answer.status not in ASK_AGAIN:
                    raise failure
                retry_after = answer.headers.get("retry-after", "")
            wait_s = backoff.next_s(retry_after=retry_after)
            if left <= 0 or self._timer() + wait_s >= until_s:
                raise failure
            left -= 1
            self._sleep(wait_s)

    def _too_late(self, path: str) -> Unavailable:
        return Unavailable(
            f"{self.url}{path} did not answer within the deadline", hint="allow more: predict(rows, deadline_s=...)"
        )

    def _unreachable(self, exc: Exception) -> Unavailable:
        return Unavailable(
            f"{self.url} cannot be asked: {exc or type(exc).__name__}",
            hint="is it served there? On that machine: mlspine status",
        )


class _Named(msgspec.Struct):
    name: str


class _Endpoints(msgspec.Struct):
    endpoints: list[_Named]


def _identity(
    key: str | None, event_time: dt.datetime | str | int | None, request_id: str | None
) -> dict[str, str | bytes]:
    """The headers that say whose request this is; the id stays the same when it is sent again."""
    try:
        given = uuid7() if request_id is None else str(uuid.UUID(request_id))
    except ValueError as exc:
        raise Invalid(f"request_id {request_id!r} is no UUID", hint="leave it out to be given one") from exc
    headers: dict[str, str | bytes] = {"Mlspine-Request-Id": given}
    if key is not None:
        if "\n" in key or "\r" in key:
            raise Invalid("a key is one line of text", hint="leave out line breaks")
        headers["Mlspine-Key"] = key.encode()
    if event_time is not None:
        headers["Mlspine-Event-Time"] = (
            event_time.isoformat() if isinstance(event_time, dt.datetime) else str(event_time)
        )
    return headers


def _failure(answer: Exchanged, path: str) -> MlspineError:
    """An error answer of any wire as a member of the family."""
    try:
        told = msgspec.json.decode(answer.body)
        error = told["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        error = f"{path} answered {answer.status}"
    if isinstance(error, dict):
        kind = FAMILY.get(str(error.get("code")), _kind(answer.status))
        details = tuple(map(str, error.get("details") or ()))
        return kind(str(error.get("message", "")), hint=str(error.get("hint", "")), details=details)
    return _kind(answer.status)(str(error))


def _kind(status: int) -> type[MlspineError]:
    return _BY_STATUS.get(status, Unavailable if status >= 429 else Invalid)


def _read(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as exc:
        raise Unavailable(
            "the server answered, but not as mlspine does", hint="it must be the address of the predictions"
        ) from exc
