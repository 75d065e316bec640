"""What one client may cost."""

from __future__ import annotations

from mlspine.core.types import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of a connection and of all of them. Times are seconds.

    head_s: from the first byte of a request to its last header; body_s: from there to its last byte; idle_s: between
    requests; stalled_s: how long a client may leave an answer unread.
    """

    max_body_bytes: int = 64 * 1024 * 1024
    max_head_bytes: int = 64 * 1024
    max_headers: int = 100
    max_connections: int = 20_000
    max_pipelined: int = 64
    head_s: float = 10.0
    body_s: float = 30.0
    idle_s: float = 75.0
    stalled_s: float = 30.0
