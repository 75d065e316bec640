"""ledger: what was live when, by whom and why."""

from __future__ import annotations

import click

from mlspine.cli import render


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


def _verified_text(check: object) -> str:
    from mlspine.governance.ledger import LedgerCheck

    assert isinstance(check, LedgerCheck)
    if check.intact:
        return f"intact: {check.entries:,} lines, head {check.head[:12]}"
    return f"BROKEN at line {check.first_bad}: {check.why}"
