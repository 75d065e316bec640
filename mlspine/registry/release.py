"""The release: everything that decides what an endpoint answers, in one directory under one hash.

    <hash>/
      MLmodel  requirements.txt  python_env.yaml  input_example.json    plain text, as MLflow reads them
      code/release_loader.py                                            how MLflow loads it
      model.pkl  transform.pkl                                          transform only if there is one
      recipe.pkl  recipe.py                                             the function or script that fits it again
      mlspine/release.json                                              the release; its digest is the hash
      mlspine/baseline.bin  mlspine/recorded.json  mlspine/files.json
      mlspine/fitted_rows.bin                                           digests of the rows it was fitted on

The hash covers `release.json`, and through the digests in it the pickles, the recipe, the baseline and the
recorded predictions. `files.json` holds the digests of the other files, which follow from the release.

A *bare* release came by an MLflow client (`bare.py`): its directory as it was logged, in `model/`, and nothing of
what ship adds. Its `model` is the digest of `files.json`, which lists all of them.

A *watched* release (`watched.py`) is of a model that answers on somebody else's server: `release.json`, `files.json`
and the baseline, and nothing that could answer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import Rebuild, parse_array, row_count, to_jsonable
from mlspine.core.errors import Corrupt, Invalid, NotFound
from mlspine.core.ids import digest_bytes, digest_file, digest_json, uuid7
from mlspine.core.types import CodeState, Columns, Release, Schema, Signature
from mlspine.registry import flavors, mlmodel, pickling
from mlspine.registry.flavors import Flavor, Outputs, Predictor

RECORDED_ROWS = 100
_RELEASE, _FILES = "mlspine/release.json", "mlspine/files.json"
_BASELINE, _RECORDED = "mlspine/baseline.bin", "mlspine/recorded.json"
_MODEL, _TRANSFORM = "model.pkl", "transform.pkl"
FITTED_ROWS = "mlspine/fitted_rows.bin"
_RECIPES = {"function": "recipe.pkl", "script": "recipe.py"}
_LOADER = f"code/{mlmodel.LOADER}.py"
BARE = "bare"  # the setting that marks a bare release
BARE_MODEL = "model"
WATCHED = "watched"  # the setting, and the flavor, of a release whose model answers on somebody else's server


class Parts(NamedTuple):
    """The bytes of a release. `transform` and `recipe` are empty when there is none."""

    model: bytes
    transform: bytes
    baseline: bytes
    recorded: bytes
    recipe: bytes = b""
    fitted_rows: bytes = b""


class Built(NamedTuple):
    """A release on disk. `reused` says it was there already."""

    release: Release
    hash: str
    path: Path
    reused: bool


def build_release(
    releases_dir: Path,
    parts: Parts,
    *,
    signature: Signature,
    environment: dict[str, str],
    data: str,
    code: CodeState,
    settings: dict[str, Any],
    thresholds: dict[str, Any],
    model_class: str,
) -> Built:
    """Write a release under its hash, or find that it is there already.

    Whole or absent: files are written and synced in a folder beside it, which is then renamed.
    """
    release = Release(
        model=digest_bytes(parts.model),
        transform=digest_bytes(parts.transform) if parts.transform else "",
        signature=signature,
        environment=environment,
        data=data,
        code=code,
        settings=settings,
        baseline=digest_bytes(parts.baseline),
        recorded=digest_bytes(parts.recorded),
        thresholds=thresholds,
    )
    name = release_hash(release)
    target = releases_dir / name
    if target.exists():
        read_release(target)
        return Built(release, name, target, reused=True)
    _write(target, _contents(release, name, parts, model_class))
    return Built(release, name, target, reused=False)


def release_hash(release: Release) -> str:
    """BLAKE3 of the release's canonical JSON, 64 hexadecimal digits."""
    return digest_json(release)


def read_release(path: Path) -> Release:
    """The release at `path`, every file checked against its digest.

    Raises NotFound when there is none, Corrupt naming each file that is missing, changed or unreadable.
    """
    try:
        release = msgspec.json.decode((path / _RELEASE).read_bytes(), type=Release)
        others = msgspec.json.decode((path / _FILES).read_bytes(), type=dict[str, str])
    except FileNotFoundError as exc:
        if not path.is_dir():
            raise NotFound(f"no release at {path}", hint="ship the model again: mlspine.ship(...)") from exc
        raise _corrupt(path, [f"{Path(exc.filename).relative_to(path)}: missing"]) from exc
    except msgspec.MsgspecError as exc:
        raise _corrupt(path, [f"{_RELEASE} or {_FILES}: not readable ({exc})"]) from exc
    wanted = {**others, **covered_files(release)}
    if is_bare(release) and digest_json(others) != release.model:
        raise _corrupt(path, [f"{_FILES}: changed"])
    wrong = [f"{name}: {problem}" for name, digest in wanted.items() if (problem := _problem(path / name, digest))]
    if wrong:
        raise _corrupt(path, wrong)
    return release


def covered_files(release: Release) -> dict[str, str]:
    """Name and digest of each file whose content the hash vouches for; the others follow from them."""
    if is_bare(release):
        return {}
    if is_watched(release):
        return {_BASELINE: release.baseline}
    covered = {_MODEL: release.model, _BASELINE: release.baseline, _RECORDED: release.recorded}
    if release.transform:
        covered[_TRANSFORM] = release.transform
    if recipe := _recipe_file(release):
        covered[recipe] = release.settings["recipe"]["digest"]
    return covered


def is_bare(release: Release) -> bool:
    """Whether it lacks what ship adds."""
    return bool(release.settings.get(BARE))


def is_watched(release: Release) -> bool:
    """Whether its model answers on somebody else's server, so that there is only what its rows are judged by."""
    return bool(release.settings.get(WATCHED))


def load_predictor(path: Path, release: Release, *, form: Literal["frame", "matrix"] = "frame") -> Predictor:
    """The call from columns to outputs, on objects unpickled for this caller alone.

    form: "frame" rebuilds the container the model was fitted with; "matrix" hands it a float64 matrix, which
    is cheaper where column names and types do not matter. Raises Invalid when the matrix form is not
    applicable, MissingExtra naming a module that is not installed.
    """
    flavor = flavor_of(release)
    if form == "matrix" and release.transform:
        raise Invalid("a release with a transform takes raw rows", hint='use form="frame"')
    model = load_model(path, release)
    flavors.single_threaded(model)
    if form == "matrix":
        return flavors.ask_matrix(model, flavor, release.signature.inputs)
    transform = load_transform(path, release)
    return predictor(model, flavor, release.signature.inputs, transform)


def predictor(model: Any, flavor: Flavor, inputs: Schema, transform: Callable[[Any], Any] | None = None) -> Predictor:
    """The call from columns to outputs of a model at hand: rebuild, transform, ask."""
    rebuild, ask = Rebuild(inputs), flavors.ask(model, flavor)
    if transform is None:
        return lambda columns: ask(rebuild(columns))
    return lambda columns: ask(transform(rebuild(columns)))


def load_model(path: Path, release: Release) -> Any:
    """The model alone, a fresh copy."""
    if is_bare(release):
        raise Invalid(
            f"release {path.name[:12]} came by an MLflow client and was not prepared for serving",
            hint="fill it in: mlspine ship models:/NAME/VERSION --data ROWS",
        )
    if is_watched(release):
        raise Invalid(
            f"release {path.name[:12]} holds no model: somebody else's server answers",
            hint="to answer from here: mlspine ship FILE --name NAME --data ROWS",
        )
    flavor = release.settings.get("flavor", "")
    return pickling.load(
        _read(path, _MODEL, release.model),
        what=f"{flavor} model",
        requirements=str(path / "requirements.txt"),
    )


def load_transform(path: Path, release: Release) -> Callable[[Any], Any] | None:
    """The transform, None when the release has none."""
    if not release.transform:
        return None
    transform: Callable[[Any], Any] = pickling.load(
        _read(path, _TRANSFORM, release.transform),
        what="transform",
        requirements=str(path / "requirements.txt"),
    )
    return transform


def flavor_of(release: Release) -> Flavor:
    """How to ask the model of a release."""
    return Flavor(
        name=release.settings["flavor"],
        task=release.signature.task,
        classes=release.signature.classes,
        method=release.settings["method"],
    )


def read_baseline_bytes(path: Path, release: Release) -> bytes:
    """The baseline as it was stored; `registry.baseline.read_baseline` reads it. NotFound for a bare release."""
    if is_bare(release):
        raise NotFound(
            f"release {path.name[:12]} came by an MLflow client and has no baseline",
            hint="fill it in: mlspine ship models:/NAME/VERSION --data ROWS",
        )
    return _read(path, _BASELINE, release.baseline)


def read_recipe_bytes(path: Path, release: Release) -> bytes:
    """The function or script that fits the model again; `registry.refit` runs it. NotFound when there is none."""
    name = _recipe_file(release)
    if not name:
        raise NotFound(f"release {path.name[:12]} carries no recipe of its own", hint="mlspine.ship(..., recipe=fit)")
    return _read(path, name, release.settings["recipe"]["digest"])


def read_fitted_rows(path: Path) -> np.ndarray[Any, np.dtype[np.uint64]] | None:
    """Digests of the rows the model was fitted on; None for a release that does not carry them."""
    listed = msgspec.json.decode((path / _FILES).read_bytes(), type=dict[str, str])
    if FITTED_ROWS not in listed:
        return None
    return np.frombuffer(_read(path, FITTED_ROWS, listed[FITTED_ROWS]), dtype="<u8").astype(np.uint64)


def _recipe_file(release: Release) -> str:
    return _RECIPES.get(release.settings.get("recipe", {}).get("kind", ""), "")


# ---------------------------------------------------------------- recorded predictions


def choose_recorded(columns: Columns) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Positions of up to RECORDED_ROWS rows, evenly spread; none with an infinity, which JSON cannot say."""
    finite = np.ones(row_count(columns), dtype=np.bool_)
    for values in columns.values():
        if values.dtype.kind == "f":
            infinite = np.isinf(values)
            finite &= ~(infinite if infinite.ndim == 1 else infinite.any(axis=1))
    positions = np.flatnonzero(finite)
    spread = np.unique(np.linspace(0, len(positions) - 1, min(RECORDED_ROWS, len(positions))).astype(np.int64))
    return positions[spread]


class _Recorded(msgspec.Struct, forbid_unknown_fields=True):
    columns: dict[str, list[Any]]
    prediction: list[Any]
    prediction_dtype: str
    probabilities: list[list[float | None]] | None


def encode_recorded(columns: Columns, outputs: Outputs, inputs: Schema) -> bytes:
    """Rows and what the model answered for them, as JSON that reads back to the same floats."""
    shares = outputs.probabilities
    document = _Recorded(
        columns={field.name: to_jsonable(columns[field.name], field) for field in inputs.fields},
        prediction=outputs.prediction.tolist(),
        prediction_dtype=str(outputs.prediction.dtype),
        probabilities=None if shares is None else shares.tolist(),
    )
    return msgspec.json.encode(document)


def read_recorded(path: Path, release: Release) -> tuple[Columns, Outputs]:
    """The recorded rows (up to 100) and the outputs computed for them at ship."""
    document = msgspec.json.decode(_read(path, _RECORDED, release.recorded), type=_Recorded)
    inputs = release.signature.inputs
    columns = {field.name: parse_array(document.columns[field.name], field) for field in inputs.fields}
    return columns, Outputs(_predictions(document), _probabilities(document))


def _predictions(document: _Recorded) -> np.ndarray[Any, np.dtype[Any]]:
    dtype = np.dtype(document.prediction_dtype)
    if dtype.kind == "O":
        values = np.empty(len(document.prediction), dtype=object)
        values[:] = document.prediction
        return values
    return np.array(document.prediction, dtype=dtype)


def _probabilities(document: _Recorded) -> np.ndarray[Any, np.dtype[Any]] | None:
    if document.probabilities is None:
        return None
    width = len(document.probabilities[0]) if document.probabilities else 0
    return np.array(document.probabilities, dtype=np.float64).reshape(-1, width)


# ---------------------------------------------------------------- files


def _contents(release: Release, name: str, parts: Parts, model_class: str) -> dict[str, bytes]:
    plain = {
        "MLmodel": mlmodel.mlmodel_text(release, name, model_class=model_class).encode(),
        "requirements.txt": mlmodel.requirements_text(release.environment).encode(),
        "python_env.yaml": mlmodel.python_env_text(release.environment).encode(),
        "input_example.json": _input_example(parts.recorded, release.signature.inputs),
        _LOADER: (resources.files("mlspine.registry") / f"{mlmodel.LOADER}.py").read_bytes(),
    }
    if parts.fitted_rows:
        plain[FITTED_ROWS] = parts.fitted_rows
    pickles = {_MODEL: parts.model} | ({_TRANSFORM: parts.transform} if parts.transform else {})
    if recipe := _recipe_file(release):
        pickles[recipe] = parts.recipe
    digests = {each: digest_bytes(content) for each, content in plain.items()}
    return {
        **plain,
        **pickles,
        _BASELINE: parts.baseline,
        _RECORDED: parts.recorded,
        _FILES: msgspec.json.encode(digests, order="sorted"),
        _RELEASE: msgspec.json.encode(release, order="sorted"),
    }


def _input_example(recorded: bytes, inputs: Schema) -> bytes:
    """The first recorded row without nulls, else the first, as pandas' "split" JSON."""
    columns = msgspec.json.decode(recorded, type=_Recorded).columns
    rows = list(zip(*(columns[name] for name in inputs.names), strict=True))
    shown = next((row for row in rows if None not in row), rows[0])
    names: list[str | int] = [int(name) if inputs.integer_names else name for name in inputs.names]
    return msgspec.json.encode({"columns": names, "data": [shown]})


def write_release(draft: Path, release: Release, others: Mapping[str, str]) -> Path:
    """Give a folder with a release's files its two documents and its hash as its name, beside where it is.

    others: the digest of each file the release does not name. Returns where it is now.
    """
    target = draft.parent / release_hash(release)
    (draft / "mlspine").mkdir(exist_ok=True)
    for name, document in ((_FILES, others), (_RELEASE, release)):
        with (draft / name).open("wb") as handle:
            handle.write(msgspec.json.encode(document, order="sorted"))
            handle.flush()
            os.fsync(handle.fileno())
    _sync(draft / "mlspine")
    _sync(draft)
    if target.is_dir():
        read_release(target)
        shutil.rmtree(draft)
        return target
    _rename(draft, target)
    _sync(target.parent)
    return target


def _write(target: Path, contents: Mapping[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f".draft-{uuid7()}"
    try:
        for name, content in contents.items():
            file = draft / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
        for folder in (draft / "code", draft / "mlspine", draft):
            _sync(folder)
        _rename(draft, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _rename(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        # Somebody shipped the same release in this moment: same hash, same content.
        if not target.is_dir():
            raise
        read_release(target)


def _sync(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there, and renames are durable without it
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path, name: str, digest: str) -> bytes:
    """The bytes that are used are the bytes that were checked."""
    try:
        data = (path / name).read_bytes()
    except FileNotFoundError as exc:
        raise _corrupt(path, [f"{name}: missing"]) from exc
    if digest_bytes(data) != digest:
        raise _corrupt(path, [f"{name}: changed"])
    return data


def _problem(file: Path, digest: str) -> str:
    if not file.is_file():
        return "missing"
    return "" if digest_file(file) == digest else "changed"


def _corrupt(path: Path, wrong: list[str]) -> Corrupt:
    first = wrong[0].partition(":")[0]
    return Corrupt(
        f"release {path.name[:12]} is damaged: {first}",
        hint=f"restore {path} from a copy, or ship the model again",
        details=wrong,
    )
