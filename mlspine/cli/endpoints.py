"""serve, promote, rollback, log, forget: commands about a served model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH, parse_model_ref
from mlspine.core.plan import LogSettings

if TYPE_CHECKING:
    from mlspine.control import RemoteWorkspace
    from mlspine.core.plan import Proof
    from mlspine.deployment.service import Switched


@click.command()
@click.argument("ref", metavar="NAME[@alias|:version]")
@click.option("--port", type=click.IntRange(1, 65535), help="Where predictions are answered (default 8080).")
@click.option("--control-port", type=click.IntRange(1, 65535), help="Where the control API listens (default 8081).")
@click.option("--grpc-port", type=click.IntRange(1, 65535), help="Where gRPC is answered too (default: nowhere).")
@click.option("--detach/--foreground", default=True, help="Return when ready (default), or stay and follow the log.")
@click.option("--redact", multiple=True, metavar="COLUMN", help="Never write this column to disk; repeatable.")
@click.option("--no-log", is_flag=True, help="Record nothing of the requests; monitoring then has nothing to judge.")
@click.option("--notify", multiple=True, metavar="URL", help="Where alerts go: a URL or command:PROGRAM; repeatable.")
@click.option(
    "--own-env/--no-own-env",
    default=None,
    help="Run the model in an environment built from its lock; by default as this version ran before.",
)
@click.option("--reason", default="", help="Kept with the change.")
@click.option("--explain", is_flag=True, help="Say more about what was done and why.")
@render.json_option
def serve(
    ref: str,
    port: int | None,
    control_port: int | None,
    grpc_port: int | None,
    detach: bool,
    redact: tuple[str, ...],
    no_log: bool,
    notify: tuple[str, ...],
    own_env: bool | None,
    reason: str,
    explain: bool,
    as_json: bool,
) -> None:
    """Answer HTTP requests with a model that was shipped.

    NAME is the version in Production, else the only one. Everything needed starts by itself and keeps running
    after this command returns; stop it with `mlspine down`.

    \b
    Examples:
      mlspine serve churn
      mlspine serve churn:3 --port 9000 --redact income
      mlspine serve churn:1 --own-env
      mlspine serve churn --grpc-port 8082
    """
    from mlspine.cli.project import follow
    from mlspine.folder import this_actor

    if no_log and redact:
        raise click.UsageError("--no-log records nothing, so --redact has nothing to leave out; give one of them")
    _refuse_on_server(port=port, control_port=control_port, grpc_port=grpc_port, notify=notify, foreground=not detach)
    path = _resolve_first(ref)
    if own_env:
        _build_environment(path)
    workspace = _running(port=port, control_port=control_port, grpc_port=grpc_port, notify=notify)
    log = LogSettings(enabled=not no_log, redact=redact) if (no_log or redact) else None
    switched = workspace.deployment.serve(ref, log=log, own_env=own_env, actor=this_actor(), reason=reason)
    render.emit(
        {
            "switched": switched,
            "url": _predict_url(workspace, switched.endpoint),
            "control_url": workspace.control_url,
        },
        as_json=as_json,
        text=lambda: _served_text(workspace, switched, explain=explain),
    )
    if not detach:
        follow(workspace.path)


@click.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@click.option("--reason", default="", help="Kept with the change.")
@render.json_option
def promote(name: str, version: int, reason: str, as_json: bool) -> None:
    """Move endpoint NAME to VERSION of its model; the one it leaves stays warm.

    \b
    Example:
      mlspine promote churn 2 --reason "fitted on newer rows"
    """
    from mlspine.folder import this_actor

    workspace = _running()
    switched = workspace.deployment.promote(name, version, actor=this_actor(), reason=reason)
    render.emit(switched, as_json=as_json, text=lambda: _switched_text(switched))


@click.command()
@click.argument("name")
@click.option("--reason", default="", help="Kept with the change.")
@render.json_option
def rollback(name: str, reason: str, as_json: bool) -> None:
    """Bring back the whole previous release of endpoint NAME: model, transform, limits and settings.

    A second rollback goes further back. While a candidate answers a share of the requests, that is taken back first.

    \b
    Example:
      mlspine rollback churn --reason "too many false alarms for callers"
    """
    from mlspine.folder import this_actor

    workspace = _running()
    switched = workspace.deployment.rollback(name, actor=this_actor(), reason=reason)
    render.emit(switched, as_json=as_json, text=lambda: _switched_text(switched))


@click.command()
@click.argument("name")
@click.argument("sql", required=False)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Rows printed.")
@render.json_option
def log(name: str, sql: str | None, limit: int, as_json: bool) -> None:
    """SQL over every request endpoint NAME answered: tables log, outcomes, labels, labelled; and shadow.

    Without SQL: what is recorded, since when, and how large it is.

    \b
    Examples:
      mlspine log churn
      mlspine log churn "select _version, count(*), avg(_score) from log group by 1"
    """
    from mlspine.control import connect

    workspace = connect()
    workspace.deployment.get(name)
    workspace.status.refresh()
    if sql is None:
        summary = workspace.predictions.summary(name)
        render.emit(summary, as_json=as_json, text=lambda: _log_text(summary))
        return
    result = workspace.predictions.query(name, sql=sql)
    shown = result.rows[:limit]
    more = f"\n  … {len(result.rows) - limit:,} more rows (--limit)" if len(result.rows) > limit else ""
    render.emit(result, as_json=as_json, text=lambda: render.table(shown, head=result.columns) + more)


@click.command()
@click.argument("key")
@click.option("--yes", is_flag=True, help="Do not ask.")
@render.json_option
def forget(key: str, yes: bool, as_json: bool) -> None:
    """Remove every logged row, outcome and label of the subject KEY, in every endpoint.

    \b
    Example:
      mlspine forget customer-4711 --yes
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    if not yes:
        click.confirm(f"Remove everything recorded about {key!r}? This cannot be undone", abort=True)
    workspace = connect()
    workspace.status.refresh()
    receipt = workspace.predictions.forget(key, actor=this_actor())
    render.emit(
        receipt,
        as_json=as_json,
        text=lambda: (
            f"{receipt.rows:,} logged rows and {receipt.labels:,} labels removed\n"
            f"recorded as: mlspine ledger (by a digest of the key, not the key)"
        ),
    )


def _resolve_first(ref: str) -> str:
    """Fail on a wrong name before anything is started; where the release is."""
    from mlspine.control import connect

    parse_model_ref(ref)
    workspace = connect()
    try:
        return workspace.registry.resolve(ref).path
    finally:
        workspace.close()


def _build_environment(path: str) -> None:
    """Build a release's environment here, where its progress can be seen; a server builds its own."""
    from mlspine import login
    from mlspine.registry.release import read_release
    from mlspine.serving import own_environment

    if login.server() is not None or not path:
        return
    lock = read_release(Path(path)).environment
    if own_environment.is_built(lock):
        return
    own_environment.build(lock, say=lambda step: click.echo(f"  {step}", err=True))
    click.echo(f"  environment ready: {own_environment.environment_path(lock)}", err=True)


def _refuse_on_server(**options: object) -> None:
    """Options about the machine itself mean nothing to a server: raise rather than ignore them."""
    from mlspine import login

    server = login.server()
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if server is not None and given:
        raise click.UsageError(f"{', '.join(given)}: about the machine itself; use it there, on {server.url}")


def _running(**options: Any) -> RemoteWorkspace:
    """The server that was logged in to; else the control process of this workspace, started if it is not there."""
    from mlspine import login
    from mlspine.cli.project import start
    from mlspine.control import ServerWorkspace

    server = login.server()
    return start(**options) if server is None else ServerWorkspace(server)


def _predict_url(workspace: RemoteWorkspace, endpoint: str) -> str:
    if not workspace.predictions_url:
        return f"/endpoints/{endpoint}/predict on the server, which answers only itself (mlspine up --host)"
    return f"{workspace.predictions_url}/endpoints/{endpoint}/predict"


def _served_text(workspace: RemoteWorkspace, switched: Switched, *, explain: bool) -> str:
    base = workspace.predictions_url
    version, revision = switched.revision.version, switched.revision
    release = revision.release_hash[:SHORT_HASH]
    state = "is answering" if switched.changed else "already answered"
    lines = [f"{render.bold(switched.endpoint)} {state} with version {version}, release {release}", ""]
    rows = [("predict", f"POST {_predict_url(workspace, switched.endpoint)}")]
    if base:
        rows += [("docs", f"{base}/docs"), ("health", f"{base}/health/ready"), ("metrics", f"{base}/metrics")]
    if workspace.config.serving.grpc_port is not None:
        rows.append(("gRPC", f"{workspace.config.serving.host}:{workspace.config.serving.grpc_port}"))
    proof = switched.proof
    if proof is not None:
        rows += [
            (
                "checked",
                f"{proof.reproduced_rows} of {proof.recorded_rows} recorded predictions reproduced here",
            ),
            (
                "speed",
                f"P50 {render.seconds(proof.p50_s)}, P95 {render.seconds(proof.p95_s)},"
                f" P99 {render.seconds(proof.p99_s)} per row in the model;"
                f" about {proof.capacity_rows_per_s:,.0f} rows/s in batches",
            ),
        ]
        rows.append(("computed", _computed_text(proof, own_env=revision.own_env)))
    rows.append(("recorded", _recorded_text(workspace, revision.log)))
    rows.append(("processes", _answering_text(switched)))
    if explain and proof is not None:
        rows += [
            *(("else", considered) for considered in proof.considered),
            (
                "beside",
                "control (store, schedule, API) and, where needed, a process for each model",
            ),
            (
                "revision",
                f"{revision.number} of this endpoint; parity was proved before the switch was committed",
            ),
        ]
    lines += [f"  {name:<9} {text}" for name, text in rows]
    lines += ["", *(f"  {render.mark('amber')} {warning}" for warning in switched.warnings)]
    example = workspace.example(switched.endpoint)
    if example:
        lines += ["", "Try it:", f"  {example}", ""]
    lines += [
        *(
            ()
            if workspace.server
            else ("It keeps running when this terminal closes; after a reboot: mlspine up; to stop: mlspine down",)
        ),
        f"Next: mlspine status {switched.endpoint}",
    ]
    return "\n".join(lines)


def _answering_text(switched: Switched) -> str:
    """Which processes answer by this revision; more may be starting."""
    names = [word.process for word in switched.acknowledgements]
    return f"{len(names)} {'answers' if len(names) == 1 else 'answer'}: {', '.join(names)}"


def _computed_text(proof: Proof, *, own_env: bool) -> str:
    where = {"loop": "in the HTTP process", "thread": "in a thread of the HTTP process", "worker": "in its own process"}
    apart = ", in the environment it was shipped in" if own_env else ""
    most = f", up to {proof.max_call_rows:,} rows per call" if proof.max_call_rows else ""
    return f"{proof.form} {where[proof.placement]}{apart}{most}"


def _recorded_text(workspace: RemoteWorkspace, log: LogSettings) -> str:
    if not log.enabled:
        return "nothing (--no-log); drifting inputs cannot be noticed"
    keep = workspace.config.log
    kept = f"kept {keep.retention_days} days or {keep.retention_bytes / 1e9:.0f} GB"
    left_out = f" except {', '.join(log.redact)}" if log.redact else ""
    return f"inputs{left_out} and answers of every request, {kept}; remove a person: mlspine forget KEY"


def _switched_text(switched: Switched) -> str:
    name, version = switched.endpoint, switched.revision.version
    if switched.revision.cause == "traffic" and switched.changed:
        from mlspine.cli.traffic import divided_text

        return divided_text(switched)
    if not switched.changed:
        return f"{render.bold(name)} already answered with version {version}; nothing changed"
    if version == 0:
        lines = [
            f'{render.bold(name)} now says "cannot answer" (503): there was no release before version '
            f"{switched.previous_version}",
            f"Bring one forward: mlspine promote {name} VERSION",
        ]
        return "\n".join(lines)
    verb = "is back at" if switched.revision.cause == "rollback" else "moved to"
    lines = [
        f"{render.bold(name)} {verb} version {version}, release {switched.revision.release_hash[:SHORT_HASH]}"
        f" (was version {switched.previous_version})",
        f"  effective {render.seconds(switched.effective_s)} after the decision was stored",
    ]
    if switched.proof:
        lines.append(
            f"  checked   {switched.proof.reproduced_rows} of {switched.proof.recorded_rows}"
            " recorded predictions reproduced here"
        )
    if switched.not_restored:
        lines.append(f"  not brought back: {'; '.join(switched.not_restored)}")
    lines += [f"  {render.mark('amber')} {warning}" for warning in switched.warnings]
    further = f"version {switched.target_after}" if switched.target_after else '"cannot answer"'
    lines += [f"A rollback from here leads to {further}", f"Next: mlspine status {name}"]
    return "\n".join(lines)


def _log_text(summary: object) -> str:
    from mlspine.core.types import LogSummary

    assert isinstance(summary, LogSummary)
    rows = [
        ("rows", f"{summary.rows:,}"),
        ("first", render.when(summary.first_event_at_ms)),
        ("last", render.when(summary.last_event_at_ms)),
        (
            "labelled",
            f"{summary.labelled_rows:,} ({summary.parked_labels:,} labels wait for their prediction)",
        ),
        ("size", f"{summary.size_bytes / 1e6:.1f} MB in {summary.segments:,} files"),
        ("lost", f"{summary.dropped_rows:,} rows (full disk)" if summary.dropped_rows else "none"),
        *(
            (f"release {release[:SHORT_HASH]}" if release else "by rule", f"{n:,} rows")
            for release, n in summary.rows_by_release.items()
        ),
    ]
    example = f'mlspine log {summary.endpoint} "select _version, count(*), avg(_score) from log group by 1"'
    return render.table(rows, indent="") + f"\nTry: {example}"
