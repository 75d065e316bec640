"""The table: what was measured, and each bar beside what came of it."""

from __future__ import annotations

import datetime
import platform
import statistics
import subprocess
from typing import NamedTuple

import mlspine
from benchmarks.serving.cases import (
    BATCHED,
    BINARY_100,
    JSON_100,
    LOGGED,
    THEIRS_100,
    UNBATCHED,
    UNLOGGED,
    Measured,
    Start,
)
from benchmarks.serving.host import machine
from benchmarks.serving.long import Long
from benchmarks.serving.ours import OURS, OURS_ASGI
from benchmarks.serving.rivals import ASGI, ASYNC, ECHO, RIVALS, ROOT, python_of, versions

OWN_PACKAGES = ("lightgbm", "onnxruntime", "uvicorn", "uvloop", "httptools", "msgspec", "numpy")


class Results(NamedTuple):
    """All that one run measured; what was not asked for is empty or None."""

    single: list[Measured]
    one: list[Measured]
    cases: dict[str, list[Measured]]
    starts: list[Start]
    long: Long | None
    missing: dict[str, str]
    notes: list[str]
    busy: float
    run_s: float
    rounds: int


def text(found: Results) -> str:
    parts = [_heading(found)]
    if found.single:
        parts.append(_contenders(found))
    parts += [_case(name, measured) for name, measured in found.cases.items()]
    if found.starts:
        parts.append(_starts(found.starts))
    if found.long:
        parts.append(_long(found.long))
    parts.append(_bars(found))
    parts.append("\n".join(found.notes + [f"not measured: {name} ({why})" for name, why in found.missing.items()]))
    return "\n\n".join(part for part in parts if part)


def _heading(found: Results) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        "Serving: the same model, rows and machine; one server process unless said",
        f"commit    {commit or 'unknown'}, {datetime.date.today().isoformat()}",
        f"machine   {machine()}; generator and server share it, the system places them; load {found.busy:.1f} before",
        f"mlspine   {mlspine.__version__}, Python {platform.python_version()}, {_own_versions()}",
    ]
    for environment in dict.fromkeys(each.environment for each in RIVALS if not each.ceiling):
        if python_of(environment).exists():
            told = versions(environment)
            lines.append(f"{environment:<10}" + ", ".join(f"{name} {version}" for name, version in told.items()))
    lines += [
        "model     LightGBM, 100 trees, 30 features; 1,000 rows asked in turn, 100 answers of each server checked",
        f"runs      {found.rounds} of {found.run_s:.0f} s each, servers taking turns, all others stopped meanwhile;"
        " medians; wrk, one thread",
        "settings  each rival at the better of those beside its name; OMP_NUM_THREADS=1 for all",
    ]
    return "\n".join(lines)


def _own_versions() -> str:
    import importlib.metadata as metadata

    found = []
    for name in OWN_PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _contenders(found: Results) -> str:
    by_name = {each.name: each for each in found.one}
    lines = [
        f"{'single rows, 64 clients':<42}{'req/s':>9}{'p50 ms':>8}{'p99 ms':>8}{'CPU us':>8}{'RSS MB':>8}{'procs':>6}"
        f"{'failed':>8}{'1 client p50':>14}{'p99':>8}   all runs"
    ]
    for each in sorted(found.single, key=lambda one: -one.median("per_s")):
        label = f"{each.name} ({each.setting})" if each.setting not in ("", "-") else each.name
        alone = by_name.get(each.name)
        ones = f"{alone.median('p50_ms'):>14.3f}{alone.median('p99_ms'):>8.2f}" if alone else " " * 22
        lines.append(
            f"{label:<42}{each.median('per_s'):>9,.0f}{each.median('p50_ms'):>8.2f}{each.median('p99_ms'):>8.2f}"
            f"{each.median('cpu_us'):>8.1f}{each.rss_bytes / 1e6:>8.0f}{each.processes:>6}{each.failed:>8}{ones}"
            f"   {' '.join(f'{one.per_s:,.0f}' for one in each.runs)}"
        )
    client_us = (
        max(one.client_us for each in found.single if each.name == ECHO for one in each.runs)
        if any(each.name == ECHO for each in found.single)
        else 0.0
    )
    if client_us:
        lines.append(f"the generator takes up to {client_us:.1f} us of CPU per request against the echo server")
    return "\n".join(lines)


TITLES = {
    "neural": "neural model, 16 clients",
    "rows100": "100 rows per request, 16 clients",
    "cost": "cost of log and profiles, 64 clients",
}


def _case(name: str, measured: list[Measured]) -> str:
    lines = [f"{TITLES[name]:<42}{'req/s':>9}{'p50 ms':>8}{'p99 ms':>8}{'CPU us':>8}{'failed':>8}   all runs"]
    for each in measured:
        lines.append(
            f"{each.name:<42}{each.median('per_s'):>9,.0f}{each.median('p50_ms'):>8.2f}{each.median('p99_ms'):>8.2f}"
            f"{each.median('cpu_us'):>8.1f}{each.failed:>8}   {' '.join(f'{one.per_s:,.0f}' for one in each.runs)}"
        )
    return "\n".join(lines)


def _starts(starts: list[Start]) -> str:
    first, *rest = starts
    middle = statistics.median(each.answered_s for each in rest)
    return "\n".join(
        [
            "start of a process, one tree model",
            f"  to its first answer           {middle:.2f} s (the first one in a workspace, which measures the"
            f" runtimes: {first.answered_s:.2f} s)",
            f"  of it loading and proving     {statistics.median(each.load_s for each in rest):.2f} s",
            f"  memory after the first answer {rest[-1].rss_bytes / 1e6:.0f} MB,"
            f" at most {rest[-1].peak_bytes / 1e6:.0f} MB",
        ]
    )


def _long(long: Long) -> str:
    load = long.load
    return "\n".join(
        [
            "minutes of load on a whole mlspine (control takes in the log, a window is judged meanwhile)",
            f"  {load.per_s:,.0f} req/s, p50 {load.p50_ms:.2f} ms, p99 {load.p99_ms:.2f} ms,"
            f" longest {load.max_ms:.0f} ms, {load.failed} failed;"
            f" CPU per request {load.cpu_us:.1f} us, in control {long.control_us:.1f} us",
            f"  {long.answered:,} answered = {long.log_rows:,} rows in the log = {long.profile_rows:,} in profiles,"
            f" {long.log_s:.0f} s after the load; {long.judged} judged; {long.rss_bytes / 1e6:.0f} MB",
        ]
    )


class Bar(NamedTuple):
    """A bar and what came of it; `holds` is whether it is cleared."""

    what: str
    bar: str
    measured: str
    holds: bool


def bars(found: Results) -> list[Bar]:
    """Every bar that this run says something of."""
    made: list[Bar] = []
    at_64 = {each.name: each for each in found.single}
    at_1 = {each.name: each for each in found.one}
    ours = at_64.get(OURS) or at_64.get(OURS_ASGI)
    if ours:
        per_s = ours.median("per_s")
        targets = ((ECHO, 0.40), (ASYNC, 6.5), ("MLServer", 24), ("LitServe", 40), ("BentoML", 70))
        for name, least in (*targets, ("mlflow models serve", 90)):
            if name in at_64:
                ratio = per_s / at_64[name].median("per_s")
                made.append(Bar(f"{ours.name} / {name}", f">= {least:g}", f"{ratio:.2f}", ratio >= least))
        made.append(_at_most("p50 at 64 clients, ms", ours.median("p50_ms"), 0.9))
        made.append(_at_most("p99 at 64 clients, ms", ours.median("p99_ms"), 3.0))
        if ours.name in at_1:
            made.append(_at_most("p50 at 1 client, ms", at_1[ours.name].median("p50_ms"), 0.09))
    if OURS_ASGI in at_64 and ASGI in at_64:
        ratio = at_64[OURS_ASGI].median("per_s") / at_64[ASGI].median("per_s")
        made.append(Bar(f"{OURS_ASGI} / {ASGI}", ">= 0.8", f"{ratio:.2f}", ratio >= 0.8))
    if "neural" in found.cases:
        made.append(_ratio("neural model, batched / unbatched", found.cases["neural"], BATCHED, UNBATCHED, 1.8))
    if "rows100" in found.cases:
        named = {each.name for each in found.cases["rows100"]}
        for name, least in ((JSON_100, 3.5), (BINARY_100, 8.0)):
            if {name, THEIRS_100} <= named:
                made.append(_ratio(f"100 rows, {name} / {THEIRS_100}", found.cases["rows100"], name, THEIRS_100, least))
    if "cost" in found.cases:
        made.extend(_cost(found.cases["cost"]))
    if found.starts:
        _, *rest = found.starts
        after = statistics.median(each.answered_s - each.load_s for each in rest)
        made.append(_at_most("start without loading the model, s", after, 0.5))
        made.append(_at_most("memory per process, MB", rest[-1].rss_bytes / 1e6, 200))
    if found.long and ECHO in at_64:
        ratio = found.long.load.per_s / at_64[ECHO].median("per_s")
        made.append(Bar(f"minutes of load / {ECHO}", ">= 0.4", f"{ratio:.2f}", ratio >= 0.4))
    return made


def _at_most(what: str, value: float, most: float) -> Bar:
    return Bar(what, f"<= {most:g}", f"{value:.3g}", value <= most)


def _ratio(what: str, measured: list[Measured], over: str, under: str, least: float) -> Bar:
    by_name = {each.name: each for each in measured}
    ratio = by_name[over].median("per_s") / by_name[under].median("per_s")
    return Bar(what, f">= {least:g}", f"{ratio:.2f}", ratio >= least)


def _cost(measured: list[Measured]) -> list[Bar]:
    by_name = {each.name: each for each in measured}
    logged, unlogged = by_name[LOGGED], by_name[UNLOGGED]
    cost = 1 - logged.median("per_s") / unlogged.median("per_s")
    busier = 1 - unlogged.median("cpu_us") / logged.median("cpu_us")
    slower = logged.median("p99_ms") / unlogged.median("p99_ms")
    return [
        Bar("cost of log and profiles in req/s", "<= 13%", f"{cost:.1%}", cost <= 0.13),
        Bar("the same in processor time per request", "<= 13%", f"{busier:.1%}", busier <= 0.13),
        Bar("the same in p99", "<= 1.5", f"{slower:.2f}", slower <= 1.5),
    ]


def _bars(found: Results) -> str:
    made = bars(found)
    if not made:
        return ""
    lines = [f"{'bar':<66}{'wanted':>10}{'measured':>10}"]
    lines += [
        f"{each.what:<66}{each.bar:>10}{each.measured:>10}  {'' if each.holds else 'MISSED'}".rstrip() for each in made
    ]
    return "\n".join(lines)
