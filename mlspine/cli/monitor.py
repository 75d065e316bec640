"""status, check, labels: commands about how a model is doing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlspine.cli import render, rollout
from mlspine.core.errors import MlspineError
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.core.plan import ProcessState
    from mlspine.core.types import DriftReport, LabelReceipt
    from mlspine.machines.service import Machine, Outage
    from mlspine.monitoring.claims import Claim, EndpointStatus
    from mlspine.monitoring.status import WorkspaceStatus

VERDICTS = {
    "healthy": "green",
    "warming up": "waiting",
    "alert": "red",
    "not in production": "red",
    "cannot answer": "red",
}


@click.command()
@click.argument("name", required=False, default="")
@click.option("--explain", is_flag=True, help="Add every figure behind the verdict.")
@render.json_option
def status(name: str, explain: bool, as_json: bool) -> None:
    """How endpoints are doing: five questions and eight checks, each with its evidence.

    ✓ exercised, ○ set up but not exercised yet, … needs more requests, ✗ missing or failing.

    \b
    Examples:
      mlspine status
      mlspine status churn --json
    """
    from mlspine.control import connect

    workspace = connect()
    read = workspace.status.read(name)
    if name:
        render.emit(read.endpoints[0], as_json=as_json, text=lambda: _endpoint_text(read.endpoints[0], explain))
    else:
        render.emit(read, as_json=as_json, text=lambda: _workspace_text(read))
    if read.endpoints and not as_json:
        with contextlib.suppress(MlspineError):
            for line in rollout.lines(workspace.rollouts.status(name)):
                click.echo(line)
        with contextlib.suppress(MlspineError):  # a token for one model may not ask about all of them
            click.echo(workspace.advisor.advise().line)


@click.command()
@click.argument("name", required=False, default="")
@render.json_option
def check(name: str, as_json: bool) -> None:
    """Judge the rows that wait for judgement now, instead of at the next full hour.

    \b
    Example:
      mlspine check churn
    """
    from mlspine.control import connect

    workspace = connect()
    workspace.status.refresh()
    reports = workspace.monitoring.check_now(name)
    render.emit(reports, as_json=as_json, text=lambda: _reports_text(reports))


@click.group()
def labels() -> None:
    """Add the true outcomes of predictions, whenever they arrive."""


@labels.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--all",
    "all_matches",
    is_flag=True,
    help="A key labels every prediction of it, not only the latest before it.",
)
@render.json_option
def add(name: str, file: Path, all_matches: bool, as_json: bool) -> None:
    """Add labels to endpoint NAME from FILE: Parquet, CSV or JSON lines with `id` or `key`, `label`, and
    optionally `label_time`. Any time, any order; the newest label_time wins, repeats change nothing.

    \b
    Example:
      mlspine labels add churn outcomes.csv
    """
    from mlspine.cli.label_file import send_labels
    from mlspine.control import ServerWorkspace, connect
    from mlspine.folder import this_actor

    file = file.expanduser().absolute()
    workspace = connect()
    workspace.deployment.get(name)
    workspace.status.refresh()
    if isinstance(workspace, ServerWorkspace):
        receipt = send_labels(workspace, name, file, all_matches=all_matches)
    else:
        receipt = workspace.predictions.add_labels(name, path=str(file), all_matches=all_matches, actor=this_actor())
    render.emit(receipt, as_json=as_json, text=lambda: _receipt_text(receipt))
    if receipt.read and not receipt.matched and not receipt.duplicates:
        raise click.exceptions.Exit(1)


# ---------------------------------------------------------------- text


def _workspace_text(read: WorkspaceStatus) -> str:
    if not read.endpoints:
        return f"nothing is served from {read.workspace} yet\nNext: mlspine serve NAME"
    rows = [
        (
            render.mark(VERDICTS[each.verdict]),
            each.name,
            f"version {each.version}",
            each.verdict,
            f"{each.rows:,} rows",
            each.why,
        )
        for each in read.endpoints
    ]
    lines = [render.table(rows, indent="")]
    lines += [f"{render.mark('red')} {alert.title}: {alert.why}" for alert in read.alerts]
    lines += [_machine_text(machine) for machine in read.machines if len(read.machines) > 1]
    lines += [f"away: {_outage_text(outage)}" for outage in read.outages]
    if not read.serving:
        lines.append("The processes are not running: mlspine up")
    elif read.processes:
        lines.append(_processes_text(read.processes))
    return "\n".join([*lines, f"More: mlspine status {read.endpoints[0].name}"])


def _processes_text(processes: tuple[ProcessState, ...]) -> str:
    """How many processes answer, and the memory of each and of the models that run beside them."""
    told = []
    for each in processes:
        models = sum(each.worker_rss_bytes.values())
        beside = f" and {len(each.workers)} for models, {models / 1e6:,.0f} MB" if each.workers else ""
        told.append(f"{each.process} {each.rss_bytes / 1e6:,.0f} MB{beside}")
    count = len(processes)
    return f"{count} {'process answers' if count == 1 else 'processes answer'}: {'; '.join(told)}"


def _machine_text(machine: Machine) -> str:
    if machine.stopped:
        state, mark = "stopped", "waiting"
    elif machine.missing:
        state, mark = f"silent since {render.when(machine.last_seen_at_ms)} UTC", "red"
    else:
        state, mark = "answers" + (", runs the schedule" if machine.leads else ""), "green"
    return f"{render.mark(mark)} machine {machine.name} ({machine.url}): {state}"


def _outage_text(outage: Outage) -> str:
    seconds = (outage.to_at_ms - outage.from_at_ms) / 1000
    how = "control only, answers went on" if outage.answered else outage.cause
    return f"{outage.machine} for {seconds:,.1f} s until {render.when(outage.to_at_ms)} UTC ({how})"


def _endpoint_text(status: EndpointStatus, explain: bool) -> str:
    where = status.url or "answered by somebody else's server"
    lines = [
        f"{render.mark(VERDICTS[status.verdict])} {render.bold(status.name)}: {status.verdict}: {status.why}",
        f"  version {status.version}, release {status.release_hash[:SHORT_HASH] or '-'}, {where}",
        *([f"  {status.traffic}"] if status.traffic else ()),
        "",
        "Three levels",
        _claims((status.infrastructure, status.data, status.quality)),
        "",
        "Five questions",
        _claims(status.questions),
        "",
        "Eight checks",
        _claims(status.checks),
    ]
    if status.alerts:
        lines += [
            "",
            "Open alerts",
            *(f"  {alert.severity:<8} {alert.title}: {alert.why}" for alert in status.alerts),
        ]
    if explain:
        speed = status.speed
        lines += [
            "",
            f"  requests {speed.requests:,}, failures {speed.failures:,}, P50 {render.seconds(speed.p50_s)},"
            f" P95 {render.seconds(speed.p95_s)}, P99 {render.seconds(speed.p99_s)}",
            f"  rows in the log {status.rows:,}; rows until the next window can be judged {status.rows_needed:,}",
        ]
    return "\n".join([*lines, "", f"Next: {status.next_step}"])


def _claims(claims: tuple[Claim, ...]) -> str:
    width = max(len(claim.name) for claim in claims)
    return "\n".join(f"  {render.mark(claim.state)} {claim.name:<{width}}  {claim.evidence}" for claim in claims)


def _reports_text(reports: list[DriftReport]) -> str:
    if not reports:
        return "no window has enough rows to be judged yet; see: mlspine status"
    lines = []
    for report in reports:
        span = f"{render.when(report.from_at_ms)} to {render.when(report.to_at_ms)} UTC"
        lines.append(f"{render.bold(report.endpoint)} {report.severity}  {report.rows:,} rows, {span}")
        lines += [
            f"  {verdict.severity:<8} {verdict.name}: {verdict.why}"
            for verdict in report.features
            if verdict.severity != "OK"
        ]
    return "\n".join(lines)


def _receipt_text(receipt: LabelReceipt) -> str:
    lines = [f"{receipt.read:,} labels read: {receipt.matched:,} match a prediction, {receipt.parked:,} wait for one"]
    if receipt.duplicates:
        lines.append(f"  {receipt.duplicates:,} were known already and changed nothing")
    if receipt.examples_unmatched:
        lines.append(f"  not in the log of {receipt.endpoint}: {', '.join(receipt.examples_unmatched)}")
        lines.append(
            f'  see which ids are: mlspine log {receipt.endpoint} "select _id, _row, _key from outcomes limit 5"'
        )
    return "\n".join([*lines, f"Next: mlspine quality {receipt.endpoint}"])
