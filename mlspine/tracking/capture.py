"""What a run records of its circumstances without being asked, enough to run it again.

`mlspine.log` keeps it as files of the run, an MLflow client as numbered tags, since tags are all it can add.
"""

from __future__ import annotations

import base64
import functools
import itertools
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlspine.core.errors import Corrupt
from mlspine.core.types import CodeState, Struct
from mlspine.tracking import code, generators, surroundings
from mlspine.tracking.code import Code, code_state, git, main_file, repository_of
from mlspine.tracking.run import PARENT_TAG
from mlspine.tracking.surroundings import Hardware

TAG = "mlspine.capture."
TAG_CHARACTERS = 8_000  # of one tag, what MLflow takes
TAGS = 40  # of one run
PATCH_LIMIT_BYTES = 20_000_000
FILE = "mlspine/capture.json"
PATCH_FILE = "mlspine/diff.patch"
CODE_FILE = "mlspine/code.tar.gz"
REPRODUCES_TAG = "mlspine.reproduces"  # on a repetition: the run it repeats
ATTEMPT_TAG = "mlspine.reproduction"  # on a repetition: which one
REPETITION_VARIABLE = "MLSPINE_REPETITION"  # tells the process of a repetition the file of its Repetition
_MAX_DECODED_BYTES = 100_000_000
_runs = itertools.count()


class Captured(Struct, frozen=True, kw_only=True):
    """The circumstances of one run.

    command: the words after the interpreter, "…" where a secret stood; empty in a notebook.
    folder: where it ran, and `script`: what it ran, both relative to the top of the repository; "" for a script
    that is not in it. `tracked`: the script is in the commit or the patch.
    ordinal: the how many-th run of its process it was, from 0.
    random: states of random number generators when the run began, see `tracking/generators.py`.
    patch_bytes: size of the difference; the difference itself is kept up to a limit.
    """

    code: CodeState = CodeState()
    patch_bytes: int = 0
    script: str = ""
    folder: str = ""
    tracked: bool = False
    command: tuple[str, ...] = ()
    ordinal: int = 0
    random: dict[str, str] = {}
    platform: dict[str, str] = {}
    libraries: dict[str, str] = {}
    hardware: Hardware = Hardware()
    duration_s: float | None = None
    peak_memory_bytes: int = 0


def take() -> tuple[Captured, bytes]:
    """The circumstances of a run that begins now in this process, and the uncommitted difference as a patch."""
    now = _code_now()
    top = repository_of(Path.cwd())
    script = _below(top, main_file())
    captured = Captured(
        code=now.state,
        patch_bytes=len(now.patch),
        script=script,
        folder=_below(top, str(Path.cwd())),
        tracked=_is_tracked(top, script, now),
        command=_from_here(top, surroundings.command()),
        ordinal=next(_runs),
        random=generators.states(),
        platform=surroundings.platform_facts(),
        libraries=surroundings.libraries(),
        hardware=_hardware(),
    )
    return captured, now.patch if len(now.patch) <= PATCH_LIMIT_BYTES else b""


@functools.cache
def snapshot(commit: str) -> bytes:
    """The files of a commit that only this work tree has, see `tracking/code.py`; packed once for all runs of it."""
    return code.snapshot(Path.cwd(), commit)


def short_tags(captured: Captured) -> dict[str, str]:
    """What a person looks for, as tags of the run."""
    told = {
        "mlspine.commit": captured.code.commit,
        "mlspine.dirty": captured.code.dirty_digest[:12],
        "mlspine.command": " ".join(captured.command)[:500],
        "mlspine.python": captured.platform.get("python", ""),
        "mlspine.gpu": ", ".join(captured.hardware.gpus)[:500],
    }
    return {key: value for key, value in told.items() if value}


class Repetition(Struct, frozen=True, kw_only=True):
    """What the process of a repetition is told: which run of it repeats which, and its random states."""

    run_id: str
    attempt: str
    ordinal: int
    random: dict[str, str] = {}


def repetition(ordinal: int) -> dict[str, str]:
    """Tags of a run that begins now if this process repeats another; its random states are put back then.

    Called where runs begin, so that what is drawn afterwards is drawn as it was.
    """
    told = os.environ.get(REPETITION_VARIABLE)
    if not told:
        return {}
    order = msgspec.json.decode(Path(told).read_bytes(), type=Repetition)
    if order.ordinal != ordinal:
        return {ATTEMPT_TAG: order.attempt}
    generators.restore(order.random)
    return {ATTEMPT_TAG: order.attempt, REPRODUCES_TAG: order.run_id, PARENT_TAG: order.run_id}


def to_tags(captured: Captured, patch: bytes) -> dict[str, str]:
    """All of it as numbered tags; without the patch when there would be too many."""
    packed = base64.b85encode(zlib.compress(msgspec.msgpack.encode((captured, patch)), 9)).decode()
    if len(packed) > TAGS * TAG_CHARACTERS:
        return to_tags(captured, b"") if patch else {}
    parts = [packed[at : at + TAG_CHARACTERS] for at in range(0, len(packed), TAG_CHARACTERS)]
    return {f"{TAG}{number:02}": part for number, part in enumerate(parts)}


def from_tags(tags: Mapping[str, str]) -> tuple[Captured, bytes] | None:
    """What `to_tags` made, None where there is nothing of it.

    >>> from_tags(to_tags(Captured(script="fit.py"), b"patch"))[1]
    b'patch'
    """
    packed = "".join(tags[key] for key in sorted(tags) if key.startswith(TAG))
    if not packed:
        return None
    try:
        opened = zlib.decompressobj().decompress(base64.b85decode(packed), _MAX_DECODED_BYTES)
        return msgspec.msgpack.decode(opened, type=tuple[Captured, bytes])
    except (ValueError, zlib.error, msgspec.DecodeError) as exc:
        raise Corrupt(f"the capture in the run's tags cannot be read: {exc}", hint="were they edited?") from exc


def _below(top: Path | None, path: str) -> str:
    """A path relative to the top of the repository, "" for one that is not in it."""
    if top is None or not path:
        return ""
    try:
        return Path(path).resolve().relative_to(top.resolve()).as_posix()
    except (ValueError, OSError):
        return ""


def _from_here(top: Path | None, words: tuple[str, ...]) -> tuple[str, ...]:
    """A command line that means the same in another clone: files of the repository relative to here."""
    return tuple(os.path.relpath(word) if os.path.isabs(word) and _below(top, word) else word for word in words)


def _is_tracked(top: Path | None, script: str, now: Code) -> bool:
    if top is None or not script:
        return False
    return bool(git(top, "ls-files", "--", script)) or f"+++ b/{script}\n".encode() in now.patch


def _code_now() -> Code:
    """The code a program began with, looked at once; in a notebook, where it goes on changing, the code now."""
    return _code_at_start() if surroundings.command() else code_state()


@functools.cache
def _code_at_start() -> Code:
    return code_state()


@functools.cache
def _hardware() -> Hardware:
    return surroundings.hardware()
