"""The model repository extension of the v2 protocol: what is there, and no changes by callers."""

from __future__ import annotations

from mlspine.core.errors import Denied, Invalid
from mlspine.serving.rows import parse_json, shown
from mlspine.web.exchange import Reply


def read_ready(body: bytes) -> bool:
    """Whether an index request wants only what is ready; its body may be empty.

    >>> read_ready(b""), read_ready(b'{"ready": true}')
    (False, True)
    """
    if not body.strip():
        return False
    raw = parse_json(body)
    if not isinstance(raw, dict) or not isinstance(raw.get("ready", False), bool):
        raise Invalid(f'expected {{"ready": true}} or an empty body, got {shown(raw)}')
    return bool(raw.get("ready", False))


async def unload() -> Reply:
    """Refuse: what answers is decided by revisions, which are recorded and can be rolled back."""
    raise Denied(
        "models are not unloaded by callers: an endpoint ends by a recorded change",
        hint="bring back the release before: mlspine rollback NAME; end everything: mlspine down",
    )
