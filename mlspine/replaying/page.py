"""A replay as one HTML file: no script, no network, no other file; it looks like a report."""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path

from markupsafe import Markup

from mlspine.core.ids import SHORT_HASH
from mlspine.core.late import jinja2
from mlspine.replaying.found import Replay
from mlspine.replaying.words import bounds, share, where
from mlspine.reporting import page as report
from mlspine.reporting.draw import pair
from mlspine.reporting.words import harmless

HERE = Path(__file__).parent / "templates"
ROWS_SHOWN = 20
CHOSEN = {"all": "all of them", "newest": "the newest of them", "sample": "an even sample by a hash of their ids"}


def page(found: Replay) -> str:
    """The whole file."""
    named = [each for each in found.slices if each.named]
    return str(
        _environment()
        .get_template("replay.html")
        .render(
            found=found,
            named=named,
            within=[each for each in found.slices if each.within],
            most=max((each.share for each in named), default=1.0),
            columns=list(found.different[0].values) if found.different else [],
            style=Markup(_style()),
            style_digest=report.style_digest(),
            version=version("mlspine"),
        )
    )


@functools.cache
def _style() -> str:
    return "\n" + report.LOOK.read_text("utf-8") + (report.HERE / "report.css").read_text("utf-8")


@functools.cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {
        "CHOSEN": CHOSEN,
        "ROWS_SHOWN": ROWS_SHOWN,
        "SHORT": SHORT_HASH,
        "bounds": bounds,
        "pair": pair,
        "share": share,
        "where": where,
        "number": number,
    }
    return made


def number(value: object) -> str:
    """A value of a row, short.

    >>> number(3), number(0.123456), number(None)
    ('3', '0.1235', '–')
    """
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
