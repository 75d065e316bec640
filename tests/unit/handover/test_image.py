from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlspine.handover.image import Image, compose, dockerfile, image_of, requirements_text

HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
LOCK = {"python": "3.11.7", "scikit-learn": "1.5.0", "numpy": "2.0.1"}


def image(*, wheel: str = "", extras: tuple[str, ...] = (), **more: str) -> Image:
    return image_of(
        "churn",
        version=3,
        release_hash="0123456789abcdef",
        lock={**LOCK, **more},
        own={"numpy": "1.26.0", "click": "8.1.7", "mlspine": "0.1.0"},
        mlspine="0.1.0",
        wheel=wheel,
        extras=extras,
    )


def test_every_distribution_is_pinned_and_the_lock_of_the_release_wins() -> None:
    assert requirements_text(image()).splitlines() == [
        "mlspine==0.1.0",
        "click==8.1.7",
        "numpy==2.0.1",
        "scikit-learn==1.5.0",
    ]
    assert requirements_text(image(extras=("s3", "alerts"))).splitlines()[0] == "mlspine[alerts,s3]==0.1.0"


def test_a_wheel_is_copied_and_installed_instead() -> None:
    made = image(wheel="mlspine-0.1.0-py3-none-any.whl", extras=("alerts",))
    assert requirements_text(made).splitlines()[0] == "./mlspine-0.1.0-py3-none-any.whl[alerts]"
    assert "COPY requirements.txt mlspine-0.1.0-py3-none-any.whl ./" in dockerfile(made)


def test_the_python_of_the_lock_and_a_fuller_base_for_those_who_need_it() -> None:
    assert "FROM python:3.11.7-slim\n" in dockerfile(image())
    assert "FROM python:3.11.7\n" in dockerfile(image(lightgbm="4.3.0"))


def test_nothing_runs_as_root() -> None:
    text = dockerfile(image())
    assert text.index("USER 10001:10001") < text.index("CMD")
    assert "USER root" not in text


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed here")
@pytest.mark.parametrize("made", [image(), image(wheel="mlspine-0.1.0-py3-none-any.whl"), image(lightgbm="4.3.0")])
def test_hadolint_finds_no_fault(made: Image, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(dockerfile(made))
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    file.write_text("FROM python\nRUN pip install flask\n")
    assert subprocess.run([HADOLINT, str(file)], capture_output=True, check=False).returncode == 1


def test_the_compose_file_is_one_service_with_ports_and_a_volume() -> None:
    yaml = pytest.importorskip("yaml")
    document = yaml.safe_load(compose(image()))
    assert set(document) == {"services", "volumes"}
    (service,) = document["services"].values()
    # Keys and shapes as the compose specification has them.
    shapes = {
        "build": str,
        "image": str,
        "init": bool,
        "restart": str,
        "stop_grace_period": str,
        "ports": list,
        "volumes": list,
        "cap_drop": list,
        "security_opt": list,
    }
    assert {key: type(value) for key, value in service.items()} == shapes
    assert service["ports"] == ["8080:8080", "8081:8081"]
    assert re.fullmatch(r"\d+s", service["stop_grace_period"])
    assert re.fullmatch(r"[a-z0-9._/-]+:[\w.-]+", service["image"])
    volume, _, inside = service["volumes"][0].partition(":")
    assert volume in document["volumes"]
    assert f"VOLUME {json.dumps([inside])}" in dockerfile(image())
