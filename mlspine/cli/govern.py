"""ledger, approve: what was live when, by whom and why; the word of a second person."""

from __future__ import annotations

import click

from mlspine.cli import render
from mlspine.core.ids import SHORT_HASH


@click.command()
@click.argument("subject", required=False, default="")
@click.option("--verify", is_flag=True, help="Recompute the whole chain and name the first broken line.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Newest lines printed.")
@render.json_option
def ledger(subject: str, verify: bool, limit: int, as_json: bool) -> None:
    """Every change, oldest first, in a chain in which each line vouches for all before it.

    SUBJECT, such as endpoint:churn, keeps the lines about it. `--json` prints the whole chain as JSON lines, which
    docs/verify_ledger.py verifies without mlspine.

    \b
    Examples:
      mlspine ledger endpoint:churn
      mlspine ledger --verify
    """
    from mlspine.control import connect

    workspace = connect()
    if verify:
        check = workspace.governance.verify()
        render.emit(check, as_json=as_json, text=lambda: _verified_text(check))
        if not check.intact:
            raise click.exceptions.Exit(9)
        return
    if as_json and not subject:
        click.echo(workspace.governance.export(), nl=False)
        return
    entries = workspace.governance.entries(subject=subject, limit=limit)
    rows = [
        (
            entry.seq,
            render.when(entry.at_ms),
            entry.actor,
            entry.action,
            entry.subject,
            entry.reason,
            entry.entry_hash[:12],
        )
        for entry in entries
    ]
    head = ("line", "when (UTC)", "who", "what", "subject", "why", "hash")
    render.emit(
        entries,
        as_json=as_json,
        text=lambda: render.table(rows, head=head, indent="") if rows else "the ledger is empty",
    )


@click.command()
@click.argument("ref", metavar="NAME:VERSION")
@click.option("--reason", default="", help="Kept with the approval.")
@render.json_option
def approve(ref: str, reason: str, as_json: bool) -> None:
    """Give your word for a version of tier high, which another person may then bring forward, once.

    \b
    Example:
      mlspine approve churn:3 --reason "seen the slices, talked to Ann"
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    done = connect().registry.approve(ref, actor=this_actor(), reason=reason)
    name = done.subject.partition(":")[2]
    render.emit(
        done,
        as_json=as_json,
        text=lambda: (
            f"{name}:{done.version} is approved by {done.actor}, release {done.release_hash[:SHORT_HASH]}\n"
            f"For somebody else to type: mlspine promote {name} {done.version}"
        ),
    )


def _verified_text(check: object) -> str:
    from mlspine.governance.ledger import LedgerCheck

    assert isinstance(check, LedgerCheck)
    if check.intact:
        return f"intact: {check.entries:,} lines, head {check.head[:12]}"
    return f"BROKEN at line {check.first_bad}: {check.why}"
