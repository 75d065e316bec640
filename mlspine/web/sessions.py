"""Who is signed in to the page: sessions by cookie, and the one-time links that open them.

A session stands for the token it was opened with, which is verified again on every request: a token that expired
or was taken back ends its sessions at once. Everything lives in memory, so a restart of control signs everybody out.
Call from the event loop only.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from mlspine.core.errors import Unidentified

SESSION_LIFE_S = 12 * 3600.0
LINK_LIFE_S = 120.0
SESSIONS_KEPT = 256  # beyond it the oldest ends
LINKS_KEPT = 32


class Sessions:
    """Sessions and links of one control process."""

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._sessions = _Kept(SESSION_LIFE_S, SESSIONS_KEPT, clock_s)
        self._links = _Kept(LINK_LIFE_S, LINKS_KEPT, clock_s)

    def invite(self, token: str) -> str:
        """A code that opens one session with this token, once, within LINK_LIFE_S."""
        return self._links.add(token)

    def redeem(self, code: str) -> str:
        """The session a code opens; raises Unidentified for one that is used, too old or wrong."""
        token = self._links.take(code)
        if not token:
            raise Unidentified(
                "this link was used already, or is too old: a link works once, within two minutes",
                hint="mlspine look",
            )
        return self.open(token)

    def open(self, token: str) -> str:
        """A session for whoever holds this token; the caller has verified it."""
        return self._sessions.add(token)

    def token_of(self, session: str) -> str:
        """The token a session was opened with, "" when there is no such session any more."""
        return self._sessions.get(session)

    def close(self, session: str) -> None:
        """End a session; nothing when it has ended already."""
        self._sessions.take(session)


class _Kept:
    """Secrets under random names, for a while. Bounded: the oldest makes room."""

    def __init__(self, life_s: float, limit: int, clock_s: Callable[[], float]) -> None:
        self._life_s = life_s
        self._limit = limit
        self._clock_s = clock_s
        self._held: dict[str, tuple[float, str]] = {}

    def add(self, secret: str) -> str:
        name = secrets.token_urlsafe(32)
        while len(self._held) >= self._limit:
            del self._held[next(iter(self._held))]
        self._held[name] = (self._clock_s() + self._life_s, secret)
        return name

    def get(self, name: str) -> str:
        until_s, secret = self._held.get(name, (0.0, ""))
        return secret if self._clock_s() < until_s else ""

    def take(self, name: str) -> str:
        secret = self.get(name)
        self._held.pop(name, None)
        return secret
