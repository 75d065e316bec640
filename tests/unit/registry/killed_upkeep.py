"""A process that removes what was deleted, and says so after every piece of points: to be killed there."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mlspine.artifacts import Artifacts
from mlspine.backends.files import FileBlobStore
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.types import Actor
from mlspine.governance.service import Governance
from mlspine.registry import upkeep
from mlspine.registry.upkeep import Upkeep


def say(_: float) -> None:
    print("piece", flush=True)
    time.sleep(0.01)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    upkeep.POINTS_AT_ONCE = 10
    db = SqliteDatabase(folder / "store.db")
    artifacts = Artifacts(
        db=db, blobs=FileBlobStore(folder / "blobs"), drafts=folder / "drafts", clock=lambda: 2_100_000_000_000
    )
    Upkeep(
        db=db, artifacts=artifacts, governance=Governance(db=db), clock=lambda: 2_100_000_000_000, pause=say
    ).collect(older_than_s=0, actor=Actor(name="ann"))
