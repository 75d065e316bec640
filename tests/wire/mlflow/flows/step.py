"""One step of a flow: its name, what came back or what was raised, as one line of JSON on the standard output.

Standard library only, and nothing newer than the oldest client's Python: every client's interpreter runs this file.
"""

from __future__ import annotations

import json
import math
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import Any

SALT = os.environ.get("WIRE_SALT", "alone")
FLOW = [""]
TAKEN: set[str] = set()


def salted(name: str) -> str:
    """A name no other client uses on the same server."""
    return f"{SALT}-{name}"


def begin(flow: str) -> None:
    FLOW[0] = flow
    TAKEN.clear()


def step(
    name: str, ask: Callable[..., Any], /, *args: Any, show: Callable[[Any], Any] | None = None, **how: Any
) -> Any:
    """What `ask` gives, told on the way as `show` (by default as it is) sees it; None when it raises."""
    _mark(name)
    try:
        answer = ask(*args, **how)
        _tell(name, {"value": plain(show(answer) if show else answer)})
        return answer
    except Exception as exc:
        code = getattr(exc, "error_code", None)
        _tell(name, {"error": {"type": type(exc).__name__, "error_code": code, "message": str(exc)}})
        return None


def unrecorded(do: Callable[[], Any]) -> None:
    """Do something whose requests are not compared."""
    _mark("")
    do()


def ask(
    name: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    query: Iterable[tuple[str, str]] = (),
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Send one request as it is, as a step; the answer's JSON, None when it has none.

    body: sent as JSON. data: sent instead, untouched. Statuses are no errors here: the recording has them.
    """
    _mark(name)
    url = os.environ["MLFLOW_TRACKING_URI"] + path
    if query:
        url += "?" + urllib.parse.urlencode(list(query))
    sent = {} if body is None else {"Content-Type": "application/json"}
    if "MLFLOW_TRACKING_TOKEN" in os.environ:
        sent["Authorization"] = "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]
    payload = data if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=payload, method=method, headers={**sent, **(headers or {})})
    if data is not None and "Content-Type" not in (headers or {}):
        request.add_unredirected_header("Content-type", "application/octet-stream")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            read = response.read()
    except urllib.error.HTTPError as exc:
        with exc:
            read = exc.read()
    try:
        answer = json.loads(read)
    except ValueError:
        answer = None
    _tell(name, {"value": None})
    return answer


def plain(value: Any) -> Any:
    """Anything a client returns, as JSON holds it; entities by their properties, numbers that JSON lacks as words."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(each) for each in value]
        return {"items": items, "more": bool(value.token)} if hasattr(value, "token") else items
    if hasattr(value, "__iter__"):
        return {str(key): plain(each) for key, each in value}
    return str(value)


def _mark(name: str) -> None:
    """Tell the recorder, when there is one, which step the requests that follow belong to."""
    if name and name in TAKEN:
        raise ValueError(f"two steps of {FLOW[0]} are named {name!r}")
    TAKEN.add(name)
    url = os.environ.get("WIRE_RECORDER")
    if url:
        marker = urllib.request.Request(url, data=json.dumps({"flow": FLOW[0], "step": name}).encode(), method="POST")
        with urllib.request.urlopen(marker, timeout=60):
            pass


def _tell(name: str, outcome: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps({"flow": FLOW[0], "step": name, **outcome}) + "\n")
    sys.stdout.flush()
