from __future__ import annotations

from pathlib import Path

import pytest

from mlspine.core import machine
from mlspine.core.machine import processes_for, usable_cpus, usable_memory_bytes

GIB = 1 << 30


def test_a_container_has_the_cpus_and_the_memory_of_its_limits(tmp_path: Path) -> None:
    free = usable_cpus(tmp_path), usable_memory_bytes(tmp_path)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert (usable_cpus(tmp_path), usable_memory_bytes(tmp_path)) == free
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{GIB // 2}\n")
    assert (usable_cpus(tmp_path), usable_memory_bytes(tmp_path)) == (1, GIB // 2)


def test_one_core_is_left_to_control_and_memory_bounds_the_rest() -> None:
    assert [processes_for(cpus, 64 * GIB) for cpus in (1, 2, 3, 8, 96)] == [1, 1, 2, 7, 8]
    assert [processes_for(8, memory) for memory in (GIB, 5 * GIB, 0)] == [1, 2, 7]


def test_a_port_that_cannot_be_shared_is_answered_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlspine.core.config import Config, ServingConfig
    from mlspine.core.errors import Invalid
    from mlspine.folder import inference_processes
    from mlspine.running import check_processes

    asked = ServingConfig(processes=4)
    assert inference_processes(asked) == 4
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    assert inference_processes(asked) == 1
    check_processes(Config())
    with pytest.raises(Invalid, match="all connections of a port to one"):
        check_processes(Config(serving=asked))
