"""What a backup is: a folder, or a .tar, with a manifest of every file in it and its digest."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec
from blake3 import blake3

from mlspine.core.errors import Conflict, Corrupt, Invalid, NotFound
from mlspine.core.types import Struct

MANIFEST = "backup.json"
FORMAT = 1
SHOWN = 20
PIECE_BYTES = 1 << 20


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup is, and the BLAKE3 of every file in it by its path. scripts: migrations its store has had."""

    format: int = FORMAT
    mlspine: str
    made_at_ms: int
    workspace: str
    scripts: tuple[str, ...]
    files: dict[str, str]


def read_manifest(backup: Path) -> Manifest:
    """What a backup says it is; NotFound or Invalid when it is none."""
    try:
        if backup.is_dir():
            return msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
        with tarfile.open(backup, "r:") as archive:
            first = archive.next()
            content = archive.extractfile(first) if first is not None and first.name == MANIFEST else None
            return msgspec.json.decode(content.read() if content else b"", type=Manifest)
    except FileNotFoundError as exc:
        raise NotFound(f"no backup at {backup}", hint="mlspine backup makes one") from exc
    except (tarfile.TarError, msgspec.MsgspecError, OSError) as exc:
        raise Invalid(f"{backup} is no backup: {exc}", hint="mlspine backup makes one") from exc


def refuse_newer(manifest: Manifest, scripts: Mapping[str, str]) -> None:
    unknown = sorted(set(manifest.scripts) - scripts.keys())
    if unknown or manifest.format != FORMAT:
        raise Conflict(
            f"the backup was written by a newer mlspine, {manifest.mlspine}: it knows {', '.join(unknown) or 'more'}",
            hint="upgrade this installation: pip install --upgrade mlspine",
        )


def pack(copy: Path, manifest: Manifest, target: Path) -> None:
    """One file, the manifest first: who reads it knows what to expect of the rest."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in (MANIFEST, *manifest.files):
            archive.add(copy / name, arcname=name, recursive=False)
    with target.open("rb") as written:
        os.fsync(written.fileno())
    target.chmod(0o600)


def entries(backup: Path, manifest: Manifest) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of a backup that its manifest lists."""
    for name in manifest.files:
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/"):
            raise Invalid(f"{backup} lists a file outside of it: {name!r}", hint="it was not made by mlspine backup")
    if backup.is_dir():
        for name in manifest.files:
            if (backup / name).is_file():
                with (backup / name).open("rb") as content:
                    yield name, content
        return
    with tarfile.open(backup, "r:") as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.isreg() and member.name in manifest.files else None
            if opened is not None:
                yield member.name, opened


def refuse_wrong(backup: Path, found: dict[str, str], manifest: Manifest) -> None:
    wrong = [
        f"{name}: {'changed' if name in found else 'missing'}"
        for name, digest in manifest.files.items()
        if found.get(name) != digest
    ]
    if wrong:
        raise Corrupt(
            f"{backup} is not as it was written: {len(wrong)} of {len(manifest.files)} files are wrong",
            hint="take another backup",
            details=wrong[:SHOWN],
        )


def digest(source: IO[bytes], *, into: IO[bytes] | None = None) -> str:
    hasher = blake3()
    while piece := source.read(PIECE_BYTES):
        hasher.update(piece)
        if into is not None:
            into.write(piece)
    return hasher.hexdigest()
