"""A release in transit: what is told of it first, the parts that travel, and the same release at the other end.

Only parts travel whose digests the release itself names (and the digests of the rows it was fitted on). Every other
file follows from them and is written anew by the receiver: names of files, and files that a loader would run, never
come from outside. Nothing here unpickles anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlspine.core.errors import Corrupt, Invalid
from mlspine.core.ids import digest_bytes, digest_file
from mlspine.core.types import Release, Struct
from mlspine.registry.release import FITTED_ROWS, Built, Parts, build_release, covered_files, read_release, release_hash

_CLASS_LINE = re.compile(r'^ +model_class: "([^"]*)"$', re.MULTILINE)
_CLASS = re.compile(r"[A-Za-z_][\w.]*\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]*\Z")


class Manifest(Struct, frozen=True, kw_only=True):
    """What is told before anything travels. sizes: bytes by digest of each part."""

    release: Release
    model_class: str = ""  # of a LightGBM model, which MLflow wants to know
    fitted_rows: str = ""  # digest of that part; "" when there is none
    sizes: dict[str, int]


class Packed(NamedTuple):
    """A release ready to be sent: its hash, its manifest, and where each part lies, by digest."""

    hash: str
    manifest: Manifest
    files: dict[str, Path]


def pack(path: Path) -> Packed:
    """A release on this machine, checked, as it will be sent."""
    release = read_release(path)
    files = {digest: path / name for name, digest in covered_files(release).items()}
    fitted_rows = path / FITTED_ROWS
    fitted_digest = digest_file(fitted_rows) if fitted_rows.is_file() else ""
    if fitted_digest:
        files[fitted_digest] = fitted_rows
    named = _CLASS_LINE.search((path / "MLmodel").read_text(encoding="utf-8"))
    manifest = Manifest(
        release=release,
        model_class=named.group(1) if named else "",
        fitted_rows=fitted_digest,
        sizes={digest: file.stat().st_size for digest, file in files.items()},
    )
    return Packed(release_hash(release), manifest, files)


def check(manifest: Manifest, *, max_bytes: int) -> str:
    """The hash of the release a manifest tells of; raises Invalid for one that cannot be one of ours."""
    release = manifest.release
    problems = [
        *_wrong_parts(manifest),
        *(f"environment: {name}=={version}" for name, version in release.environment.items() if _odd(name, version)),
    ]
    if "python" not in release.environment:
        problems.append("environment: names no python")
    if manifest.model_class and not _CLASS.match(manifest.model_class):
        problems.append(f"model_class: {manifest.model_class!r}")
    total = sum(manifest.sizes.values())
    if total > max_bytes:
        problems.append(f"{total:,} bytes are more than this server takes ({max_bytes:,}: control.max_release_bytes)")
    if problems:
        raise Invalid("the release cannot be taken", details=problems[:20], hint="ship the model again")
    return release_hash(release)


def unpack(manifest: Manifest, part: Callable[[str], bytes], releases_dir: Path) -> Built:
    """The release under its hash, whole or not at all, from its parts by digest.

    Raises Invalid when what they hold is not what such parts hold.
    """
    release = manifest.release

    def checked(digest: str) -> bytes:
        data = part(digest)
        if digest_bytes(data) != digest:
            raise Invalid(f"part {digest[:12]} is not what its digest says", hint="ship again: it is sent anew")
        return data

    fields = {Path(name).stem: checked(digest) for name, digest in covered_files(release).items()}
    try:
        return build_release(
            releases_dir,
            Parts(
                model=fields["model"],
                transform=fields.get("transform", b""),
                baseline=fields["baseline"],
                recorded=fields["recorded"],
                recipe=fields.get("recipe", b""),
                fitted_rows=checked(manifest.fitted_rows) if manifest.fitted_rows else b"",
            ),
            signature=release.signature,
            environment=release.environment,
            data=release.data,
            code=release.code,
            settings=release.settings,
            thresholds=release.thresholds,
            model_class=manifest.model_class,
        )
    except Corrupt:
        raise
    except (msgspec.MsgspecError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
        raise Invalid(
            f"the parts are no release: {type(exc).__name__}: {str(exc)[:200]}", hint="ship the model again"
        ) from exc


def is_digest(text: Any) -> bool:
    """Whether this is a digest as we write them, and so safe as a file's name."""
    return isinstance(text, str) and _DIGEST.match(text) is not None


def _wrong_parts(manifest: Manifest) -> list[str]:
    try:
        digests = set(covered_files(manifest.release).values())
    except (AttributeError, LookupError, TypeError) as exc:
        return [f"settings: {type(exc).__name__}: {exc}"]
    if manifest.fitted_rows:
        digests.add(manifest.fitted_rows)
    problems = [f"{digest!r} is no digest" for digest in digests if not is_digest(digest)]
    problems += [f"no size is told of part {digest[:12]}" for digest in digests if digest not in manifest.sizes]
    problems += [f"{digest[:12]!r} is no part of this release" for digest in manifest.sizes if digest not in digests]
    problems += [f"part {digest[:12]} has {size} bytes" for digest, size in manifest.sizes.items() if size < 1]
    return problems


def _odd(name: str, version: str) -> bool:
    """Whether a line of requirements.txt made of these would say anything but name and version."""
    return not (_NAME.match(name) and _VERSION.match(version))
