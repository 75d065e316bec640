"""Who this machine is, and that a bucket belongs to this store."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mlspine.core.errors import Conflict, NotFound
from mlspine.core.ids import uuid7
from mlspine.machines import store
from mlspine.ports import BlobStore, Database

OWNER_KEY = "store-id"


def machine_id(run_dir: Path) -> str:
    """The id of this machine's workspace, made once and kept in `run/machine.id`.

    A folder copied to another machine must leave that file behind: positions in the spool are kept under it.
    """
    path = run_dir / "machine.id"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    run_dir.mkdir(parents=True, exist_ok=True)
    draft = run_dir / f"{uuid7()}.tmp"
    draft.write_text(uuid7())
    try:
        os.link(draft, path)  # fails where another process was first: its id holds
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text().strip()


def bind(db: Database, blobs: BlobStore) -> None:
    """Raise Conflict when the bucket belongs to another store: its files would be swept as left-overs of this one."""
    mine = store.store_id(db)
    try:
        owner = blobs.get(OWNER_KEY).decode()
    except NotFound:
        blobs.put(OWNER_KEY, mine.encode())
        return
    if owner != mine:
        raise Conflict(
            f"the place named by [store] blobs belongs to another database (store {owner}, this one is {mine})",
            hint="name an unused prefix of the bucket, or the database it belongs to, in [store]",
        )
