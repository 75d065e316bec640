"""What ship tells the person who shipped: captured, missing, next. Text from facts, nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mlspine.core.ids import SHORT_HASH
from mlspine.core.types import Metric, ModelVersion

SHOWN_COLUMNS = 8
SHOWN_LIBRARIES = 5


def shipped_text(version: ModelVersion, *, saved_in: str, explain: bool = False) -> str:
    """The account of one ship, ending in the next command.

    saved_in: the workspace's folder, or a server's URL.
    explain: every column, every library and where each figure comes from.
    """
    captured = version.captured
    lines = [
        f"{version.model} version {version.version} is release {version.release_hash[:SHORT_HASH]}",
        "",
        *_rows(
            [
                ("quality", _quality(version.metric)),
                ("takes", _inputs(captured, explain)),
                ("example", _json(captured.get("example", {}))),
                ("data", _data(captured)),
                ("code", _code(captured.get("code", {}), captured)),
                ("seeds", _seeds(captured.get("seeds", {}))),
                ("libraries", _libraries(captured.get("libraries", {}), explain)),
                ("saved in", saved_in),
            ]
        ),
    ]
    if explain:
        lines += _rows(list(_more(version)))
    asked = [f"  ? {question}" for question in captured.get("questions", ())]
    missing = [f"  - {gap}" for gap in version.missing]
    if asked:
        lines += ["", "Please check", *asked]
    if missing:
        lines += ["", "Not given (nothing of this is needed to go on)", *missing]
    return "\n".join([*lines, "", _next(version), ""])


def figure(metric: Metric) -> str:
    """One quality figure with its interval, or why there is none.

    >>> figure(Metric(name="auc", status="NOT_ESTIMABLE", reason="no labels"))
    'NOT ESTIMABLE: no labels'
    """
    if metric.interval is None:
        return f"{metric.status.replace('_', ' ')}: {metric.reason}"
    interval = metric.interval
    return f"{metric.name} {interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"


def _quality(metric: Metric | None) -> str:
    if metric is None:
        return "NOT ESTIMABLE"
    if metric.interval is None:
        return f"{figure(metric)}; {metric.opens_with}" if metric.opens_with else figure(metric)
    return f"{figure(metric)}, {metric.interval.level:.0%} interval, {metric.rows:,} {metric.rows_from} rows"


def _inputs(captured: Mapping[str, Any], explain: bool) -> str:
    columns = captured.get("schema", [])
    shown = columns if explain else columns[:SHOWN_COLUMNS]
    parts = [f"{each['name']} ({each['type']}{', may be null' if each.get('nullable') else ''})" for each in shown]
    rest = len(columns) - len(shown)
    return ", ".join(parts) + (f", and {rest} more" if rest else "")


def _data(captured: Mapping[str, Any]) -> str:
    data = captured.get("data", {})
    digest = data.get("digest", "")[:SHORT_HASH]
    return f"{data.get('rows', 0):,} rows x {data.get('columns', 0)} columns, hash {digest}"


def _code(code: Mapping[str, Any], captured: Mapping[str, Any]) -> str:
    if not code.get("commit"):
        return "not in a git repository with a commit"
    dirty = " and the uncommitted difference" if code.get("dirty_digest") else ", nothing uncommitted"
    script = f", {captured['script']}" if captured.get("script") else ""
    return f"commit {code['commit'][:10]}{dirty}{script}"


def _seeds(seeds: Mapping[str, Any]) -> str:
    given = seeds.get("parameters", {})
    if not given:
        return "the model has none; the state of Python's and numpy's generators"
    return ", ".join(f"{name}={'by chance' if value is None else value}" for name, value in given.items())


def _libraries(libraries: Mapping[str, str], explain: bool) -> str:
    names = list(libraries.items())
    shown = names if explain else names[:SHOWN_LIBRARIES]
    rest = len(names) - len(shown)
    return ", ".join(f"{name} {version}" for name, version in shown) + (f", and {rest} more" if rest else "")


def _more(version: ModelVersion) -> Iterator[tuple[str, str]]:
    captured = version.captured
    baseline = captured.get("baseline", {})
    yield "flavor", version.flavor
    yield "task", f"{captured.get('task', '')} {captured.get('classes', [])}"
    yield "tier", version.tier
    yield "baseline", f"{baseline.get('rows', 0):,} rows; scores from {baseline.get('outputs_from', '')}"
    yield "seasonality", baseline.get("seasonality") or "calibrated on blocks of the training period"
    importance = sorted(captured.get("importance", {}).items(), key=lambda item: -item[1])
    yield "influence", ", ".join(f"{name} {share:.0%}" for name, share in importance[:SHOWN_COLUMNS])
    yield "release", version.path


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    return [f"  {name:<11} {text}" for name, text in rows]


def _json(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else text[:199] + "…"


def _next(version: ModelVersion) -> str:
    if version.trusted:
        return f"Next: mlspine serve {_ref(version)}"
    return (
        "It came from another machine, so it is not loaded before an admin vouches for it\n"
        f"Next: mlspine trust {version.model}:{version.version}"
    )


def _ref(version: ModelVersion) -> str:
    return version.model if version.version == 1 else f"{version.model}:{version.version}"
