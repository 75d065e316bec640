from __future__ import annotations

from pathlib import Path

import pytest

from mlspine.backends.gpu import KEPT_S, Gpus


def stand_in(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_what_nvidia_smi_says_is_read_and_kept_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    now_s = 0.0
    gpus = Gpus(lambda: now_s)
    stand_in(tmp_path, "echo '0, NVIDIA H200, 50, 1, 2'; echo '1, NVIDIA H200, [N/A], 1, 2'")
    first, second = gpus.read()
    assert (first.utilization, first.memory_used_bytes, second.utilization) == (0.5, 1024 * 1024, None)
    stand_in(tmp_path, "exit 9")
    assert len(gpus.read()) == 2
    now_s = KEPT_S
    assert gpus.read() == ()


def test_without_the_program_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Gpus().read() == ()
