"""Token -> Actor. The workspace's own token stands for whoever owns the processes."""

from __future__ import annotations

import hmac

from mlspine.core.errors import Denied
from mlspine.core.types import Actor


def actor_of(authorization: str, *, token: str, owner: Actor) -> Actor:
    """Who asks, by the `Authorization` header; raises Denied for anything but the workspace's own token."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Denied(
            "the request carries no valid token",
            hint="send 'Authorization: Bearer TOKEN' with the token from .mlspine/run/control.json",
        )
    return owner
