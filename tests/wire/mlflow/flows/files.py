"""Files of a run through the client: up, listed, down, gone; names that need care."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient
from step import salted, step

NAMES = (
    "plain.txt",
    "with blank.txt",
    "ünï.txt",
    "日本.bin",
    "per%20cent.txt",
    "a+b&c=d.txt",
    "no_ending",
    "q'uote.txt",
)


def main() -> None:
    client = MlflowClient()
    run = client.create_run(client.create_experiment(salted("files")), run_name="files").info.run_id
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        step("list nothing", client.list_artifacts, run)
        (folder / "tree" / "deep").mkdir(parents=True)
        (folder / "tree" / "deep" / "z.txt").write_text("z")
        (folder / "tree" / "empty.txt").write_text("")
        for each in NAMES:
            path = folder / each
            path.write_text(f"this is {each}")
            step(f"up {each}", client.log_artifact, run, str(path))
        step("up a tree", client.log_artifacts, run, str(folder / "tree"), "tree")
        (folder / "big.bin").write_bytes(bytes(range(256)) * 4096)
        step("up a mebibyte", client.log_artifact, run, str(folder / "big.bin"), "tree")
        step("up text", client.log_text, run, "words", "tree/deep/words.txt")
        step("up a dict", client.log_dict, run, {"a": [1, 2]}, "dict.yaml")
        for path in (None, "tree", "tree/deep", "tree/", "plain.txt", "absent", "tree/absent"):
            step(f"list {path}", client.list_artifacts, run, path)
        step("list what leads up", client.list_artifacts, run, "../x")
        step("list what leads up inside", client.list_artifacts, run, "tree/../tree")
        (folder / "plain.txt").write_text("other words now")
        step("up again", client.log_artifact, run, str(folder / "plain.txt"))
        for number, path in enumerate((*NAMES, "tree/empty.txt", "tree/big.bin")):
            target = folder / f"down {number}"
            target.mkdir()
            step(f"down {path}", client.download_artifacts, run, path, str(target), show=content)
        (folder / "whole").mkdir()
        step("down everything", client.download_artifacts, run, "", str(folder / "whole"), show=tree)
        (folder / "part").mkdir()
        step("down a directory", client.download_artifacts, run, "tree", str(folder / "part"), show=tree)
        (folder / "none").mkdir()
        step("down what is absent", client.download_artifacts, run, "absent.txt", str(folder / "none"), show=content)
        step("by its uri", mlflow.artifacts.load_text, f"runs:/{run}/plain.txt")
        step("delete the run", client.delete_run, run)
        step("list of a deleted run", client.list_artifacts, run)
        step("up to a deleted run", client.log_artifact, run, str(folder / "plain.txt"), "late")
        step("list of an absent run", client.list_artifacts, "0" * 32)


def content(path: str) -> Any:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def tree(path: str) -> Any:
    found = (Path(where) / each for where, _, files in os.walk(path) for each in files)
    return {str(each.relative_to(path)): each.stat().st_size for each in sorted(found)}


if __name__ == "__main__":
    main()
