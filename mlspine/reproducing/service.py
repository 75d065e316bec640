"""`reproduce`: rebuild, repeat, judge, and keep the verdict with the run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from mlspine import login
from mlspine.core.errors import Denied, Invalid
from mlspine.core.types import Struct
from mlspine.folder import this_actor
from mlspine.reproducing.record import Record, check_repeatable, find_run, read_record
from mlspine.reproducing.repeat import repeat, shown
from mlspine.reproducing.tree import Tree, rebuild
from mlspine.tracking.reproduction import LEAST_REPETITIONS, Reproduction, changes, is_identical, judge
from mlspine.web.mlflow.line import Line

VERDICT_TAG = "mlspine.reproduced"
LEAST_TIMEOUT_S = 600.0
TIMES_LONGER = 5  # than the run itself took, before a repetition is given up
MOST_REPETITIONS = 100


class Account(Struct, frozen=True, kw_only=True):
    """What came of it. repetitions: ids of the runs; changed: what is otherwise than it was, in words.

    linked: files outside git that were too large to copy, so that a repetition worked on the user's own.
    """

    run_id: str
    run_name: str
    reproduction: Reproduction
    repetitions: tuple[str, ...]
    changed: tuple[str, ...] = ()
    source: str = ""
    linked: tuple[str, ...] = ()
    data_recorded: bool = False


def reproduce(
    line: Line,
    run: str,
    *,
    repetitions: int = 3,
    repository: str = "",
    timeout_s: float | None = None,
    trust: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Account:
    """Run a recorded run, by id or name, again, up to `repetitions` times, and judge it by `tracking/reproduction.py`.

    One repetition that is identical ends it. The repetitions are runs of the same store, children of the run; the
    verdict becomes its tag `mlspine.reproduced`. repository: a folder or URL that has the commit, when it is
    neither here nor where it was recorded. trust: you vouch for a run that somebody else logged; its code is run
    here. Raises Invalid for what cannot be repeated, naming what is missing, and Denied without that word.
    """
    if not LEAST_REPETITIONS <= repetitions <= MOST_REPETITIONS:
        raise Invalid(
            f"{repetitions} repetitions are asked for",
            hint=f"{LEAST_REPETITIONS} to {MOST_REPETITIONS}: fewer cannot tell chance from change",
        )
    record = read_record(line, find_run(line, run))
    check_repeatable(record)
    server = login.server(line.where)
    if not trust and (server is not None or record.user != this_actor().name):
        raise Denied(
            f"run {record.id} was logged by {record.user or 'somebody'} on {line.where}; to run it again is to run"
            f" their code here: {shown(record)}",
            hint="if you trust it: --trust",
        )
    timeout_s = timeout_s or max(LEAST_TIMEOUT_S, TIMES_LONGER * (record.took_s or 0))
    done: list[Record] = []
    for number in range(1, repetitions + 1):
        with tempfile.TemporaryDirectory(prefix="mlspine-") as folder:  # anew each time: a run may change its tree
            tree = rebuild(
                record.captured,
                record.patch,
                Path(folder).resolve() / "tree",
                snapshot=record.snapshot,
                repository=repository,
            )
            say(f"repetition {number} of at most {repetitions}: {_about(record, tree)}")
            again = repeat(line, record, tree.top, token=server.token if server else "", timeout_s=timeout_s)
        done.append(read_record(line, again))
        if number == 1 and is_identical(record.histories, done[0].histories):
            break
    return _kept(line, record, done, tree)


def _kept(line: Line, record: Record, done: list[Record], tree: Tree) -> Account:
    reproduction = judge(record.histories, [each.histories for each in done])
    line.post(
        "runs/log-batch",
        run_id=record.id,
        tags=[{"key": VERDICT_TAG, "value": f"{reproduction.verdict} ({reproduction.repetitions} repetitions)"}],
    )
    return Account(
        run_id=record.id,
        run_name=record.name,
        reproduction=reproduction,
        repetitions=tuple(each.id for each in done),
        changed=changes(record.captured, done[0].captured, data_before=record.data, data_after=done[0].data),
        source=tree.source,
        linked=tree.linked,
        data_recorded=bool(record.data),
    )


def _about(record: Record, tree: Tree) -> str:
    code = f"commit {record.captured.code.commit[:10]}{' and its uncommitted difference' if record.patch else ''}"
    brought = f", {tree.copied} files outside git" if tree.copied else ""
    took = f"; the run took {record.took_s:.0f} s" if record.took_s is not None else ""
    return f"{code}{brought}{took}"
