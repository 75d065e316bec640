"""The rules and their tests go through promtool itself; a rule that is made wrong fails its own tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mlspine.core.yaml_text import dump
from mlspine.monitoring.rules import (
    RULES_FILE,
    TESTS_FILE,
    Rule,
    alert_rules,
    document_of_tests,
    rules_document,
)
from mlspine.monitoring.scraping import SCRAPE_FILE, scrape_document
from tests.needs import need

RULES = alert_rules(job="mlspine", error_rate=0.01)


def promtool(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    need("promtool", shutil.which("promtool"), "not installed (Debian package prometheus)")
    return subprocess.run(["promtool", *words], cwd=cwd, capture_output=True, text=True, check=False)


def written(folder: Path, rules: list[Rule], tested: list[Rule] = RULES) -> Path:
    (folder / RULES_FILE).write_text(dump(rules_document(rules)))
    (folder / TESTS_FILE).write_text(dump(document_of_tests(tested)))
    return folder


def test_promtool_accepts_the_rules_and_every_one_fires_and_keeps_quiet_as_its_test_says(tmp_path: Path) -> None:
    written(tmp_path, RULES)
    checked = promtool("check", "rules", RULES_FILE, cwd=tmp_path)
    assert f"{len(RULES)} rules found" in checked.stdout, checked.stderr
    tested = promtool("test", "rules", TESTS_FILE, cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_tests_of_a_rule_can_fail(rule: Rule, tmp_path: Path) -> None:
    never = [each._replace(expr="vector(0) > 1") if each.name == rule.name else each for each in RULES]
    done = promtool("test", "rules", TESTS_FILE, cwd=written(tmp_path, never))
    assert done.returncode != 0
    assert rule.name in done.stdout + done.stderr


def test_promtool_accepts_the_scrape_configuration(tmp_path: Path) -> None:
    written(tmp_path, RULES)
    made = scrape_document(
        predictions_url="http://127.0.0.1:8080", control_url="https://ml.example:8081", rules_file=RULES_FILE
    )
    (tmp_path / SCRAPE_FILE).write_text(dump(made))
    (tmp_path / "mlspine.token").write_text("secret")
    done = promtool("check", "config", SCRAPE_FILE, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
