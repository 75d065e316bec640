"""The environment a release was shipped in, built again from its lock, for a model process that runs in it.

    $XDG_CACHE_HOME/mlspine/environments/DIGEST OF THE LOCK/     default ~/.cache
      bin/python ...                          a virtual environment with exactly the locked versions
      complete.json                           written last: without it the folder is not used, and built anew
      house-DIGEST/mlspine                    a link to this package, so that it runs there without being installed

Releases with equal locks share one. Building needs the package index the lock was installed from; running does not.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from mlspine.core.errors import Invalid, Unavailable
from mlspine.core.ids import digest_bytes, digest_json, uuid7
from mlspine.registry.mlmodel import requirements_text

# What a model process imports of its own accord, beside what the model needs.
HOUSE_REQUIREMENTS = ("blake3", "cloudpickle", "msgspec", "numpy")
BUILD_TIMEOUT_S = 1800.0
TOLD_LINES = 8
_COMPLETE = "complete.json"
_STEP = re.compile(r"^(Collecting|Downloading|Using cached|Building|Installing|Successfully installed) ?(\S+)?")

Say = Callable[[str], None]


def environments_folder() -> Path:
    """Where environments are kept for this user."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mlspine" / "environments"


def environment_path(lock: Mapping[str, str]) -> Path:
    """Where the environment of a lock lies, built or not. Equal locks have one, whatever their order."""
    key = {"lock": {**lock, "python": _minor(lock.get("python", ""))}, "with": HOUSE_REQUIREMENTS}
    return environments_folder() / digest_json(key)[:32]


def is_built(lock: Mapping[str, str]) -> bool:
    """Whether the environment of a lock is complete."""
    path = environment_path(lock)
    return (path / _COMPLETE).is_file() and _python(path).exists()


def build(lock: Mapping[str, str], *, say: Say = lambda line: None) -> Path:
    """The environment's interpreter, building it if it is not there. `say` is told each step.

    Whole or absent: built in a folder beside it, which is then renamed; a build that was killed leaves nothing that
    is taken for complete. Two builders of one lock: the second waits. Raises Invalid when there is no interpreter
    of that version here or a locked version cannot be had, Unavailable when the index cannot be reached.
    """
    path = environment_path(lock)
    if is_built(lock):
        return _python(path)
    interpreter = find_interpreter(lock.get("python", ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if is_built(lock):
            return _python(path)
        shutil.rmtree(path, ignore_errors=True)
        for left in path.parent.glob(f".draft-{path.name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        draft = path.parent / f".draft-{path.name}-{uuid7()}"
        try:
            _build_in(draft, lock, interpreter, say)
            draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return _python(path)


def launch(lock: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The interpreter of a built environment, and the variables a process of it needs to find this package."""
    path = environment_path(lock)
    package = Path(__file__).resolve().parents[1]
    house = path / f"house-{digest_bytes(os.fsencode(package))[:12]}"
    house.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (house / "mlspine").symlink_to(package, target_is_directory=True)
    # Only this package: its neighbours would hide the locked versions.
    return str(_python(path)), {"PYTHONPATH": str(house), "PYTHONNOUSERSITE": "1"}


def find_interpreter(version: str) -> str:
    """A Python of the same minor version: this one, else one on PATH; raises Invalid when there is none."""
    wanted = _minor(version)
    if not wanted or wanted == f"{sys.version_info.major}.{sys.version_info.minor}":
        return str(getattr(sys, "_base_executable", "") or sys.executable)
    found = shutil.which(f"python{wanted}")
    if found is None:
        raise Invalid(
            f"the release was shipped with Python {version}, and there is no python{wanted} here",
            hint=f"install Python {wanted} so that `python{wanted}` is on the PATH, or serve without --own-env",
        )
    return found


# ---------------------------------------------------------------- building


def _build_in(draft: Path, lock: Mapping[str, str], interpreter: str, say: Say) -> None:
    say(f"making an environment with Python {lock.get('python', '')} and {len(lock) - 1} locked packages")
    _run([interpreter, "-m", "venv", str(draft)], say)
    with tempfile.TemporaryDirectory(prefix="mlspine-lock-") as name:
        requirements = Path(name) / "requirements.txt"
        locked = {_normal(each) for each in lock}
        free = [each for each in HOUSE_REQUIREMENTS if each not in locked]
        requirements.write_text(requirements_text(lock) + "".join(f"{each}\n" for each in free), encoding="utf-8")
        pip = [str(_python(draft)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        _run([*pip, "--progress-bar", "off", "-r", str(requirements)], say)
    (draft / _COMPLETE).write_bytes(msgspec.json.encode({"lock": dict(lock)}, order="sorted"))


def _run(argv: list[str], say: Say) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    lines: list[str] = []
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines = [*lines[-200:], line.rstrip()]
                if step := _STEP.match(line.strip()):
                    say(" ".join(part for part in step.groups() if part))
            code = process.wait(BUILD_TIMEOUT_S)
        except BaseException:
            process.kill()
            raise
    if code:
        raise _failure(lines)


def _failure(lines: list[str]) -> Invalid | Unavailable:
    errors = [line for line in lines if line.startswith("ERROR:")] or lines[-TOLD_LINES:]
    told = errors[-1][:300] if errors else "no reason given"
    unreachable = any("connection" in line.lower() and "retry" in line.lower() for line in lines)
    missing = any("No matching distribution" in line for line in lines)
    details = tuple(line[:300] for line in errors[-TOLD_LINES:])
    if unreachable:
        return Unavailable(
            "the environment of the release cannot be built: the package index cannot be reached",
            hint="try again when it can, or serve without --own-env",
            details=details,
        )
    hint = (
        "a locked version is not on the index: point pip at the one it came from (PIP_INDEX_URL), or ship again"
        if missing
        else "the lock is requirements.txt of the release; try it by hand in a new virtual environment"
    )
    return Invalid(f"the environment of the release cannot be built: {told}", hint=hint, details=details)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl

    file: IO[bytes]
    with (path.parent / f"{path.name}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
