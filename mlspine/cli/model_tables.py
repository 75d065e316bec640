"""Models as text: lists, the account of one version, two versions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlspine.cli import render
from mlspine.cli.run_tables import SHORT_ID, code_text
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.core.types import LedgerEntry, Metric, ModelVersion
    from mlspine.registry.catalogue import ModelPage
    from mlspine.registry.difference import Difference
    from mlspine.registry.lineage import Account
    from mlspine.registry.service import ModelSummary

SHOWN_CHANGES = 15
SHOWN_FACTS = ("version", "place", "previous_version", "approved_by", "from", "to")
CELL = 32  # characters of a value in a table


def models_text(rows: Sequence[ModelSummary]) -> str:
    shown = [(row.name, row.versions, row.production or "-", row.latest) for row in rows]
    head = ("model", "versions", "in production", "latest")
    return render.table(shown, head=head, indent="") if rows else "no model yet: mlspine.ship(...)"


def found_text(page: ModelPage) -> str:
    """Models that a search found."""
    rows = [
        (
            each.name,
            ", ".join(f"{entry.version.version} {entry.version.stage}" for entry in each.latest),
            ", ".join(f"@{alias} {version}" for alias, version in each.aliases.items()),
            render.when(each.updated_at_ms),
            each.description,
        )
        for each in page.models
    ]
    head = ("model", "latest versions", "aliases", "changed (UTC)", "description")
    return render.table(rows, head=head, indent="") if rows else "no model fits"


def versions_text(versions: Sequence[ModelVersion]) -> str:
    lines = [
        (
            each.version,
            each.release_hash[:SHORT_HASH],
            each.stage,
            render.when(each.created_at_ms),
            metric_text(each.metric),
            each.message,
            each.owner or "-",
        )
        for each in versions
    ]
    head = ("version", "release", "stage", "shipped (UTC)", "quality at ship", "message", "owner")
    return render.table(lines, head=head, indent="")


def metric_text(metric: Metric | None) -> str:
    if metric is None or metric.interval is None:
        return "not estimable"
    interval = metric.interval
    return f"{metric.name} {interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"


def account_text(account: Account) -> str:
    """A version from what it is to who moved it; the chain version, run, data, code in the middle."""
    version = account.version
    aliases = "".join(f" @{alias}" for alias in account.aliases)
    facts = [
        ("stage", f"{version.stage}{aliases}"),
        ("quality", metric_text(version.metric)),
        ("verdict", _verdict(account.tags)),
        ("release", _release(version)),
        ("run", _run(account)),
        ("data", _data(account)),
        ("code", code_text(account.code) or "not in a commit"),
        ("made by", account.script),
        ("owner", f"{version.owner or '-'}{' (assumed)' if version.owner_assumed else ''}, tier {version.tier}"),
        ("shipped (UTC)", f"{render.when(version.created_at_ms)}{f', {version.message}' if version.message else ''}"),
    ]
    changes = account.changes[-SHOWN_CHANGES:]
    parts = [
        render.bold(f"{version.model}:{version.version}"),
        render.table([fact for fact in facts if fact[1]]),
        _part("metrics", [(name, "NaN" if value is None else value) for name, value in account.metrics.items()]),
        _part("parameters", sorted(account.params.items())),
        _part("lacking", [(gap,) for gap in (*account.problems, *version.missing)]),
        _part("who moved what (UTC)", [_change(each) for each in changes]),
    ]
    if earlier := len(account.changes) - len(changes):
        parts.append(f"  and {earlier} earlier: mlspine ledger model:{version.model}")
    return "\n".join(part for part in parts if part)


def difference_text(difference: Difference) -> str:
    rows = [
        (
            each.part,
            each.name,
            _cell(each.first),
            _cell(each.second) + (f" ({each.delta:+.4g})" if each.delta is not None else ""),
        )
        for each in difference.apart
    ]
    head = ("", "", difference.first, difference.second)
    lines = [render.table(rows, head=head, indent="") if rows else "nothing differs"]
    lines += [f"not compared: {each}" for each in difference.unknown]
    return "\n".join(lines)


# ---------------------------------------------------------------- inside


def _verdict(tags: dict[str, str]) -> str:
    verdict = tags.get("mlspine.verdict", "")
    against = tags.get("mlspine.verdict.against")
    return f"{verdict} against version {against}" if verdict and against else verdict


def _release(version: ModelVersion) -> str:
    if not version.release_hash:
        return ""
    marks = [mark for mark, holds in (("bare", version.bare), ("not trusted", not version.trusted)) if holds]
    return ", ".join([version.release_hash[:SHORT_HASH], *marks])


def _run(account: Account) -> str:
    if account.run is None:
        return account.version.run_id
    run = account.run.run
    return f"{run.id[:SHORT_ID]}  {run.name}, experiment {run.experiment}"


def _data(account: Account) -> str:
    """What it was fitted on: the dataset of its release, else what its run said it used."""
    known = account.data
    if known is not None:
        source = f", {known.source}" if known.source else ""
        return f"{known.digest[:SHORT_HASH]}  {known.rows:,} rows, {known.columns} columns{source}"
    used = account.run.datasets if account.run else ()
    return "; ".join(f"{each.name} {each.digest} {each.context}".strip() for each in used)


def _change(line: LedgerEntry) -> tuple[str, str, str, str]:
    facts = ", ".join(
        f"{name} {line.facts[name]}" for name in SHOWN_FACTS if line.facts.get(name) not in (None, "", {})
    )
    reason = f"; {line.reason}" if line.reason else ""
    return render.when(line.at_ms), line.actor, f"{line.action} {line.subject.partition(':')[0]}", f"{facts}{reason}"


def _part(title: str, rows: Sequence[Sequence[object]]) -> str:
    return f"\n{title}\n{render.table(rows)}" if rows else ""


def _cell(value: str | float | None) -> str:
    text = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else value
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"
