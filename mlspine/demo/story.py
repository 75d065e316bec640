"""The director of `mlspine demo flights`: a model is shipped, served, watched, replaced and brought back.

Only public faces are used: `mlspine.ship` from Python, the command line, and HTTP.
"""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import msgspec
import numpy as np

import mlspine
from mlspine import api
from mlspine.core.errors import Conflict, Unavailable
from mlspine.core.ids import now_ms
from mlspine.core.types import ModelVersion
from mlspine.demo import findings
from mlspine.demo.faces import Commands
from mlspine.demo.figures import Machine, Moment, Shipped, Story, SwitchUnderLoad, Traffic
from mlspine.demo.flights import (
    ARRIVED,
    FEATURES,
    KEY,
    TARGET,
    TIME,
    Split,
    between,
    build_model,
    load_flights,
    split,
)
from mlspine.demo.page import duration, measure, render
from mlspine.demo.replay import Answered, Hammer, Outcome, Request, by_hour, one_by_one, send
from mlspine.demo.timeline import Progress, tell

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from mlspine.deployment.service import Switched

NAME = "flights"
REPLAY = ("2013-04-01", "2014-01-02")  # UTC; the evening of 31 December is already January there
REFIT = "2013-08-01"
SWITCH_REQUESTS = 10_000  # single rows around each of the two switches
BEFORE_SWITCH = 2_500
SWITCH_CONNECTIONS = 8
SWITCH_PER_S = 1_600.0  # leaves the switch room to happen within its requests
HOUR_CONNECTIONS = 2
FULL_CONNECTIONS = 64
LOG_WAIT_S = 15.0


class Window:
    """A fit: the period it takes its rows from, and how people call it."""

    def __init__(self, *, holdout_from: str, end: str, fitted_on: str, holdout: str) -> None:
        self.holdout_from, self.end, self.fitted_on, self.holdout = holdout_from, end, fitted_on, holdout


FIRST = Window(
    holdout_from="2013-03-18", end="2013-04-01", fitted_on="January to mid-March", holdout="18 to 31 March"
)
SECOND = Window(
    holdout_from="2013-07-18", end=REFIT, fitted_on="January to mid-July", holdout="18 to 31 July"
)


def run(
    *,
    workspace: Path | None = None,
    port: int | None = None,
    control_port: int | None = None,
    full: bool = False,
    page_path: Path = Path("flights.html"),
    json_path: Path | None = None,
    out: TextIO | None = None,
) -> Story:
    """Play the year, print it, and write the page (and every figure to `json_path`).

    workspace: an empty or new folder that is kept; None for a temporary one that is removed.
    full: send every flight alone instead of one request per departure hour.
    Raises MissingExtra without the demo's packages, Conflict when the folder is not empty, Unavailable when a
    command fails.
    """
    out = out or sys.stdout
    with _folder(workspace) as folder:
        director = Director(folder, port=port or _free_port(), control_port=control_port or _free_port(), full=full)
        try:
            story = director.play()
        finally:
            director.stop()
    page_path.write_text(render(story), encoding="utf-8")
    if json_path is not None:
        json_path.write_bytes(msgspec.json.format(msgspec.json.encode(story)) + b"\n")
    out.write("\n" + _printable(tell(story, colour=out.isatty()), out))
    out.write(f"\n  the page for a colleague      {page_path}\n")
    if json_path is not None:
        out.write(f"  every figure                  {json_path}\n")
    if workspace is not None:
        out.write(f"  look around                   MLSPINE_WORKSPACE={workspace} mlspine status {NAME}\n")
    return story


class Director:
    """Plays the acts in order and keeps the figures of each."""

    def __init__(self, workspace: Path, *, port: int, control_port: int, full: bool) -> None:
        self._commands = Commands(workspace, NAME)
        self._ports = (port, control_port)
        self._full = full
        self._begun_s = time.perf_counter()
        self._moments: list[Moment] = []
        self._shipped: list[Shipped] = []
        self._switches: list[SwitchUnderLoad] = []
        self._steps: dict[str, float] = {}
        self._outcomes: list[Outcome] = []
        self._taken_s: list[float] = []  # of departure hours
        self._labels_sent = 0
        self._labelled_until = ""
        self._url = ""
        self._started = False

    def play(self) -> Story:
        """The whole year; returns its figures."""
        with self._step("read the flights") as bar:
            flights = load_flights()
            bar.say(f"{len(flights):,} flights and their weather")
        year = between(flights, *REPLAY)
        first = self._ship(flights, FIRST)
        fitted_s = time.perf_counter() - self._shipped[-1].seconds
        self._serve(first)
        self._first_answer(year)
        first_answer_s = time.perf_counter() - fitted_s
        at = 1 + self._first_hour  # noqa: F841
        raise NotImplementedError
