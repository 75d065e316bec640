"""How a page writes: times, shares and amounts, names of effects, and texts from outside made harmless. Pure.

Names of features, categories and people come from outside. Everything is escaped, long texts are cut, and signs
that would turn the direction of writing or hide something are spelt out.
"""

from __future__ import annotations

import datetime
import re
from typing import Any

from markupsafe import Markup

from mlspine.core.ids import digest_bytes
from mlspine.core.types import Effect, FeatureVerdict, Interval
from mlspine.monitoring.edge import alerts

LONGEST_TEXT = 300
_HIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)

SEVERITIES = {"OK": "green", "INFO": "waiting", "WARNING": "amber", "CRITICAL": "red"}
SEVERITY_MARKS = {"OK": "✓", "INFO": "i", "WARNING": "!", "CRITICAL": "✗"}
EFFECTS = {
    "js": ("Jensen-Shannon distance", ""),
    "tv": ("rows that changed level", "share"),
    "mean_sd": ("change of the mean", "sd"),
    "missing_pp": ("change of the missing rate", "points"),
    "unseen_pp": ("levels never seen before", "points"),
    "psi": ("population stability index", ""),
    "ks": ("Kolmogorov-Smirnov distance", ""),
    "w1_sd": ("Wasserstein distance", "sd"),
}


def harmless(value: Any, longest: int = LONGEST_TEXT) -> Any:
    """A value as it may be shown: markup of our own as it is, text cut to `longest` and without hidden signs.

    >>> harmless("eur\\u202egnp"), harmless("x" * 10_000)[-21:]
    ('eur\\\\u202egnp', '… (10,000 characters)')
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    if len(value) > longest:
        value = f"{value[: longest - 30]}… ({len(value):,} characters)"
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


# ---------------------------------------------------------------- effects


def leading(verdict: FeatureVerdict) -> Effect | None:
    """The effect that went farthest along to its limit."""
    deciding = [effect for effect in verdict.effects if effect.limit > 0]
    return max(deciding, key=lambda effect: effect.value / effect.limit, default=None)


def reading(effect: Effect, verdict: FeatureVerdict) -> str:
    """What an effect of a column says, in words."""
    if effect.limit > 0 and effect.value > effect.limit:
        if alerts(verdict):
            return "over its limit"
        return "over its limit, does not alert" if verdict.named else "over its limit, within chance"
    if effect.value <= effect.noise:
        return "within chance"
    return "within its limit" if effect.limit > 0 else "shown, never decides"


# ---------------------------------------------------------------- figures


def when(at_ms: int, *, seconds: bool = False) -> str:
    """
    >>> when(1_357_000_000_000)
    '2013-01-01 00:26'
    """
    moment = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def day(at_ms: int) -> str:
    return when(at_ms)[:10]


def spell(interval: Interval) -> str:
    """
    >>> spell(Interval(value=.7142, lo=.7, hi=.73))
    '0.714 [0.700, 0.730]'
    """
    return f"{interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"


def amount(value: float) -> str:
    """
    >>> amount(0.0312), amount(12.5), amount(0.0)
    ('0.031', '12.5', '0')
    """
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def share(part: float) -> str:
    """
    >>> share(0.0312), share(0.25), share(0.0)
    ('3.1%', '25%', '0%')
    """
    return f"{100 * part:.1f}%" if 0 < part < 0.1 else f"{100 * part:.0f}%"


def key(text: str) -> str:
    """A name from outside as the id of an element: the same for the same name, and nothing else."""
    return digest_bytes(text.encode("utf-8", "surrogatepass"))[:10]
