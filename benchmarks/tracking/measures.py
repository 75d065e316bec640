"""What is measured, server by server: figures by name, each a list with one value per round."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.tracking import filling, processes
from benchmarks.tracking.asking import Client, client_of
from benchmarks.tracking.servers import Kind, Server, running

Figures = dict[tuple[str, Kind], list[float]]
FILL: dict[Kind, Callable[[Path, filling.Contents], None]] = {
    "mlspine": filling.fill_mlspine,
    "mlflow server": filling.fill_mlflow,
    "mlflow, one worker": filling.fill_mlflow,
}
CHARTS = (320, 2_500)


class Scale(NamedTuple):
    """How much of everything; `QUICK` finds mistakes, `FULL` gives figures."""

    calls: int
    logging_s: float
    most_points: int
    runs: int
    reads: int
    files: int
    mebibytes: int
    large_mebibytes: int
    settle_s: float


FULL = Scale(400, 5.0, 5_000, 10_000, 5, 3, 100, 1024, 60.0)
QUICK = Scale(100, 2.0, 1_000, 10_000, 2, 1, 100, 200, 20.0)


class Bench:
    """One comparison: servers, scale, folder, the figures so far, and what failed. `say` reports progress."""

    def __init__(self, folder: Path, environment: Path, scale: Scale, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.environment = environment
        self.scale = scale
        self.figures: Figures = {}
        self.failures: list[str] = []
        self._say = say
        self._contents: dict[int, filling.Contents] = {}

    def new_store(self, kind: Kind, wanted: set[str]) -> None:
        """Start on an empty folder, write to it, and send files through it."""
        folder, scale = self.folder / "new", self.scale
        with running(kind, folder, self.environment) as server:
            self._keep(kind, start_health_s=server.health_s, start_run_s=server.first_run_s)
            self._settle(server)
            if kind != "echo" and "memory" in wanted:
                self._weigh(server)
            with client_of(server, self.environment) as client:
                if "log_metric" in wanted:
                    self._attempt(kind, self._log, server, client)
                for count in (8, 50):
                    if f"loggers_{count}" in wanted:
                        self._attempt(kind, self._loggers, kind, client, count)
                if kind != "echo" and "artifact" in wanted:
                    self._attempt(kind, self._files, server, client, scale.mebibytes, scale.files, "")
                if kind == "mlspine" and "artifact" in wanted:
                    self._attempt(kind, self._files, server, client, scale.large_mebibytes, 1, "_large")
        shutil.rmtree(folder)

    def filled_store(self, kind: Kind, runs: int, wanted: set[str], suffix: str = "") -> None:
        """Search a store of so many runs, and read one long history."""
        folder = self._filled(kind, runs)
        with running(kind, folder, self.environment) as server, client_of(server, self.environment) as client:
            self._settle(server)
            if "search" in wanted:
                self._attempt(kind, self._search, kind, client, runs, suffix)
            if "history" in wanted:
                self._attempt(kind, self._history, kind, client, suffix)

    def _filled(self, kind: Kind, runs: int) -> Path:
        family = "mlflow" if kind.startswith("mlflow") else kind
        folder = self.folder / f"filled-{family}-{runs}"
        fill = FILL.get(kind)
        if fill is None or (folder / "filled").exists():
            return folder
        with running(kind, folder, self.environment):
            pass  # its first start makes the schema
        began = time.perf_counter()
        fill(folder, self._contents_of(runs))
        (folder / "filled").touch()
        self._say(f"{kind}: {runs:,} runs filled in {time.perf_counter() - began:.0f} s")
        return folder

    def _contents_of(self, runs: int) -> filling.Contents:
        if runs not in self._contents:
            self._contents[runs] = filling.contents(runs)
        return self._contents[runs]

    def _attempt(self, kind: Kind, measure: Callable[..., None], *about: Any) -> None:
        """A measure that a server cannot answer is kept as such; the others go on."""
        try:
            measure(*about)
        except RuntimeError as exc:
            self.failures.append(f"{kind}: {exc}")
            self._say(self.failures[-1])

    def _log(self, server: Server, client: Client) -> None:
        before_s = processes.cpu_s(server.pids())
        told = client.ask("log_metric", calls=self.scale.calls, check=False)
        cpu_ms = (processes.cpu_s(server.pids()) - before_s) / told["requests"] * 1e3
        self._keep(server.kind, log_ms=told["median_ms"], log_p95_ms=told["p95_ms"], log_cpu_ms=cpu_ms)
        if server.kind != "echo":
            self._keep(server.kind, log_lost=client.ask("log_metric", calls=20, check=True)["lost"])

    def _loggers(self, kind: Kind, client: Client, count: int) -> None:
        seconds, most = self.scale.logging_s, self.scale.most_points
        told = client.ask("loggers", count=count, seconds=seconds, most=most, check=kind != "echo")
        for error in told["errors"]:
            self.failures.append(f"{kind}, {count} loggers: {error}")
        figures = {"per_s": told["per_s"], "lost": told["lost"], "refused": told["refused"]}
        self._keep(kind, **{f"loggers_{count}_{name}": value for name, value in figures.items()})

    def _files(self, server: Server, client: Client, mebibytes: int, calls: int, suffix: str) -> None:
        pids = server.pids()
        processes.reset_peak(pids)
        before = processes.resident_mib(pids)
        scratch = self.folder / "files"
        scratch.mkdir()
        try:
            told = client.ask("artifact", mebibytes=mebibytes, calls=calls, folder=str(scratch))
        finally:
            shutil.rmtree(scratch)
        grown = processes.peak_mib(pids) - before
        self._keep(server.kind, **{f"up{suffix}_s": told["up_s"], f"down{suffix}_s": told["down_s"]})
        self._keep(server.kind, **{f"file_grown{suffix}_mib": grown})

    def _settle(self, server: Server) -> None:
        """What a server still does after its first answer must not be charged to the first measure."""
        if not processes.until_quiet(server.mark, patience_s=self.scale.settle_s):
            self._say(f"{server.kind}: still busy with itself after {self.scale.settle_s:g} s")

    def _weigh(self, server: Server) -> None:
        pids = server.pids()
        self._keep(
            server.kind,
            memory_mib=processes.resident_mib(pids),
            memory_shared_mib=processes.shared_mib(pids),
            processes=len(pids),
        )

    def _search(self, kind: Kind, client: Client, runs: int, suffix: str) -> None:
        known = self._contents_of(runs) if kind in FILL else None
        for name, query, truth in (
            ("top", filling.TOP, known.top() if known else None),
            ("page", filling.PAGE, known.page() if known else None),
        ):
            told = client.ask("search", experiment=str(filling.EXPERIMENT), calls=self.scale.reads, **query)
            if truth is not None and told["ids"] != truth:
                raise RuntimeError(f"{kind} finds other runs than were filled in, by {query}: {told['ids'][:3]}")
            self._keep(
                kind, **{f"{name}{suffix}_ms": told["median_ms"], f"{name}{suffix}_answer_ms": told["answer_ms"]}
            )

    def _history(self, kind: Kind, client: Client, suffix: str) -> None:
        points = filling.LONG_POINTS
        told = client.ask("history", run=filling.LONG_RUN, calls=min(3, self.scale.reads))
        if (told["points"], told["sum_of_steps"]) != (points, points * (points - 1) // 2):
            raise RuntimeError(f"{kind} gives {told['points']:,} of {points:,} points")
        self._keep(kind, **{f"history{suffix}_ms": told["median_ms"]})
        for most in CHARTS:
            told = client.ask("sampled", run=filling.LONG_RUN, points=most, calls=self.scale.reads)
            if kind in FILL and told["ends"] != [0, points - 1]:
                raise RuntimeError(f"{kind} samples steps {told['ends']}, not 0 to {points - 1}")
            self._keep(kind, **{f"chart_{most}{suffix}_ms": told["median_ms"], f"chart_{most}_points": told["points"]})

    def _keep(self, kind: Kind, **found: float) -> None:
        for name, value in found.items():
            self.figures.setdefault((name, kind), []).append(float(value))
        self._say(f"{kind}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
