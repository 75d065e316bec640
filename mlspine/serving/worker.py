"""A model in a process of its own: for what is slow, untrusted, or has taken the serving process down before.

Both ends are here. `Worker` lives in the inference process and speaks, one command at a time, to
`python -m mlspine.serving.worker`, which it starts, and starts again when it dies or does not answer in time.
A process is not a sandbox: it isolates crashes and delays, not intentions.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine
from typing import Any

import msgspec
import numpy as np

from mlspine.core import messages
from mlspine.core.errors import Corrupt, MlspineError, Unavailable
from mlspine.core.ids import SHORT_HASH
from mlspine.core.logs import configure
from mlspine.core.plan import PlannedRelease, Proof
from mlspine.core.types import Columns
from mlspine.registry.flavors import Outputs
from mlspine.serving import own_environment, runtime
from mlspine.serving.refusing import ModelError

log = logging.getLogger(__name__)

DEADLINE_S = 30.0
LOAD_TIMEOUT_S = 240.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
LONGEST_WAIT_S = 0.5  # for the next start of a process that keeps ending; callers are told sooner than that
WATCH_EVERY_S = 0.25
_PR_SET_PDEATHSIG = 1


class Worker:
    """The near end of a model process: load, predict, health, and its restarts."""

    def __init__(self, planned: PlannedRelease, *, deadline_s: float = DEADLINE_S) -> None:
        self._planned = planned
        self._deadline_s = deadline_s
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._turn = asyncio.Lock()  # one command at a time
        self._starting: asyncio.Task[Proof] | None = None
        self._stopped = False
        self._pause_s = FIRST_PAUSE_S
        self._next_start_at = 0.0
        self._watching: asyncio.Task[None] | None = None
        self._too_large = 0  # bytes held when the process was ended for them
        self.restarts = 0

    @property
    def pid(self) -> int:
        """The process id, 0 while there is none."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    async def start(self) -> Proof:
        """Start the process, load the release in it and prove it; raises what `runtime.load` raises."""
        return await self._begin(self._start())

    async def predict(self, columns: Columns) -> Outputs:
        """Call the model. A process that died meanwhile is started again and the rows are sent once more.

        Raises ModelError for what the model itself raised, Unavailable beyond the deadline, when the process cannot
        be kept alive, and when it held more memory than it may: those rows are not sent twice.
        """
        arguments = {"columns": pack_columns(columns)}
        try:
            async with asyncio.timeout(self._deadline_s), self._turn:
                try:
                    reply = await self._ask("predict", **arguments)
                except EOFError:
                    if self._too_large:
                        raise
                    log.warning("model process died in a call, trying once more", extra=self._names())
                    reply = await self._ask("predict", **arguments)
        except TimeoutError as exc:
            raise Unavailable(
                f"the model did not answer within {self._deadline_s:g} s", hint="send fewer rows at once"
            ) from exc
        except EOFError as exc:
            if self._too_large:
                error = self._memory_error()
                self._begin(self._restart())
                raise error from exc
            raise Unavailable(
                "the process of this model died twice while answering",
                hint="bring back the release before it: mlspine rollback NAME",
            ) from exc
        return unpack_outputs(reply)

    async def healthy(self) -> bool:
        """Whether the process answers and still reproduces its first recorded row; True while it is busy,
        since a call has a deadline of its own."""
        if self._turn.locked():
            return self.pid > 0 and (self._starting is None or self._starting.done())
        try:
            async with asyncio.timeout(self._deadline_s), self._turn:
                return bool(await self._ask("health"))
        except (TimeoutError, EOFError, MlspineError, ModelError):
            return False

    async def stop(self) -> None:
        """End the process for good; whoever still waits for an answer is told so."""
        self._stopped = True
        for task in (self._starting, self._watching):
            if task is not None:
                task.cancel()
        writer = self._writer
        self._kill()
        if writer is not None:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    # ------------------------------------------------------------ inside

    async def _start(self) -> Proof:
        self._kill()  # what is left of the one before: its connection would stay open for nobody
        self._too_large = 0
        python, variables = sys.executable, dict[str, str]()
        if self._planned.own_env:
            python, variables = await asyncio.to_thread(_own_interpreter, self._planned)
        near, far = socket.socketpair()
        with far:
            # Made from the loop's own thread: Linux ends a child when the thread that made it ends.
            self._process = subprocess.Popen(
                [python, "-m", "mlspine.serving.worker", "--socket", str(far.fileno())],
                pass_fds=[far.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | variables | {"MLSPINE_PARENT_PID": str(os.getpid())},
            )
        self._reader, self._writer = await asyncio.open_connection(sock=near, limit=2**20)
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                proof = await self._exchange("load", planned=msgspec.to_builtins(self._planned))
        except (EOFError, TimeoutError) as exc:
            self._kill()
            raise Unavailable(
                f"the process of release {self._planned.release_hash[:SHORT_HASH]} ended while loading it",
                hint="its last words are in the logs run/inference-*.log of the workspace",
            ) from exc
        except (MlspineError, asyncio.CancelledError):
            self._kill()
            raise
        if self._planned.worker_memory_bytes:
            held = held_bytes(self.pid)
            if held > self._planned.worker_memory_bytes:
                self._too_large = held
                self._kill()
                raise self._memory_error()
            if self._watching is not None:
                self._watching.cancel()
            self._watching = asyncio.get_running_loop().create_task(self._watch_memory())
        return msgspec.convert(proof, type=Proof)

    async def _watch_memory(self) -> None:
        """End the process when it holds more than it may, and start it again at once."""
        bound = self._planned.worker_memory_bytes
        while self.pid:
            held = held_bytes(self.pid)
            if held > bound:
                log.error(
                    "model process holds more memory than it may and is started again",
                    extra=self._names() | {"held_bytes": held, "bound_bytes": bound},
                )
                self._too_large = held
                self._kill()  # a call under way ends by this, and starts it again
                if not self._turn.locked():
                    self._begin(self._restart())
                return
            await asyncio.sleep(WATCH_EVERY_S)

    def _memory_error(self) -> Unavailable:
        held, may = self._too_large / 1e6, self._planned.worker_memory_bytes / 1e6
        return Unavailable(
            f"the process of this model held {held:,.0f} MB, more than the {may:,.0f} MB it may",
            hint="send fewer rows at once, or allow more: serving.worker_memory_bytes in mlspine.toml",
        )

    async def _ask(self, op: str, **arguments: Any) -> Any:
        await self._alive()
        try:
            return await self._exchange(op, **arguments)
        except (EOFError, asyncio.CancelledError):
            self._kill()  # a late answer would be taken for that of the next command
            raise

    async def _alive(self) -> None:
        """Wait for a process with the release loaded, starting one if there is none.

        Starting goes on when whoever waited for it has run out of time: loading may outlast a deadline.
        """
        if self._stopped:
            raise Unavailable("this release is no longer served", hint="send again")
        starting = self._starting
        if starting is None or (starting.done() and not self.pid):
            wait_s = self._next_start_at - time.monotonic()
            if wait_s > LONGEST_WAIT_S:
                raise Unavailable(
                    f"the process of this model keeps ending and is started again in {wait_s:.1f} s",
                    hint="bring back the release before it: mlspine rollback NAME",
                )
            starting = self._begin(self._restart())
        if not starting.done():
            await asyncio.shield(starting)

    def _begin(self, starting: Coroutine[Any, Any, Proof]) -> asyncio.Task[Proof]:
        task = self._starting = asyncio.get_running_loop().create_task(starting)
        # Whoever waits for it is told; a failure nobody waited for is told to the next who asks.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _restart(self) -> Proof:
        wait_s = self._next_start_at - time.monotonic()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        if time.monotonic() - self._next_start_at > LONGEST_PAUSE_S:
            self._pause_s = FIRST_PAUSE_S
        self._next_start_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.restarts += 1
        log.warning("model process is started again", extra=self._names() | {"restarts": self.restarts})
        return await self._start()

    async def _exchange(self, op: str, **arguments: Any) -> Any:
        assert self._reader is not None
        assert self._writer is not None
        try:
            self._writer.write(messages.encode({"op": op, **arguments}))
            await self._writer.drain()
        except (ConnectionError, OSError) as exc:
            raise EOFError("the model process is gone") from exc
        reply = await messages.read(self._reader)
        if "model_error" in reply:
            raise ModelError(reply["model_error"])
        return messages.unwrap(reply)

    def _kill(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _names(self) -> dict[str, Any]:
        return {"release": self._planned.release_hash[:SHORT_HASH], "version": self._planned.version}


def _own_interpreter(planned: PlannedRelease) -> tuple[str, dict[str, str]]:
    lock = runtime.read(planned).environment
    own_environment.build(lock)
    return own_environment.launch(lock)


def held_bytes(pid: int) -> int:
    """Resident memory of another process, 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


# ---------------------------------------------------------------- what crosses


def pack_columns(columns: Columns) -> list[list[Any]]:
    """Columns as [name, dtype, bytes or values, shape]: raw bytes wherever numpy has them."""
    return [[name, *_pack(values)] for name, values in columns.items()]


def unpack_columns(packed: list[list[Any]]) -> Columns:
    """The columns back.

    >>> unpack_columns(pack_columns({"a": np.array([1.5, 2.0])}))
    {'a': array([1.5, 2. ])}
    """
    return {name: _unpack(rest) for name, *rest in packed}


def pack_outputs(outputs: Outputs) -> dict[str, Any]:
    """Outputs as plain values."""
    probabilities = None if outputs.probabilities is None else _pack(outputs.probabilities)
    return {"prediction": _pack(outputs.prediction), "probabilities": probabilities}


def unpack_outputs(packed: dict[str, Any]) -> Outputs:
    """The outputs back."""
    probabilities = packed["probabilities"]
    return Outputs(
        prediction=_unpack(packed["prediction"]),
        probabilities=None if probabilities is None else _unpack(probabilities),
    )


def _pack(values: np.ndarray[Any, Any]) -> list[Any]:
    if values.dtype.kind in "biufM":
        return [values.dtype.str, np.ascontiguousarray(values).tobytes(), list(values.shape)]
    return ["O", values.tolist(), list(values.shape)]


def _unpack(packed: list[Any]) -> np.ndarray[Any, Any]:
    dtype, data, shape = packed
    if dtype != "O":
        return np.frombuffer(bytearray(data), dtype=dtype).reshape(shape)
    values = np.empty(shape, dtype=object)
    values[...] = np.array(data, dtype=object).reshape(shape) if len(shape) > 1 else data
    return values


# ---------------------------------------------------------------- the far end


class ModelProcess:
    """The far end: answers one command after another until the other side closes."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._loaded: runtime.LoadedRelease | None = None

    def run(self) -> None:
        while True:
            try:
                command = messages.receive(self._peer)
            except (EOFError, ConnectionError):
                return
            messages.send(self._peer, self._answer(command))

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        try:
            match command["op"]:
                case "load":
                    return {"result": self._load(msgspec.convert(command["planned"], type=PlannedRelease))}
                case "predict":
                    return self._predict(unpack_columns(command["columns"]))
                case _:
                    return {"result": self._loaded is not None and runtime.still_reproduces(self._loaded)}
        except MlspineError as exc:
            return messages.failure(exc)

    def _load(self, planned: PlannedRelease) -> Any:
        try:
            self._loaded, proof = runtime.load(planned)
        except MlspineError:
            raise
        except Exception as exc:
            raise Corrupt(
                f"release {planned.release_hash[:SHORT_HASH]} cannot be loaded: {type(exc).__name__}: {exc}",
                hint="the versions it was shipped with are in its requirements.txt",
            ) from exc
        return msgspec.to_builtins(msgspec.structs.replace(proof, placement="worker"))

    def _predict(self, columns: Columns) -> dict[str, Any]:
        assert self._loaded is not None
        try:
            return {"result": pack_outputs(self._loaded.predict(columns))}
        except MlspineError:
            raise
        except Exception as exc:  # noqa: BLE001 (a model may raise anything; it is told to the caller)
            return {"model_error": f"{type(exc).__name__}: {exc}"}


def die_with_parent() -> None:
    """Have Linux end this process when the one that started it ends; elsewhere the closed socket does."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = os.environ.get("MLSPINE_PARENT_PID")
    if parent is not None and os.getppid() != int(parent):
        sys.exit(0)  # it ended before we asked


def main() -> int:
    """Entry point of the model process."""
    parser = argparse.ArgumentParser(prog="python -m mlspine.serving.worker", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the socket to the parent")
    options = parser.parse_args()
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal is for the parent to decide
    configure(process="worker")
    with socket.socket(fileno=options.socket) as peer:
        ModelProcess(peer).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
