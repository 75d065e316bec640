"""What sets two versions of models apart, part by part. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mlspine.core.types import Release, Struct
from mlspine.registry.lineage import Account

Part = Literal["parameter", "metric", "environment", "data", "signature", "threshold", "code", "release"]


class Apart(Struct, frozen=True, kw_only=True):
    """One thing in which two versions differ; null where one has none. delta: of metrics, second minus first."""

    part: Part
    name: str
    first: str | float | None
    second: str | float | None
    delta: float | None = None


class Difference(Struct, frozen=True, kw_only=True):
    """Two versions, and in what they differ. unknown: parts that could not be compared, and why."""

    first: str
    second: str
    apart: tuple[Apart, ...]
    unknown: tuple[str, ...] = ()


def differ(first: Account, second: Account) -> Difference:
    """Parameters, metrics, environment, data, signature, thresholds, code, and how the release was made."""
    sides = [_parts(first), _parts(second)]
    apart = [
        each
        for part in sides[0]
        for name in sorted({*sides[0][part], *sides[1][part]})
        if (each := _apart(part, name, sides[0][part].get(name), sides[1][part].get(name))) is not None
    ]
    return Difference(
        first=f"{first.version.model}:{first.version.version}",
        second=f"{second.version.model}:{second.version.version}",
        apart=tuple(apart),
        unknown=tuple(
            f"{each.version.model}:{each.version.version} {problem}"
            for each in (first, second)
            for problem in each.problems
        ),
    )


def flat(value: Any, name: str = "") -> dict[str, str | float]:
    """Nested values under dotted names; null and what is empty left out.

    >>> flat({"limits": {"psi": 0.2, "ks": None}, "min_rows": 100})
    {'limits.psi': 0.2, 'min_rows': 100.0}
    """
    if isinstance(value, Mapping):
        found: dict[str, str | float] = {}
        for key, inner in value.items():
            found |= flat(inner, f"{name}.{key}" if name else str(key))
        return found
    if value is None or value in ("", [], ()):
        return {}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {name: float(value)}
    return {name: value if isinstance(value, str) else msgspec.json.encode(value).decode()}


def _parts(account: Account) -> dict[Part, Mapping[str, str | float | None]]:
    release = account.release
    return {
        "parameter": {**account.params, **_seeds(account)},
        "metric": _metrics(account),
        "environment": release.environment if release else {},
        "data": _data(account),
        "signature": _signature(release) if release else {},
        "threshold": flat(release.thresholds) if release else {},
        "code": flat(msgspec.to_builtins(account.code)),
        "release": flat({"hash": account.version.release_hash, **(release.settings if release else {})}),
    }


def _metrics(account: Account) -> dict[str, float | None]:
    """Those that were logged, and those that were measured at ship."""
    found = dict(account.metrics)
    for each in account.version.captured.get("metrics", ()):
        if each.get("interval"):
            found[f"{each['name']} ({each['rows_from']})"] = each["interval"]["value"]
    return found


def _seeds(account: Account) -> dict[str, str]:
    found = account.version.captured.get("seeds", {}).get("parameters", {})
    return {name: str(value) for name, value in found.items() if value is not None}


def _data(account: Account) -> dict[str, str | float]:
    if account.data is not None:
        return flat({"digest": account.data.digest, "rows": account.data.rows, "columns": account.data.columns})
    if account.run is None:
        return {}
    return {f"{each.name} {each.context}".strip(): each.digest for each in account.run.datasets}


def _signature(release: Release) -> dict[str, str | float]:
    """A line per column."""
    signature = release.signature
    columns = {field.name: _field_text(msgspec.to_builtins(field)) for field in signature.inputs.fields}
    return {**flat({"task": signature.task, "target": signature.target, "classes": list(signature.classes)}), **columns}


def _field_text(field: dict[str, Any]) -> str:
    facts = [
        field["dtype"],
        "nullable" if field["nullable"] else "",
        f"{len(field['levels'])} levels: {field['levels']}",
    ]
    return ", ".join(fact for fact in facts[: 3 if field["levels"] else 2] if fact)


def _apart(part: Part, name: str, first: str | float | None, second: str | float | None) -> Apart | None:
    if first == second:
        return None
    numbers = isinstance(first, float) and isinstance(second, float)
    delta = second - first if part == "metric" and numbers else None  # type: ignore[operator]  # both are floats
    return Apart(part=part, name=name, first=first, second=second, delta=delta)
