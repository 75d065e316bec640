"""What is measured: each case starts its servers, lets them take turns, and gives figures for the table."""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.serving import load
from benchmarks.serving.contenders import Missing, Server, alone, rival
from benchmarks.serving.host import peak_rss_bytes, usage
from benchmarks.serving.load import Load
from benchmarks.serving.model import Body, Tree, many, neural, single
from benchmarks.serving.ours import BINARY_PATH, OURS, OURS_ASGI, PATH, Ours, counted, faces, ours, place
from benchmarks.serving.rivals import ASGI, ASYNC, ECHO, PROTOCOL, RIVALS, Rival

TRY_S, WARM_S = 2.0, 1.0
CLIENTS = 64
NEURAL_WIDTH, NEURAL_CLIENTS = 1152, 16
MANY_CLIENTS = 16
BATCHED, UNBATCHED = "batched", "one request per model call"
JSON_100, BINARY_100, THEIRS_100 = "mlspine, JSON", "mlspine, v2 binary", "FastAPI, JSON"
LOGGED, UNLOGGED = "log on", "log off"


class Measured(NamedTuple):
    """One contender's runs. rss_bytes: resident memory of its processes when the runs were over."""

    name: str
    setting: str
    runs: list[Load]
    rss_bytes: int = 0
    processes: int = 1

    def median(self, key: str) -> float:
        return statistics.median(getattr(each, key) for each in self.runs)

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self.runs)


class Bench(NamedTuple):
    """What all cases need. run_s, rounds: length and number of the runs of each contender."""

    folder: Path
    tree: Tree
    run_s: float
    rounds: int
    notes: list[str]

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def messages(self, name: str, path: str, bodies: Sequence[Body]) -> Path:
        return load.messages(path, list(bodies), self.folder / f"{name}.requests")


class Turn(NamedTuple):
    """A running server and what it is asked."""

    server: Server
    messages: Path
    own: Ours | None = None


# ---------------------------------------------------------------- single rows


def best_setting(bench: Bench, one: Rival) -> str:
    """The setting that answers most; with a single one there is nothing to try. Raises Missing when none works."""
    if len(one.settings) == 1:
        return one.settings[0]
    bodies, found = single(bench.tree, one.form), dict[str, float]()
    file, why = bench.messages("try", one.path, bodies), ""
    for setting in one.settings:
        try:
            with rival(one, setting, bench.folder, bodies) as server:
                load.run(server.port, file, server.pids(), clients=CLIENTS, seconds=WARM_S)
                tried = load.run(server.port, file, server.pids(), clients=CLIENTS, seconds=TRY_S)
                found[setting] = tried.per_s if tried.failed <= tried.answered // 100 else 0.0
        except Missing as exc:
            why = str(exc)
    if not found:
        raise Missing(why)
    bench.say(f"  {one.name}: " + ", ".join(f"{each} {per_s:,.0f}/s" for each, per_s in found.items()))
    return max(found, key=lambda each: found[each])


def wanted(only_asgi: bool) -> list[Rival]:
    """All rivals, or those that say what ASGI costs."""
    return [each for each in RIVALS if not only_asgi or each.name in (ECHO, PROTOCOL, ASGI, ASYNC)]


@contextlib.contextmanager
def everybody(bench: Bench, rivals: list[Rival], missing: dict[str, str]) -> Iterator[list[Turn]]:
    """mlspine with each of its faces and all rivals that work here, checked and warm; all but one stand still."""
    with contextlib.ExitStack() as stack:
        turns: list[Turn] = []
        bodies = single(bench.tree, "rows")
        file = bench.messages("ours", PATH, bodies)
        for face in faces():
            where = place(bench.folder, bench.tree.classifier, bench.tree.train.head(500))
            one = stack.enter_context(ours(where, bodies[0].data, face=face))
            turns.append(_ready(bench, Turn(one.server, file, one), bodies))
        for each in rivals:
            bodies = single(bench.tree, each.form)
            try:
                setting = best_setting(bench, each)
                server = stack.enter_context(rival(each, setting, bench.folder, bodies))
                file = bench.messages(f"at-{server.port}", each.path, bodies)
                turns.append(_ready(bench, Turn(server, file), bodies, checked=each.name != ECHO))
            except Missing as exc:
                missing[each.name] = str(exc)
                bench.say(f"  {each.name}: not measured ({exc})")
            with alone(turns[0].server, [turn.server for turn in turns]):
                pass  # the others stand still while the next is tried
        yield turns


def _ready(bench: Bench, turn: Turn, bodies: list[Body], *, checked: bool = True) -> Turn:
    server = turn.server
    if checked:
        right = load.check(server.port, server.path, bodies)
        bench.say(f"  {server.name} {server.setting}: {right} answers checked")
    load.run(server.port, turn.messages, server.pids(), clients=CLIENTS, seconds=WARM_S)
    return turn


def take_turns(bench: Bench, turns: list[Turn], *, clients: int, seconds: float, rounds: int) -> list[Measured]:
    """Every server in turn, round by round."""
    runs: dict[str, list[Load]] = {turn.server.name: [] for turn in turns}
    servers = [turn.server for turn in turns]
    for _ in range(rounds):
        for turn in turns:
            with alone(turn.server, servers) as pids:
                done = load.run(turn.server.port, turn.messages, pids, clients=clients, seconds=seconds)
            runs[turn.server.name].append(done)
            bench.say(f"  {turn.server.name}, {clients}: {done.per_s:,.0f}/s, p50 {done.p50_ms:.2f} ms")
    found = []
    for turn in turns:
        used = usage(turn.server.pids())
        found.append(
            Measured(turn.server.name, turn.server.setting, runs[turn.server.name], used.rss_bytes, used.processes)
        )
    return found


def account(bench: Bench, turns: list[Turn]) -> None:
    """Log rows = answers, of every mlspine that took part; raises RuntimeError when they are not."""
    for turn in turns:
        if turn.own is not None:
            with alone(turn.server, [each.server for each in turns]):
                found = counted(turn.own)
            if found.logged != found.answered:
                raise RuntimeError(f"{turn.server.name} logged {found.logged:,} rows of {found.answered:,} answered")
            bench.notes.append(
                f"{turn.server.name}: {found.logged:,} rows in the log of {found.answered:,} answered;"
                f" {found.rows_per_call:.1f} rows per model call; model runs as {turn.own.proof.form}"
            )


# ---------------------------------------------------------------- the other rows of the table


def hundred(bench: Bench) -> list[Measured]:
    """A hundred rows per request: JSON and binary against FastAPI's JSON."""
    plain, binary = many(bench.tree, binary=False), many(bench.tree, binary=True)
    face = faces()[0]
    theirs = next(each for each in RIVALS if each.name == ASYNC)
    with contextlib.ExitStack() as stack:
        where = place(bench.folder, bench.tree.classifier, bench.tree.train.head(500))
        one = stack.enter_context(ours(where, single(bench.tree, "rows")[0].data, face=face))
        turns = [Turn(one.server._replace(name=JSON_100), bench.messages("json100", PATH, plain))]
        load.check(one.server.port, PATH, plain, sample=20)
        try:
            load.check(one.server.port, BINARY_PATH, binary, sample=20)
            turns.append(Turn(one.server._replace(name=BINARY_100), bench.messages("binary100", BINARY_PATH, binary)))
        except RuntimeError as exc:
            bench.notes.append(f"100 rows, v2 binary: not measured ({exc})")
        try:
            setting = best_setting(bench, theirs)
            server = stack.enter_context(rival(theirs, setting, bench.folder, single(bench.tree, "row")))
            load.check(server.port, "/predict_rows", plain, sample=20)
            turns.append(Turn(server._replace(name=THEIRS_100), bench.messages("theirs100", "/predict_rows", plain)))
        except Missing as exc:
            bench.notes.append(f"100 rows, FastAPI: not measured ({exc})")
        return take_turns(bench, turns, clients=MANY_CLIENTS, seconds=bench.run_s, rounds=bench.rounds)


def of_a_net(bench: Bench) -> list[Measured]:
    """A neural model batched against its own unbatched form."""
    net = neural(bench.tree, NEURAL_WIDTH)
    bodies = [body._replace(scores=[score]) for body, score in zip(single(bench.tree, "rows"), net.scores, strict=True)]
    where = place(bench.folder, net.classifier, net.train.head(500))
    file, turns, face = bench.messages("neural", PATH, bodies), [], faces()[0]
    with contextlib.ExitStack() as stack:
        for name in (BATCHED, UNBATCHED):
            own = where._replace(folder=where.folder) if name == BATCHED else _copy(bench, net)
            one = stack.enter_context(ours(own, bodies[0].data, face=face, batched=name == BATCHED))
            load.check(one.server.port, PATH, bodies)
            turns.append(Turn(one.server._replace(name=name), file, one))
        bench.notes.append(
            f"neural model: {NEURAL_WIDTH} x {NEURAL_WIDTH} units, as {turns[0].own.proof.form},"
            f" {turns[0].own.proof.p50_s * 1e6:.0f} us per call of one row"
        )
        found = take_turns(bench, turns, clients=NEURAL_CLIENTS, seconds=bench.run_s, rounds=bench.rounds)
        for turn in turns:
            with alone(turn.server, [each.server for each in turns]):
                bench.notes.append(f"neural, {turn.server.name}: {counted(turn.own).rows_per_call:.1f} rows per call")
    return found


def _copy(bench: Bench, net: Any) -> Any:
    return place(bench.folder, net.classifier, net.train.head(500))


def cost_of_recording(bench: Bench) -> list[Measured]:
    """The same endpoint with and without its log."""
    bodies = single(bench.tree, "rows")
    file, turns = bench.messages("cost", PATH, bodies), []
    with contextlib.ExitStack() as stack:
        for name in (LOGGED, UNLOGGED):
            where = place(bench.folder, bench.tree.classifier, bench.tree.train.head(500), logged=name == LOGGED)
            one = stack.enter_context(ours(where, bodies[0].data, face=faces()[0]))
            turns.append(_ready(bench, Turn(one.server._replace(name=name), file, one), bodies))
        return take_turns(bench, turns, clients=CLIENTS, seconds=bench.run_s, rounds=bench.rounds + 2)


class Start(NamedTuple):
    """One start. answered_s: process start to first answer; load_s: of it, loading and proving the model."""

    answered_s: float
    load_s: float
    rss_bytes: int
    peak_bytes: int


def starts(bench: Bench, times: int = 4) -> list[Start]:
    """Starts in one workspace; the first of them measures which runtime is best, the others know."""
    bodies = single(bench.tree, "rows")
    where = place(bench.folder, bench.tree.classifier, bench.tree.train.head(500))
    found = []
    for _ in range(times):
        with ours(where, bodies[0].data, face=faces()[0]) as one:
            pid = one.inference.process.pid
            found.append(Start(one.start_s, one.proof.load_s, usage([pid]).rss_bytes, peak_rss_bytes(pid)))
    return found


CASES: dict[str, Callable[[Bench], list[Measured]]] = {
    "neural": of_a_net,
    "rows100": hundred,
    "cost": cost_of_recording,
}
__all__ = ["CASES", "OURS", "OURS_ASGI", "Bench", "Measured", "Start", "starts"]
