"""monitoring: what other people's monitoring needs to watch mlspine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mlspine.cli import render


@click.group()
def monitoring() -> None:
    """Hand what is watched here to Prometheus, Alertmanager and Grafana."""


@monitoring.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Replace the files of an earlier export.")
@render.json_option
def export(folder: Path, force: bool, as_json: bool) -> None:
    """Write alert rules with their unit tests, a scrape configuration and a Grafana dashboard into DIR.

    \b
    Example:
      mlspine monitoring export ./prometheus
      promtool test rules ./prometheus/mlspine.rules_test.yml
    """
    from mlspine.core.errors import Conflict

    files = _files()
    standing = [name for name in files if (folder / name).exists()]
    if standing and not force:
        raise Conflict(f"{folder} already holds {', '.join(standing)}", hint="replace them with --force")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    document = {"folder": str(folder), "files": sorted(files)}
    render.emit(document, as_json=as_json, text=lambda: _told(folder, list(files)))


def _files() -> dict[str, str]:
    """Every file by its name, for the workspace found from here."""
    from mlspine.core.address import local_url
    from mlspine.core.config import load_config
    from mlspine.core.yaml_text import dump
    from mlspine.folder import locate, running_options
    from mlspine.monitoring.dashboard import DASHBOARD_FILE, dashboard
    from mlspine.monitoring.rules import RULES_FILE, TESTS_FILE, alert_rules, document_of_tests, rules_document
    from mlspine.monitoring.scraping import JOB, SCRAPE_FILE, scrape_document

    directory = locate()
    config = load_config(directory, overrides=running_options(directory))
    rules = alert_rules(job=JOB, error_rate=config.monitoring.error_rate)
    scraped = scrape_document(
        predictions_url=local_url(config.serving.host, config.serving.port),
        control_url=local_url(config.control.host, config.control.port),
        rules_file=RULES_FILE,
    )
    return {
        RULES_FILE: dump(rules_document(rules)),
        TESTS_FILE: dump(document_of_tests(rules)),
        SCRAPE_FILE: dump(scraped),
        DASHBOARD_FILE: json.dumps(dashboard(), indent=2) + "\n",
    }


def _told(folder: Path, names: list[str]) -> str:
    from mlspine.monitoring.rules import TESTS_FILE
    from mlspine.monitoring.scraping import SCRAPE_FILE, TOKEN_FILE

    listed = "\n".join(f"  {folder / name}" for name in names)
    return "\n".join(
        [
            f"written:\n{listed}",
            f"test the rules:  promtool test rules {folder / TESTS_FILE}",
            f"give it a token: mlspine tokens create prometheus --role viewer, kept in {folder / TOKEN_FILE}",
            f"watch:           prometheus --config.file={folder / SCRAPE_FILE}",
            "see:             import the dashboard in Grafana and choose the data source",
        ]
    )
