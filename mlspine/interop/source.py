"""Where experiments, runs and models come from when they come from MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from mlspine.core.errors import MlspineError
from mlspine.core.types import Struct
from mlspine.tracking.experiment import Experiment
from mlspine.tracking.logged_model import MODEL_STATUSES, LoggedModel, ModelStatus
from mlspine.tracking.run import Point, Run

UNFINISHED = ("RUNNING", "SCHEDULED")  # statuses of runs that may still change


class NotBrought(MlspineError):
    """Something that stays where it is, with the reason; the rest is brought all the same."""

    code = "not_brought"


class File(Struct, frozen=True, kw_only=True):
    """A file of a run or a logged model. path: below its artifact uri."""

    path: str
    size_bytes: int


class RegisteredVersion(Struct, frozen=True, kw_only=True):
    """A version of a registered model. location: where its files are, once `source` is looked up."""

    version: int
    created_at_ms: int
    updated_at_ms: int
    stage: str = "None"
    description: str = ""
    source: str = ""
    location: str = ""
    run_id: str = ""
    run_link: str = ""
    user_id: str = ""
    status: str = "READY"
    status_message: str = ""
    model_id: str = ""
    tags: dict[str, str] = {}


class RegisteredModel(Struct, frozen=True, kw_only=True):
    """A registered model with its versions, oldest first. newest: the greatest number ever given, as far as known."""

    name: str
    created_at_ms: int
    updated_at_ms: int
    description: str = ""
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    versions: tuple[RegisteredVersion, ...] = ()
    newest: int = 0


class Source(Protocol):
    """A store of MLflow, read only. `name` says which one it is, without what is secret in its address."""

    name: str

    def experiments(self) -> Iterator[Experiment]:
        """All of them, deleted ones too."""
        ...

    def count_runs(self, experiment_id: int) -> int: ...

    def runs(self, experiment_id: int) -> Iterator[Run]:
        """All runs, deleted ones too, oldest first; `metrics` holds at least one point of each key."""
        ...

    def whole(self, run: Run) -> Run:
        """The run with what a listing leaves out."""
        ...

    def points(self, run: Run) -> Iterator[Sequence[Point]]:
        """The whole history of each metric, page by page."""
        ...

    def logged_models(self, experiment_id: int) -> Iterator[LoggedModel]: ...

    def registered_models(self) -> Iterator[RegisteredModel]: ...

    def files(self, owner: Run | LoggedModel) -> Iterator[File]:
        """The files of a run or logged model; raises NotBrought with the reason when they are out of reach."""
        ...

    def open(self, owner: Run | LoggedModel, path: str) -> AbstractContextManager[BinaryIO]:
        """One of them; NotFound when it went meanwhile."""
        ...

    def missing(self) -> Sequence[str]:
        """What this store holds and does not hand out, with the reason."""
        ...

    def close(self) -> None: ...


def encode_status(status: str) -> str:
    """The wire's word for the status of a logged model.

    >>> encode_status("READY")
    'LOGGED_MODEL_READY'
    """
    return f"LOGGED_MODEL_{status}"


def decode_status(text: str) -> ModelStatus:
    """
    >>> decode_status("LOGGED_MODEL_UPLOAD_FAILED"), decode_status("")
    ('UPLOAD_FAILED', 'PENDING')
    """
    said = text.removeprefix("LOGGED_MODEL_")
    return next((status for status in MODEL_STATUSES if status == said), "PENDING")
