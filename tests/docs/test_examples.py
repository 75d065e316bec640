"""Every code block of the README and of docs/ runs, in order, in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.desk import Desk

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Set-up lines that CI itself runs: `.ci/run` calls make and builds and installs the wheel.
SET_UP = ("pip install", "make ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    # Each page starts a server of its own: all but the first page wait for `make journeys`.
    [PAGES[0], *(pytest.param(page, marks=pytest.mark.long) for page in PAGES[1:])],
    ids=lambda page: page.name,
)
def test_every_code_block_of_the_page_runs(page: Path, desk: Desk) -> None:
    blocks = BLOCK.findall(page.read_text())
    assert blocks, f"{page.name} shows no example"
    _files_the_examples_name(desk)
    for language, code in blocks:
        if language == "python":
            desk.python(_at(desk, code))
        elif language == "bash":
            for line in code.strip().splitlines():
                _type(desk, line.partition("  #")[0].strip())
        else:
            assert language in ("text", "toml", "sql", "json"), f"{page.name}: {language}"


def test_every_command_is_in_the_docs() -> None:
    from mlspine.cli.main import COMMANDS

    told = "\n".join(page.read_text() for page in PAGES)
    assert [name for name in COMMANDS if f"mlspine {name}" not in told] == []


def test_every_setting_is_in_the_docs() -> None:
    from mlspine.core.config import SECTIONS

    told = "\n".join(page.read_text() for page in PAGES)
    missing = [
        f"{section}.{key}"
        for section, kind in SECTIONS.items()
        for key in kind.__struct_fields__
        if f"`{key}`" not in told
    ]
    assert missing == []


def test_pages_link_to_files_that_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _type(desk: Desk, line: str) -> None:
    if not line or line.startswith(SET_UP):
        return
    words = shlex.split(_at(desk, line))
    if words[0] == "mlspine":
        desk.mlspine(*words[1:])
    else:
        desk.run(["bash", "-c", _at(desk, line)], check=True)


def _at(desk: Desk, text: str) -> str:
    """The example at this desk's ports."""
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{desk.port}")
    return text.replace("127.0.0.1:8081", f"127.0.0.1:{desk.control_port}")


def _files_the_examples_name(desk: Desk) -> None:
    """Files a reader would have: a fitted model, and the rows it was fitted on."""
    desk.python(
        "import joblib, numpy as np, pandas as pd\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "X = pd.DataFrame({'a': np.arange(400.0), 'b': np.arange(400.0) % 7}); y = (X.a > 200).astype(int)\n"
        "joblib.dump(LogisticRegression().fit(X, y), 'model.joblib'); X.assign(y=y).to_csv('train.csv', index=False)"
    )
