"""A workspace into a backup and back: a folder or a .tar with every file under its digest, verified both ways.

The store is copied first and the files it names afterwards: content is on disk before the row that names it, so
whatever a copied row names was there, and a file that was removed meanwhile makes the copy begin anew.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mlspine import __version__, migrations
from mlspine.backends.choose import is_shared
from mlspine.backends.snapshot import copy_workspace
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.cli.backup_format import (
    MANIFEST,
    Manifest,
    digest,
    entries,
    pack,
    read_manifest,
    refuse_newer,
    refuse_wrong,
)
from mlspine.control import RemoteWorkspace
from mlspine.core import effort
from mlspine.core.config import FILE_NAME, Config, find_file, load_config
from mlspine.core.errors import Conflict, Corrupt, Denied, Invalid, NotFound
from mlspine.core.ids import now_ms, uuid7
from mlspine.core.types import Actor, Struct
from mlspine.folder import create, running_options
from mlspine.governance.service import Governance
from mlspine.ports import Row
from mlspine.registry.release import read_release
from mlspine.running import anything_runs, running_control
from mlspine.workspace import Workspace

STORE = "store.db"
OPTIONS = "run/options.json"
NOT_KEPT = ("lease",)  # what only the running ones need
OWN = (STORE, f"{STORE}-wal", f"{STORE}-shm", "blobs", "releases", "run", effort.FILE)


class Kept(Struct, frozen=True, kw_only=True):
    """A backup that was written or restored. ledger_lines: of its store, all verified."""

    path: str
    files: int
    size_bytes: int
    ledger_lines: int
    made_at_ms: int
    mlspine: str
    moved_to: str = ""


def copy_now(source: Path, target: Path, config: Config, *, left_out: Sequence[str]) -> bool:
    """Copy a workspace with everything answered so far; True when rows lie in the copy that are not in its log yet."""
    control = running_control(source)
    if control is not None:
        RemoteWorkspace(source, config, control).status.refresh()
    copy_workspace(config.store, source, target, scripts=migrations.scripts(), left_out=left_out)
    idle = not is_shared(config.store) and not anything_runs(source)
    if idle and (source / "run" / "spool").is_dir():
        # Nobody turns the rows into the log that were answered just before all of it was killed. A file that
        # vanishes or may not be read belongs to somebody who does.
        with contextlib.suppress(shutil.Error):
            shutil.copytree(source / "run" / "spool", target / "run" / "spool", dirs_exist_ok=True)
    return idle


# ---------------------------------------------------------------- out


def back_up(workspace: Path, target: Path, *, tell: Callable[[str], None]) -> Kept:
    """Write the workspace into `target`, a new folder or a new file ending in .tar: whole and verified, or not at all.

    Raises Conflict when it is there already, Invalid for a workspace that shares its store with other machines,
    Corrupt when what was written does not read back as it should.
    """
    config = load_config(workspace, overrides=running_options(workspace))
    _refuse_shared(config, "backup")
    if not (workspace / STORE).exists():
        raise NotFound(f"there is no workspace at {workspace}", hint="name it with MLSPINE_WORKSPACE")
    target = target.absolute()
    if target.exists():
        raise Conflict(f"{target} is there already", hint="name a folder or .tar file that does not exist")
    draft = target.with_name(f".{target.name}-draft-{uuid7()[-8:]}")
    try:
        draft.mkdir(parents=True, mode=0o700)
    except OSError as exc:
        raise Denied(f"{target.parent} cannot be written: {exc.strerror}", hint="name another place") from exc
    try:
        tell("a copy as of now")
        copy_now(workspace, draft / "whole", config, left_out=NOT_KEPT)
        _add_settings(workspace, draft / "whole")
        tell("verifying it")
        lines = _verify(draft / "whole")
        manifest = _manifest(draft / "whole", workspace)
        (draft / "whole" / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        finished = draft / "whole"
        finished.chmod(0o700)
        if target.suffix == ".tar":
            finished = draft / "whole.tar"
            pack(draft / "whole", manifest, finished)
            _check_all(finished, manifest)
        finished.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _told(target, manifest, lines, _size(target))


def _add_settings(workspace: Path, copy: Path) -> None:
    for name in (effort.FILE, OPTIONS):
        if (workspace / name).is_file():
            shutil.copyfile(workspace / name, copy / name)
    settings = find_file(workspace)
    if settings is not None:
        shutil.copyfile(settings, copy / FILE_NAME)


def _manifest(copy: Path, workspace: Path) -> Manifest:
    files = sorted(each for each in copy.rglob("*") if each.is_file())
    with contextlib.closing(SqliteDatabase(copy / STORE)) as db:
        scripts = tuple(row["name"] for row in db.read("select name from migration order by name"))
    digests = {}
    for file in files:
        if file.exists() and not file.name.startswith(f"{STORE}-"):  # those were closed away by now
            with file.open("rb") as source:
                digests[file.relative_to(copy).as_posix()] = digest(source)
                os.fsync(source.fileno())
    return Manifest(mlspine=__version__, made_at_ms=now_ms(), workspace=str(workspace), scripts=scripts, files=digests)


def _check_all(backup: Path, manifest: Manifest) -> None:
    found = {name: digest(content) for name, content in entries(backup, manifest)}
    refuse_wrong(backup, found, manifest)


# ---------------------------------------------------------------- back


def restore(backup: Path, workspace: Path, *, replace: bool, actor: Actor, tell: Callable[[str], None]) -> Kept:
    """Make `workspace` what the backup holds, migrated to this version; nothing changes unless all of it is right.

    replace: when there is a store already; it is moved aside, not deleted. Raises Conflict when something runs
    there, when there is a store and `replace` is not given, and for a backup of a newer mlspine; Corrupt for a file
    that is missing or not as it was. Ledger: "restore".
    """
    manifest = read_manifest(backup)
    refuse_newer(manifest, migrations.scripts())
    create(workspace)
    config = load_config(workspace, overrides=running_options(workspace))
    _refuse_shared(config, "restore")
    if anything_runs(workspace):
        raise Conflict(f"{workspace} is being served", hint="mlspine down, then repeat it")
    if (workspace / STORE).exists() and not replace:
        raise Conflict(
            f"{workspace} holds a workspace already",
            hint="restore elsewhere with MLSPINE_WORKSPACE=FOLDER, or move what is there aside: --replace",
        )
    draft = workspace / f".restore-{uuid7()[-8:]}"
    try:
        draft.mkdir(mode=0o700)
        tell("bringing the files")
        _unpack(backup, manifest, draft)
        tell("verifying and migrating them")
        with contextlib.closing(SqliteDatabase(draft / STORE)) as db:
            db.migrate(migrations.scripts())
        lines = _verify(draft)
        aside = _move_aside(workspace)
        _move_in(draft, workspace)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    opened = Workspace.open(workspace)
    try:
        facts = {"made_at_ms": manifest.made_at_ms, "mlspine": manifest.mlspine, "from": manifest.workspace}
        opened.governance.record("restore", "workspace", actor, facts=facts)
    finally:
        opened.close()
    return _told(workspace, manifest, lines, _size(backup), moved_to=str(aside) if aside else "")


def _unpack(backup: Path, manifest: Manifest, draft: Path) -> None:
    found = {}
    try:
        for name, content in entries(backup, manifest):
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                found[name] = digest(content, into=file)
                file.flush()
                os.fsync(file.fileno())
    except tarfile.TarError as exc:
        raise Corrupt(f"{backup} cannot be read to its end: {exc}", hint="take another backup") from exc
    refuse_wrong(backup, found, manifest)
    for folder in ("blobs", "releases", "run/spool"):
        (draft / folder).mkdir(parents=True, exist_ok=True)


def _move_aside(workspace: Path) -> Path | None:
    """Put what is there away, if there is anything."""
    there = [workspace / name for name in OWN if (workspace / name).exists()]
    if not any(each.is_file() or any(file.is_file() for file in each.rglob("*")) for each in there):
        for each in there:
            shutil.rmtree(each)
        return None
    aside = workspace / f"before-restore-{now_ms()}"
    aside.mkdir()
    for each in there:
        each.rename(aside / each.name)
    return aside


def _move_in(draft: Path, workspace: Path) -> None:
    """The store last: a folder without it is no workspace yet."""
    if find_file(workspace) is not None:
        (draft / FILE_NAME).unlink(missing_ok=True)
    for each in sorted(draft.iterdir(), key=lambda each: each.name == STORE):
        each.rename(workspace / each.name)


# ---------------------------------------------------------------- both


def _verify(copy: Path) -> int:
    """Check the store, its ledger, and every file it names; returns the lines of the ledger. Raises Corrupt."""
    with contextlib.closing(SqliteDatabase(copy / STORE)) as db:
        damage = [row["integrity_check"] for row in db.read("pragma integrity_check")]
        if damage != ["ok"]:
            raise Corrupt(f"the copied store is damaged: {damage[0]}", hint="see: pragma integrity_check")
        if astray := db.read("pragma foreign_key_check"):
            raise Corrupt(f"the copied store has {len(astray)} rows that name absent ones", hint=f"e.g. {astray[0]}")
        ledger = Governance(db=db).verify()
        if not ledger.intact:
            raise Corrupt(f"the ledger is broken at line {ledger.first_bad}", hint="mlspine ledger --verify")
        artifacts = db.read("select distinct digest from artifact")
        segments = db.read("select key, size_bytes from segment")
        releases = db.read("select distinct release_hash from model_version where release_hash <> ''")
    try:
        _verify_files(copy, artifacts, segments, releases)
    except FileNotFoundError as exc:
        raise Corrupt(f"the store names a file that is not there: {exc.filename}", hint="take another backup") from exc
    return ledger.entries


def _verify_files(copy: Path, artifacts: Sequence[Row], segments: Sequence[Row], releases: Sequence[Row]) -> None:
    for row in artifacts:
        with (copy / "blobs" / "artifacts" / row["digest"][:2] / row["digest"]).open("rb") as content:
            if digest(content) != row["digest"]:
                raise Corrupt(f"the stored file {row['digest']} is not what was put", hint="put it again")
    for row in segments:
        if (copy / "blobs" / row["key"]).stat().st_size != row["size_bytes"]:
            raise Corrupt(f"the log file {row['key']} is not as long as it was written", hint="see: mlspine log")
    for row in releases:
        read_release(copy / "releases" / row["release_hash"])


def _refuse_shared(config: Config, what: str) -> None:
    if not is_shared(config.store):
        return
    bucket = config.store.blobs
    commands = {
        "backup": f'pg_dump --format=custom --file mlspine.dump "$DATABASE", then aws s3 sync {bucket} FOLDER',
        "restore": f'aws s3 sync FOLDER {bucket}, then pg_restore --dbname "$DATABASE" mlspine.dump',
    }
    raise Invalid(
        f"this workspace keeps its store in Postgres and a bucket: their own tools {what} it",
        hint=f"in this order, so that no row names a file that is not there: {commands[what]}",
    )


def _told(path: Path, manifest: Manifest, lines: int, size_bytes: int, *, moved_to: str = "") -> Kept:
    return Kept(
        path=str(path),
        files=len(manifest.files),
        size_bytes=size_bytes,
        ledger_lines=lines,
        made_at_ms=manifest.made_at_ms,
        mlspine=manifest.mlspine,
        moved_to=moved_to,
    )


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(each.stat().st_size for each in files if each.is_file())
