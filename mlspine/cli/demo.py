"""demo: a real model lives a whole year."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("story", type=click.Choice(["flights"]))
@click.option("--full", is_flag=True, help="Send every flight alone instead of one request per departure hour.")
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the workspace here; otherwise a fresh temporary one.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("flights.html"),
    show_default=True,
    help="The report page.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every figure printed to this file.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Where predictions are answered; a free port by default.")
@click.option(
    "--control-port",
    type=click.IntRange(1, 65535),
    help="Where the control API listens; a free port by default.",
)
def demo(
    story: str,
    full: bool,
    workspace: Path | None,
    page: Path,
    json_path: Path | None,
    port: int | None,
    control_port: int | None,
) -> None:
    """Train on three months of real flights, serve, replay nine months, see it drift, replace it, bring it back.

    \b
    Example:
      mlspine demo flights --page flights.html --json flights.json
    """
    from mlspine.demo import story as director

    director.run(
        workspace=workspace,
        port=port,
        control_port=control_port,
        full=full,
        page_path=page,
        json_path=json_path,
    )
