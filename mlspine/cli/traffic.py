"""split, shadow: who answers beside the live version, and who is only asked along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlspine.cli import render
from mlspine.core.ids import parse_model_ref
from mlspine.core.plan import ArmTally, Cohort, Endpoint
from mlspine.core.types import Struct

if TYPE_CHECKING:
    from mlspine.control import RemoteWorkspace
    from mlspine.deployment.switching import Switched
    from mlspine.workspace import Workspace

SHOWN = 5
EVERYONE = "everyone"


class Share(click.ParamType[float]):
    """A share of requests in per cent, so that 1 cannot mean two things."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            share = float(value.removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not value.endswith("%") or not 0.0 <= share <= 1.0:
            self.fail(f"{value!r} is no share; write it in per cent, from 0% to 100%: 5%", param, ctx)
        return share


class CohortType(click.ParamType[Cohort]):
    """FIELD=VALUE[,VALUE...], or everyone."""

    name = "cohort"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Cohort:
        if isinstance(value, Cohort):
            return value
        if value == EVERYONE:
            return Cohort(field="", values=())
        field, equals, values = value.partition("=")
        listed = tuple(each.strip() for each in values.split(",") if each.strip())
        if not (field.strip() and equals and listed):
            self.fail(f"{value!r} names no requests; e.g. region=EU,UK, or {EVERYONE}", param, ctx)
        return Cohort(field=field.strip(), values=listed)


class Divided(Struct, frozen=True, kw_only=True):
    """How the requests of an endpoint are divided, and what each release did since that was decided."""

    endpoint: Endpoint
    says: str
    arms: tuple[ArmTally, ...]


class Compared(Struct, frozen=True, kw_only=True):
    """A shadow against what was sent: since the division began (arm), and by the log, with the largest differences.

    difference: |score - score| on average, or |prediction - prediction| of numbers.
    """

    endpoint: Endpoint
    says: str
    arm: ArmTally | None
    rows: int = 0
    disagreements: int = 0
    difference: float | None = None
    examples: tuple[dict[str, Any], ...] = ()


@click.command()
@click.argument("ref", metavar="NAME[@alias|:version]")
@click.argument("share", type=Share(), required=False)
@click.option("--by", "unit", default="", metavar="COLUMN", help="What stays with its version; else the request's key.")
@click.option("--cohort", type=CohortType(), metavar="FIELD=VALUES", help="Divide only these; `everyone` ends that.")
@click.option("--off", is_flag=True, help="Take the candidate back: the live version answers everything.")
@click.option("--reason", default="", help="Kept with the change.")
@render.json_option
def split(
    ref: str, share: float | None, unit: str, cohort: Cohort | None, off: bool, reason: str, as_json: bool
) -> None:
    """Let another version of NAME answer a SHARE of its requests; without one: show how they are divided.

    Whoever is in stays in: the same key always meets the same version, also when the share grows. The version is
    loaded and proved first, and the gate is asked as for a promotion. 100% and then `mlspine promote` is blue-green.

    \b
    Examples:
      mlspine split churn@candidate 5% --by customer_id
      mlspine split churn 25%
      mlspine split churn:3 10% --cohort region=EU,UK
      mlspine split churn --off
    """
    from mlspine.cli.endpoints import _running
    from mlspine.control import connect
    from mlspine.folder import this_actor

    name = parse_model_ref(ref).name
    if off and (share is not None or unit or cohort):
        raise click.UsageError("--off takes the candidate back; it goes with no share, --by or --cohort")
    if share is None and not off:
        if ref != name or unit or cohort:
            raise click.UsageError(f"say which share, e.g.: mlspine split {ref} 5%")
        workspace = connect()
        found = _divided(workspace, name)
        render.emit(found, as_json=as_json, text=lambda: _shown_text(found))
        return
    switched = _running().deployment.split(
        name, ref, share=share or 0.0, unit=unit, cohort=cohort, actor=this_actor(), reason=reason
    )
    render.emit(switched, as_json=as_json, text=lambda: divided_text(switched))


@click.command()
@click.argument("ref", metavar="NAME[@alias|:version]")
@click.option("--share", type=Share(), help="Of how many requests it is asked (default 100%).")
@click.option("--off", is_flag=True, help="Ask it no longer; its answers stay in the log.")
@click.option("--reason", default="", help="Kept with the change.")
@render.json_option
def shadow(ref: str, share: float | None, off: bool, reason: str, as_json: bool) -> None:
    """Ask another version of NAME along, in a process of its own; nobody gets its answers, nobody waits for them.

    Without a version: how the shadow's answers compare with those that were sent.

    \b
    Examples:
      mlspine shadow churn@candidate --share 20%
      mlspine shadow churn
      mlspine log churn "select s._score, l._score from shadow s join log l using (_id, _row)"
    """
    from mlspine.cli.endpoints import _running
    from mlspine.control import connect
    from mlspine.folder import this_actor

    name = parse_model_ref(ref).name
    if off and share is not None:
        raise click.UsageError("--off ends the shadow; it goes with no --share")
    if ref == name and not off:
        workspace = connect()
        if share is None:
            found = _compared(workspace, name)
            render.emit(found, as_json=as_json, text=lambda: _compared_text(found))
            return
        standing = workspace.deployment.get(name).current.traffic.shadow
        if not standing:
            raise click.UsageError(
                f"{name} has no shadow yet; say which version, e.g.: mlspine shadow {name}@candidate"
            )
        ref = f"{name}:{standing}"
    switched = _running().deployment.shadow(
        name, None if off else ref, share=1.0 if share is None else share, actor=this_actor(), reason=reason
    )
    render.emit(switched, as_json=as_json, text=lambda: divided_text(switched))


# ---------------------------------------------------------------- what a change did


def divided_text(switched: Switched) -> str:
    """A change of the division of requests, in words."""
    from mlspine.deployment.dividing import told

    name, revision = switched.endpoint, switched.revision
    says = told(revision.traffic) or f"version {revision.version} answers everything"
    if not switched.changed:
        return f"{render.bold(name)}: {says}; nothing changed"
    lines = [f"{render.bold(name)}: {says}"]
    if revision.rolled_back_from:
        lines[0] += f"; version {revision.rolled_back_from} was taken back, the live version stays"
    elif revision.traffic.candidate:
        lines.append(f"  version {revision.version} stays live and answers the rest")
    lines.append(f"  effective {render.seconds(switched.effective_s)} after the decision was stored")
    if switched.proof:
        proof = switched.proof
        lines.append(
            f"  checked   {proof.reproduced_rows} of {proof.recorded_rows} recorded predictions reproduced here"
        )
    lines += [f"  {render.mark('amber')} {warning}" for warning in switched.warnings]
    further = f"version {switched.target_after}" if switched.target_after else '"cannot answer"'
    candidate = revision.traffic.candidate
    lines.append(f"A rollback from here {f'takes version {candidate} back' if candidate else f'leads to {further}'}")
    return "\n".join([*lines, f"Next: {_next_step(name, candidate, revision.traffic.share, revision.traffic.shadow)}"])


def _next_step(name: str, candidate: int, share: float, shadow: int) -> str:
    if candidate and share >= 1.0:
        return f"mlspine promote {name} {candidate}; or back: mlspine split {name} --off"
    if candidate:
        return f"mlspine split {name}; then more: mlspine split {name} SHARE; or back: mlspine split {name} --off"
    return f"mlspine shadow {name}" if shadow else f"mlspine status {name}"


# ---------------------------------------------------------------- how it stands


def _divided(workspace: Workspace | RemoteWorkspace, name: str) -> Divided:
    from mlspine.deployment.dividing import told

    endpoint = workspace.deployment.get(name)
    return Divided(endpoint=endpoint, says=told(endpoint.current.traffic), arms=_arms(workspace, endpoint))


def _arms(workspace: Workspace | RemoteWorkspace, endpoint: Endpoint) -> tuple[ArmTally, ...]:
    """What each release did under the current revision, over all serving processes."""
    read = workspace.status.read(endpoint.name)
    arms: dict[tuple[str, str], ArmTally] = {}
    for each in (arm for process in read.processes for arm in process.arms):
        if each.endpoint == endpoint.name and each.revision == endpoint.current.number:
            known = arms.get((each.role, each.release_hash))
            arms[each.role, each.release_hash] = _added(known, each) if known else each
    return tuple(arms.values())


def _added(a: ArmTally, b: ArmTally) -> ArmTally:
    """The counts of two processes as one."""
    same = {name: getattr(a, name) for name in ("endpoint", "release_hash", "role", "revision")}
    counts = [name for name in ArmTally.__struct_fields__ if name not in same]
    return ArmTally(**same, **{name: getattr(a, name) + getattr(b, name) for name in counts})


def _shown_text(found: Divided) -> str:
    current = found.endpoint.current
    name, traffic = found.endpoint.name, current.traffic
    version = {"live": current.version, "candidate": traffic.candidate, "shadow": traffic.shadow}
    if not found.says:
        return (
            f"{render.bold(name)}: version {current.version} answers everything\n"
            f"Next: mlspine split {name}@candidate 5%, or unseen: mlspine shadow {name}@candidate"
        )
    rows = [
        (each.role, version.get(each.role) or "-", each.requests, each.failures, each.slow, each.broken)
        for each in found.arms
        if each.role != "shadow"
    ]
    lines = [f"{render.bold(name)}: version {current.version} is live; {found.says}"]
    if rows:
        head = ("role", "version", "requests", "not answered", "slow", "caught by a rule")
        lines += [render.table(rows, head=head), f"  since {render.when(current.created_at_ms)} UTC"]
    return "\n".join([*lines, f"Next: {_next_step(name, traffic.candidate, traffic.share, traffic.shadow)}"])


# ---------------------------------------------------------------- how a shadow compares


def _compared(workspace: Workspace | RemoteWorkspace, name: str) -> Compared:
    from mlspine.deployment.dividing import told

    endpoint = workspace.deployment.get(name)
    arm = next((each for each in _arms(workspace, endpoint) if each.role == "shadow"), None)
    found = Compared(endpoint=endpoint, says=told(endpoint.current.traffic), arm=arm)
    version = endpoint.current.traffic.shadow or _newest_shadow(workspace, name)
    if not version:
        return found
    live = endpoint.current.version
    both = f"from shadow s join log l using (_id, _row) where s._version = {version} and l._version = {live}"
    counted = "select count(*), count(*) filter (s._prediction is distinct from l._prediction)"
    scores = "count(*) filter (s._score is not null and not isnan(s._score))"
    ((rows, disagreements, scored),) = workspace.predictions.query(name, sql=f"{counted}, {scores} {both}").rows
    if not rows:
        return found
    task = workspace.registry.get(endpoint.model, version).captured.get("task")
    by = "_score" if scored else "_prediction" if task == "regression" else ""
    gap = f"abs(s.{by} - l.{by})" if by else "null"
    ((difference,),) = workspace.predictions.query(name, sql=f"select avg({gap}) {both}").rows
    examples = workspace.predictions.query(
        name,
        sql="select _id as id, _row as row, l._key as key, l._prediction as answered, s._prediction as shadow,"
        f" {gap} as difference {both} and (s._prediction is distinct from l._prediction)"
        f" order by difference desc, id, row limit {SHOWN}",
    )
    return Compared(
        endpoint=endpoint,
        says=found.says,
        arm=arm,
        rows=rows,
        disagreements=disagreements,
        difference=difference,
        examples=tuple(dict(zip(examples.columns, each, strict=True)) for each in examples.rows),
    )


def _newest_shadow(workspace: Workspace | RemoteWorkspace, name: str) -> int:
    """The shadow there was last, by the log."""
    found = workspace.predictions.query(name, sql="select max_by(_version, _received_at) from shadow").rows
    return int(found[0][0] or 0)


def _compared_text(found: Compared) -> str:
    name = found.endpoint.name
    if not found.says and not found.rows:
        return f"{render.bold(name)} has no shadow\nNext: mlspine shadow {name}@candidate"
    lines = [f"{render.bold(name)}: {found.says or 'no version is asked along now'}"]
    arm = found.arm
    if arm is not None:
        since = render.when(found.endpoint.current.created_at_ms)
        mean = arm.difference / arm.compared if arm.compared else 0.0
        slow = f"; {arm.dropped:,} rows it was too slow for" if arm.dropped else ""
        failed = f"; {arm.failures:,} requests it did not answer" if arm.failures else ""
        lines.append(
            f"  since {since} UTC: {arm.compared:,} rows compared, {_of(arm.flips, arm.compared)} with another label,"
            f" difference {mean:.4g} on average{slow}{failed}"
        )
    if found.rows:
        difference = f", difference {found.difference:.4g} on average" if found.difference is not None else ""
        lines.append(
            f"  in the log: {found.rows:,} rows beside those of version {found.endpoint.current.version},"
            f" {_of(found.disagreements, found.rows)} answered otherwise{difference}"
        )
    if found.examples:
        rows = [[_short(value) for value in each.values()] for each in found.examples]
        lines += ["", render.table(rows, head=list(found.examples[0]))]
    sql = "select s._version, avg(abs(s._score - l._score)) from shadow s join log l using (_id, _row) group by 1"
    return "\n".join([*lines, "", f'More: mlspine log {name} "{sql}"'])


def _of(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if whole else f"{part:,}"


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value if value is not None else "-"
