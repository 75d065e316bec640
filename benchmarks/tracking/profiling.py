"""Where our server spends its processor time during one measure, as text."""

from __future__ import annotations

import io
import json
import pstats
import re
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.tracking import filling
from benchmarks.tracking.asking import client_of
from benchmarks.tracking.measures import Scale
from benchmarks.tracking.servers import running

SHOWN = 40
Question = tuple[str, dict[str, Any]]


def profile(environment: Path, measure: str, scale: Scale) -> str:
    """Run one measure on our server with a profiler inside, and tell the functions that cost most."""
    with tempfile.TemporaryDirectory() as text:
        folder, output = Path(text), Path(text) / "profile"
        store = folder / "store"
        with running("mlspine", store, environment):
            pass  # the first start makes the schema
        if measure in ("search", "history"):
            filling.fill_mlspine(store, filling.contents(scale.runs))
        with (
            running("mlspine", store, environment, profile_to=output) as server,
            client_of(server, environment) as client,
        ):
            told = [client.ask(question, **about) for question, about in _questions(measure, scale, folder)]
        costs = report(output)
    figures = [{name: value for name, value in each.items() if name != "ids"} for each in told]
    return f"{measure}: {json.dumps(figures)}\n\n{costs}"


def _questions(measure: str, scale: Scale, folder: Path) -> list[Question]:
    run, reads = {"run": filling.LONG_RUN}, scale.reads * 10
    by_measure: dict[str, list[Question]] = {
        "log_metric": [("log_metric", {"calls": scale.calls * 5, "check": False})],
        "search": [
            ("search", {"experiment": str(filling.EXPERIMENT), "calls": reads, **query})
            for query in (filling.TOP, filling.PAGE)
        ],
        "history": [("history", {**run, "calls": scale.reads}), ("sampled", {**run, "points": 320, "calls": reads})],
        "artifact": [("artifact", {"mebibytes": scale.mebibytes, "calls": scale.files, "folder": str(folder)})],
    }
    for count in (8, 50):
        about = {"count": count, "seconds": scale.logging_s, "most": scale.most_points, "check": False}
        by_measure[f"loggers_{count}"] = [("loggers", about)]
    return by_measure[measure]


def report(output: Path) -> str:
    """The functions that cost most processor time: in themselves, and with what they call."""
    text = io.StringIO()
    statistics = pstats.Stats(str(output), stream=text)
    for order in ("tottime", "cumulative"):
        statistics.sort_stats(order).print_stats(SHOWN)
    return re.sub(r"/\S*?/(?=(?:site-packages|python3\.\d+|mlspine|benchmarks)/)", "", text.getvalue())
