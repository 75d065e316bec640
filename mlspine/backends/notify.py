"""Notifiers: a log line, a webhook, a command of the user's own, Alertmanager; other URLs go to Apprise."""

from __future__ import annotations

import logging
import re
import shlex
import subprocess
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import msgspec

from mlspine.backends import alertmanager
from mlspine.backends.alertmanager import AlertmanagerNotifier
from mlspine.backends.apprise_urls import AppriseNotifier
from mlspine.core.errors import Invalid, Unavailable
from mlspine.core.types import Alert
from mlspine.ports import Notifier

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 10.0
DOCUMENT_VERSION = 1
_SCHEME = re.compile(r"[a-z][a-z0-9]*://.", re.IGNORECASE)
_LEVELS = {"OK": logging.INFO, "INFO": logging.INFO, "WARNING": logging.WARNING, "CRITICAL": logging.ERROR}


def make_notifier(text: str) -> Notifier:
    """The notifier a setting means: "log", an http(s) URL, "command:PROGRAM ARGUMENTS", "alertmanager+http://...",
    or an Apprise URL.

    >>> make_notifier("https://hooks.example.org/T0/secret").name
    'webhook:hooks.example.org'
    """
    if text == "log":
        return LogNotifier()
    if text.startswith("command:"):
        return CommandNotifier(text.removeprefix("command:"))
    if text.startswith(("http://", "https://")):
        return WebhookNotifier(text)
    if text.startswith(alertmanager.SCHEME):
        return AlertmanagerNotifier(text)
    if _SCHEME.match(text):
        return AppriseNotifier(text)
    raise Invalid(
        f"cannot notify {text!r}",
        hint='use "log", a URL such as https://... or slack://..., or "command:PROGRAM ARGUMENTS"',
    )


def check_notifier(text: str) -> None:
    """Raises Invalid or MissingExtra when nothing could ever be told this way.

    Apart from `make_notifier`, since a sink that cannot be used must not keep a model from being served.
    """
    notifier = make_notifier(text)
    if isinstance(notifier, AppriseNotifier):
        notifier.check()


def document(alert: Alert) -> bytes:
    """The alert as the JSON that webhooks and commands receive; the fields of version 1 will not change."""
    return msgspec.json.encode(
        {
            "version": DOCUMENT_VERSION,
            "title": alert.title,
            "message": f"{alert.why} Next: {alert.action}" if alert.action else alert.why,
            "severity": alert.severity,
            "endpoint": alert.endpoint,
            "cause": alert.cause,
            "why": alert.why,
            "action": alert.action,
            "owner": alert.owner,
            "at": alert.updated_at_ms,
        }
    )


class LogNotifier:
    """One log line per alert, at the level of its severity."""

    name = "log"

    def send(self, alert: Alert) -> None:
        fields = {"endpoint": alert.endpoint, "cause": alert.cause, "why": alert.why, "action": alert.action}
        log.log(_LEVELS[alert.severity], "alert: %s", alert.title, extra={"severity": alert.severity, **fields})


class WebhookNotifier:
    """POSTs the alert's document to a URL; any answer below 400 counts as delivered.

    Named by host only: the rest of such a URL is a secret and stays out of logs and of the store.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        host = urlsplit(url).hostname
        if not host:
            raise Invalid("the webhook's URL has no host", hint="e.g. https://hooks.example.org/...")
        self.name = f"webhook:{host}"
        self._url = url
        self._timeout_s = timeout_s

    def send(self, alert: Alert) -> None:
        request = urllib.request.Request(
            self._url,
            data=document(alert),
            headers={"Content-Type": "application/json", "User-Agent": "mlspine"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as exc:
            with exc:
                raise self._failed(f"answered {exc.code} {exc.reason}") from exc
        except OSError as exc:  # URLError, time-outs and broken connections
            raise self._failed(str(getattr(exc, "reason", "") or exc or type(exc).__name__)) from exc

    def _failed(self, why: str) -> Unavailable:
        return Unavailable(f"{self.name} {why}", hint="the alert is kept and sent again at the next check")


class CommandNotifier:
    """Runs a program with the alert's document on its standard input; exit code 0 counts as delivered."""

    def __init__(self, command: str, *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        try:
            self._argv = shlex.split(command)
        except ValueError as exc:
            raise Invalid(f"cannot read the command {command!r}: {exc}", hint="quote it as a shell would") from exc
        if not self._argv:
            raise Invalid("command: names no program", hint='e.g. "command:/usr/local/bin/page-me --team churn"')
        self.name = f"command:{self._argv[0]}"
        self._timeout_s = timeout_s

    def send(self, alert: Alert) -> None:
        try:
            done = subprocess.run(
                self._argv, input=document(alert), capture_output=True, timeout=self._timeout_s, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise self._failed(f"did not end within {self._timeout_s:g} s and was stopped") from exc
        except OSError as exc:
            raise self._failed(f"could not be started: {exc.strerror or exc}") from exc
        if done.returncode != 0:
            words = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise self._failed(f"ended with exit code {done.returncode}" + (f": {words[-1]}" if words else ""))

    def _failed(self, why: str) -> Unavailable:
        return Unavailable(f"{self.name} {why}", hint="the alert is kept and sent again at the next check")
