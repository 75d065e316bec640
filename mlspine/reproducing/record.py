"""A run as it was recorded: its circumstances, its metrics, its data."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import msgspec

from mlspine.core.errors import Conflict, Invalid, NotFound
from mlspine.tracking import capture
from mlspine.tracking.capture import Captured
from mlspine.tracking.surroundings import HIDDEN
from mlspine.web.mlflow.line import Line

HISTORY_PAGE = 25_000
NAMESAKES = 1_000  # runs of one name that are looked at


class Record(NamedTuple):
    """What the store knows of a run. took_s: None for one that has not ended. data: digests by dataset name.

    snapshot: the files of its commit as tar.gz, b"" when the commit was to be had elsewhere.
    """

    id: str
    name: str
    user: str
    experiment_id: str
    took_s: float | None
    captured: Captured
    patch: bytes
    snapshot: bytes
    histories: dict[str, list[tuple[int, float]]]
    data: dict[str, str]


def find_run(line: Line, named: str) -> str:
    """The id of a run by its id or name; repetitions, which are named like what they repeat, do not count.

    Raises NotFound, and Conflict when several runs have the name.
    """
    with contextlib.suppress(NotFound):
        return str(line.get("runs/get", run_id=named)["run"]["info"]["run_id"])
    quote = '"' if "'" in named else "'"
    experiments = [each["experiment_id"] for each in line.post("experiments/search").get("experiments", ())]
    found = line.post(
        "runs/search",
        experiment_ids=experiments,
        filter=f"attributes.run_name = {quote}{named.replace(quote, '_')}{quote}",
        max_results=NAMESAKES,
    ).get("runs", ())
    ids = [str(run["info"]["run_id"]) for run in found if not _is_repetition(run)]
    if not ids:
        raise NotFound(f"no run {named!r} by id or name", hint="mlspine runs ls")
    if len(ids) > 1:
        raise Conflict(f"{len(ids)} runs are named {named!r}", details=ids[:10], hint="name one by its id")
    return ids[0]


def read_record(line: Line, run_id: str) -> Record:
    """One run; NotFound for none of that id, Invalid for one whose circumstances were not captured."""
    run = line.get("runs/get", run_id=run_id)["run"]
    info, tags = run["info"], {tag["key"]: tag["value"] for tag in run["data"].get("tags", ())}
    captured, patch = capture.from_tags(tags) or _from_files(line, info["artifact_uri"], run_id)
    start, end = info.get("start_time"), info.get("end_time")
    return Record(
        id=info["run_id"],
        name=info["run_name"],
        user=info.get("user_id", ""),
        experiment_id=info["experiment_id"],
        took_s=(end - start) / 1000 if start is not None and end is not None else None,
        captured=captured,
        patch=patch,
        snapshot=_file(line, info["artifact_uri"], capture.CODE_FILE),
        histories={metric["key"]: _history(line, run_id, metric["key"]) for metric in run["data"].get("metrics", ())},
        data={
            each["dataset"]["name"]: each["dataset"]["digest"]
            for each in run.get("inputs", {}).get("dataset_inputs", ())
        },
    )


def check_repeatable(record: Record) -> None:
    """Raise Invalid naming everything a repetition would need that was not recorded."""
    captured = record.captured
    missing = []
    if not captured.code.commit:
        missing.append("code: it did not run in a git repository with a commit; git init, git add, git commit")
    if captured.patch_bytes and not record.patch:
        missing.append(f"code: the uncommitted difference of {captured.patch_bytes:,} bytes was too large to keep")
    if not captured.command:
        missing.append("command: it ran in a notebook or console; put the cells into a script")
    elif any(HIDDEN in word for word in captured.command):
        missing.append("command: it held a secret, which was left out; pass secrets by the environment")
    elif not captured.tracked and captured.command[0] not in ("-m", "-c"):
        missing.append(f"script: {captured.command[0]!r} is not in the repository; git add it")
    if not record.histories:
        missing.append("metrics: it logged none, so there is nothing to compare")
    if missing:
        raise Invalid(
            f"run {record.id} cannot be run again",
            details=missing,
            hint="log the next one so that it can: see docs/tracking.md",
        )


def _is_repetition(run: dict[str, Any]) -> bool:
    return any(tag["key"] == capture.REPRODUCES_TAG for tag in run["data"].get("tags", ()))


def _from_files(line: Line, files_uri: str, run_id: str) -> tuple[Captured, bytes]:
    try:
        captured = msgspec.json.decode(line.read_file(f"{files_uri}/{capture.FILE}"), type=Captured)
    except NotFound as exc:
        raise Invalid(
            f"run {run_id} was logged without its circumstances: no commit, no command",
            hint="log it with mlspine.log, or with MLflow's client where mlspine is installed too",
        ) from exc
    return captured, _file(line, files_uri, capture.PATCH_FILE)


def _file(line: Line, files_uri: str, name: str) -> bytes:
    """A file of the run, b"" for none."""
    try:
        return line.read_file(f"{files_uri}/{name}")
    except NotFound:
        return b""


def _history(line: Line, run_id: str, metric: str) -> list[tuple[int, float]]:
    points: list[tuple[int, float]] = []
    token = None
    while True:
        page: dict[str, Any] = line.get(
            "metrics/get-history", run_id=run_id, metric_key=metric, max_results=HISTORY_PAGE, page_token=token
        )
        points += [(point.get("step", 0), float(point["value"])) for point in page.get("metrics", ())]
        token = page.get("next_page_token")
        if not token:
            return points
