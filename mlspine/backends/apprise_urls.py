"""Notifier for everything Apprise reaches: chat, pagers, e-mail, by one URL each (extra `alerts`)."""

from __future__ import annotations

import logging
import urllib.parse
from typing import Any

from mlspine.core.errors import Invalid, MissingExtra, Unavailable
from mlspine.core.types import Alert

# Of these the host is a server's name. Elsewhere it may be the token itself (slack://TOKEN/...), so it is not shown.
HOST_IS_A_SERVER = {"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"}
KINDS = {"OK": "success", "INFO": "info", "WARNING": "warning", "CRITICAL": "failure"}
SHORTEST_SECRET = 4  # shorter parts of a URL are words like "api"; blotting them out would hide what went wrong


class AppriseNotifier:
    """Sends title, cause and next command through one Apprise URL."""

    def __init__(self, url: str) -> None:
        self.name = sink_name(url)
        self._url = url
        self._service: Any = None

    def check(self) -> None:
        """Raises MissingExtra without Apprise, Invalid when it cannot read the URL."""
        self._loaded()

    def send(self, alert: Alert) -> None:
        service = self._loaded()
        from apprise import LogCapture

        # What Apprise says on its own log may hold the URL: it is caught, blotted and told here instead.
        with LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
            try:
                delivered = service.notify(body=text_of(alert), title=alert.title, notify_type=KINDS[alert.severity])
            except Exception as exc:  # noqa: BLE001 - a plugin may raise anything; told as what it is
                raise self._failed(f"{type(exc).__name__}: {exc}") from None  # the cause's words may show the URL
            words = said.getvalue().strip().splitlines()
        if not delivered:
            raise self._failed(words[-1] if words else "did not take it and gave no reason")

    def _failed(self, why: str) -> Unavailable:
        told = without_secrets(why, self._url)
        return Unavailable(f"{self.name}: {told}", hint="the alert is kept and sent again at the next check")

    def _loaded(self) -> Any:
        if self._service is not None:
            return self._service
        try:
            import apprise
        except ImportError as exc:
            raise MissingExtra(
                f"{self.name} is reached through Apprise, which is not installed",
                hint="pip install 'mlspine[alerts]'",
            ) from exc
        _keep_quiet()
        asset = apprise.AppriseAsset(app_id="mlspine", app_desc="mlspine", app_url="", async_mode=False)
        with apprise.LogCapture(level=logging.WARNING):  # type: ignore[no-untyped-call]
            service = apprise.Apprise.instantiate(self._url, asset=asset)
        if service is None:
            raise Invalid(
                f"Apprise cannot read the {self.name.partition(':')[0]}:// URL in monitoring.notify",
                hint="what each service wants in it: https://github.com/caronc/apprise/wiki",
            )
        self._service = service
        return service


def sink_name(url: str) -> str:
    """What an Apprise URL is called in logs and in the store: never more than scheme and server.

    >>> sink_name("mailtos://me:password@mail.example.org?to=team@example.org"), sink_name("slack://T1/B2/secret")
    ('mailtos:mail.example.org', 'slack')
    """
    parts = urllib.parse.urlsplit(url)
    try:
        host = parts.hostname or ""
    except ValueError:
        host = ""
    return f"{parts.scheme}:{host}" if host and parts.scheme in HOST_IS_A_SERVER else parts.scheme


def text_of(alert: Alert) -> str:
    """The body of a message: why, then what to type."""
    return f"{alert.severity}: {alert.why}" + (f"\nNext: {alert.action}" if alert.action else "")


def without_secrets(text: str, url: str) -> str:
    """The text with every part of the URL blotted out that could be a secret.

    >>> without_secrets("no channel T0123 for hunter22", "slack://hunter22/T0123/B42?key=x")
    'no channel *** for ***'
    """
    scheme, _, rest = url.partition("://")
    for sign in "/?&=@#:,;":
        rest = rest.replace(sign, " ")
    shown = sink_name(url).partition(":")[2]
    parts = {each for part in rest.split() for each in (part, urllib.parse.unquote(part))} - {shown, scheme}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= SHORTEST_SECRET:
            text = text.replace(part, "***")
    return text


def _keep_quiet() -> None:
    """Keep Apprise's own lines, and the addresses its HTTP client notes, off our logs; LogCapture still sees them."""
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
