"""sentinels: cases of a model whose answer is known, asked of every release and of what is live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlspine.cli import render
from mlspine.cli.listing import ListingGroup
from mlspine.core.ids import SHORT_HASH

if TYPE_CHECKING:
    from mlspine.registry.sentinels import Sentinel


@click.group(cls=ListingGroup)
def sentinels() -> None:
    """Cases whose answer is known: a release that misses one takes no traffic, and one that is live alarms.

    Without a subcommand the sentinels of model NAME are listed.

    \b
    Examples:
      mlspine sentinels churn
      mlspine sentinels add churn cases.jsonl
      mlspine sentinels remove churn 3f9a0c12
    """


@sentinels.command("list")
@click.argument("name")
@render.json_option
def list_(name: str, as_json: bool) -> None:
    """List the sentinels of model NAME.

    \b
    Example:
      mlspine sentinels list churn
    """
    from mlspine.control import connect

    found = connect().sentinels.cases(name)
    render.emit(found, as_json=as_json, text=lambda: _listed(name, found))


@sentinels.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@render.json_option
def add(name: str, file: Path, as_json: bool) -> None:
    """Add the rows of FILE (.json, .jsonl, .csv, .parquet) as sentinels of model NAME.

    A row has the model's inputs and `expected` (a class or a number), `expected_score`, or both; optionally
    `tolerance`, how far a number may lie off, and `why`.

    \b
    Example:
      mlspine sentinels add churn cases.jsonl
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    added = connect().sentinels.add(name, rows_of(file), actor=this_actor())
    text = f"{len(added)} sentinels of {name} added: every version has to get them right before it takes traffic"
    render.emit(added, as_json=as_json, text=lambda: text)


@sentinels.command()
@click.argument("name")
@click.argument("sentinel", metavar="ID")
@click.option("--reason", default="", help="Kept in the ledger.")
@render.json_option
def remove(name: str, sentinel: str, reason: str, as_json: bool) -> None:
    """Take a sentinel of model NAME away, by its id or the end of it.

    \b
    Example:
      mlspine sentinels remove churn 3f9a0c12 --reason "the rule changed"
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    gone = connect().sentinels.remove(name, sentinel, reason=reason, actor=this_actor())
    render.emit(gone, as_json=as_json, text=lambda: f"sentinel {gone.id[-SHORT_HASH:]} of {name} is gone")


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a file as plain values; raises Invalid when it cannot be read as rows."""
    import msgspec

    from mlspine.core.errors import Invalid

    if file.suffix not in (".json", ".jsonl"):
        return _rows_of_table(file)
    try:
        decoder = msgspec.json.Decoder(dict[str, Any])
        if file.suffix == ".jsonl":
            return decoder.decode_lines(file.read_bytes())
        return msgspec.json.decode(file.read_bytes(), type=list[dict[str, Any]])
    except msgspec.DecodeError as exc:
        raise Invalid(f"{file} cannot be read as rows: {exc}", hint='e.g. {"age": 44, "expected": 1}') from exc


def _rows_of_table(file: Path) -> list[dict[str, Any]]:
    from mlspine.data.source import parse_source, read_source

    columns = read_source(parse_source(str(file)), root=Path.cwd())
    listed = {name: values.tolist() for name, values in columns.items()}
    rows = zip(*listed.values(), strict=True)
    # A cell left empty is a value that is missing, also where the column holds numbers.
    return [{n: None if v != v else v for n, v in zip(listed, row, strict=True)} for row in rows]


def _listed(name: str, found: list[Sentinel]) -> str:
    if not found:
        return f"no sentinels of {name}; add some: mlspine sentinels add {name} FILE"
    rows = [
        (
            each.id[-SHORT_HASH:],
            "" if each.expected is None else each.expected,
            "" if each.score is None else f"{each.score:g} ± {each.tolerance:g}",
            render.when(each.added_at_ms),
            each.why,
            ", ".join(f"{key}={value}" for key, value in each.inputs.items()),
        )
        for each in found
    ]
    return render.table(rows, head=("id", "expected", "score", "added (UTC)", "why", "inputs"), indent="")
