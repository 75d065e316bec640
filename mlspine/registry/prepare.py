"""From a fitted model and its rows to a release on disk: the heavy, local half of `ship`."""

from __future__ import annotations

import time as clocks
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlspine.core.columns import Rebuild, row_count, take
from mlspine.core.errors import Invalid
from mlspine.core.ids import check_name, digest_bytes
from mlspine.core.types import Columns, DatasetVersion, Metric, Signature, Struct, Tier
from mlspine.data.manifest import table_digest
from mlspine.data.schema import ColumnSummary, summarise
from mlspine.registry import capture, evaluate, pickling
from mlspine.registry.evaluate import Evaluation
from mlspine.registry.facts import Found, Said, captured, missing
from mlspine.registry.files import ModelFile, load_model_file
from mlspine.registry.fitted_rows import input_digests
from mlspine.registry.flavors import Flavor, Outputs, Predictor, ask, identify, score_of, single_threaded
from mlspine.registry.importance import influence
from mlspine.registry.nulls import with_accepted_nulls
from mlspine.registry.onnx_model import onnx_bytes
from mlspine.registry.pickling import Pickled
from mlspine.registry.recipe import Written, write_recipe
from mlspine.registry.release import (
    Built,
    Parts,
    build_release,
    choose_recorded,
    encode_recorded,
    predictor,
)
from mlspine.registry.rows import Table, Transform, read_holdout, read_table
from mlspine.registry.tallied import tallied
from mlspine.stats.baseline import Baseline, encode_baseline, take_baseline
from mlspine.stats.profile import kind_of
from mlspine.tracking.code import Code, code_state

Array = np.ndarray[Any, np.dtype[Any]]
TIERS: tuple[Tier, ...] = ("low", "medium", "high")  # from the mildest
BASELINE_ROWS = 1_000_000  # of more rows than this an even sample is profiled
LOOKED_AT_ROWS = 1_000  # rows a model is asked for to find out what it is
ASKED_ALONE_ROWS = 10  # of them, one by one
RELATIVE, ABSOLUTE = 1e-4, 1e-6  # float32 models round differently in batches of other sizes


class Prepared(Struct, frozen=True, kw_only=True):
    """A release on disk and the facts about it, ready to be registered. All of it is JSON."""

    name: str
    release_hash: str
    flavor: str
    dataset: DatasetVersion
    columns: tuple[ColumnSummary, ...]
    metric: Metric
    owner: str
    owner_assumed: bool
    tier: Tier
    message: str
    origin: str  # "in-process", or the file it came from
    file_digest: str  # of that file; "" in-process
    captured: dict[str, Any]
    missing: tuple[str, ...]
    run_id: str = ""  # of the run it was shipped in


class Answering(NamedTuple):
    """A model that was asked and answered: what it is, and the call from columns to outputs."""

    model: Any
    transform: Transform | None
    flavor: Flavor
    predict: Predictor


def prepare(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    name: str,
    releases_dir: Path,
    holdout: tuple[Any, Any] | None = None,
    transform: Callable[[Any], Any] | None = None,
    time: Any = None,
    key: Any = None,
    source: str | None = None,
    labels: str | None = None,
    recipe: Any = None,
    owner: str | None = None,
    tier: Tier = "low",
    trust: bool = False,
    message: str | None = None,
    origin: str = "",
    code: Code | None = None,
    environment: dict[str, str] | None = None,
) -> Prepared:
    """Evaluate a model honestly, take its baseline, and write the release.

    Touches no store. Arguments as in `mlspine.ship`; `model` may also be a `ModelFile`, or the path of one
    (then `trust` vouches for it), and `recipe` the one an earlier release carries. code, environment: the code
    behind the model and an earlier lock, where it is fitted again rather than shipped by its author. Raises
    Invalid for what could not be served as it was fitted: an unfitted model, answers that depend on the other
    rows of the batch, objects that cannot be stored, columns that collide with the log's own, a holdout that
    was trained on.
    """
    check_name(name)
    if tier not in TIERS:
        raise Invalid(f"tier {tier!r} is none of {', '.join(TIERS)}", hint='e.g. tier="low"')
    model, transform, origin, file_digest = _opened(model, transform, origin, trust)
    table = read_table(model, transform, X, y, time=time, key=key)
    answering = _asked(model, transform, table)
    table = table._replace(inputs=with_accepted_nulls(answering.predict, table.input_columns, table.inputs))
    held = read_holdout(holdout, table) if holdout is not None else None
    began = clocks.perf_counter()
    evaluation = _evaluate(answering, table, held)
    evaluated_s = clocks.perf_counter() - began
    importance = influence(answering.predict, table.input_columns, answering.flavor.task)
    baseline = _baseline(answering.flavor, table, held, evaluation, importance)
    stored = _store(answering, table)
    code = code or code_state()
    digest = table_digest(table.with_labels)
    written = write_recipe(recipe, model, transform=digest_bytes(stored.transform.data) if stored.transform else "")
    lock = _lock(table, stored, environment)
    built = _build(releases_dir, answering, table, stored, written, digest, code.state, lock, baseline)
    assumed_owner = "" if owner else capture.git_owner()
    said = Said(
        owner=owner or assumed_owner,
        owner_assumed=bool(assumed_owner),
        source=source or "",
        labels=labels or "",
        origin=origin,
    )
    found = Found(
        table=table,
        transformed=transform is not None,
        seeds=capture.seeds(model),
        code=code,
        built=built,
        evaluation=evaluation,
        evaluated_s=evaluated_s,
        baseline=baseline,
        recipe=written,
        left_behind=stored.model.left_behind + (stored.transform.left_behind if stored.transform else ()),
    )
    return Prepared(
        name=name,
        release_hash=built.hash,
        flavor=answering.flavor.name,
        dataset=DatasetVersion(
            digest=digest, rows=row_count(table.columns), columns=len(table.columns), source=said.source
        ),
        columns=summarise(table.columns, table.schema),
        metric=evaluation.metrics[0],
        owner=said.owner,
        owner_assumed=said.owner_assumed,
        tier=tier,
        message=message or "",
        origin=origin or "in-process",
        file_digest=file_digest,
        captured=captured(found, said),
        missing=missing(found, said),
    )


def _opened(
    model: Any, transform: Transform | None, origin: str, trust: bool
) -> tuple[Any, Transform | None, str, str]:
    if isinstance(model, str | Path):
        model = load_model_file(model, trust=trust)
    if not isinstance(model, ModelFile):
        return onnx_bytes(model), transform, origin, ""
    if model.transform is not None and transform is not None:
        raise Invalid(f"{model.origin} brings a transform of its own", hint="leave out transform=")
    return model.model, transform or model.transform, origin or model.origin, model.digest


def _asked(model: Any, transform: Transform | None, table: Table) -> Answering:
    """Find out what the model is, and that its answer for a row does not depend on the rows sent with it."""
    columns, rows = table.input_columns, row_count(table.columns)
    spread = np.unique(np.linspace(0, rows - 1, min(rows, LOOKED_AT_ROWS)).astype(np.int64))
    sample = take(columns, spread)
    prepared = _transformed(transform, Rebuild(table.inputs)(sample), len(spread))
    labels = table.labels
    flavor = identify(model, prepared, labels)
    predict = predictor(model, flavor, table.inputs, transform)
    together = ask(model, flavor)(prepared)
    if len(together.prediction) != len(spread):
        raise Invalid(
            f"the model gives {len(together.prediction)} predictions for {len(spread)} rows",
            hint="it must answer every row it is sent, in order",
        )
    few = np.unique(np.linspace(0, len(spread) - 1, min(len(spread), ASKED_ALONE_ROWS)).astype(np.int64))
    apart = _one_by_one(predict, sample, few)
    wrong = differing(apart, _at(together, few))
    if wrong:
        raise Invalid(
            f"the answer for a row depends on the rows sent with it, or on chance: {wrong} of {len(few)} rows"
            " change when asked alone",
            hint="learn means, categories and encodings when fitting, e.g. in a Pipeline, not from the batch",
        )
    return Answering(model, transform, flavor, predict)


def _transformed(transform: Transform | None, rows: Any, count: int) -> Any:
    if transform is None:
        return rows
    try:
        prepared = transform(rows)
    except Exception as exc:
        raise Invalid(
            f"the transform fails on X: {type(exc).__name__}: {str(exc)[:300]}",
            hint="with transform=, X is raw: the rows as callers will send them",
        ) from exc
    shape = getattr(prepared, "shape", None)
    length = shape[0] if shape else len(prepared)
    if length != count:
        raise Invalid(
            f"the transform makes {length} rows of {count}",
            hint="it must keep every row, in order: drop rows before",
        )
    return prepared


def _one_by_one(predict: Predictor, sample: Columns, at: Array) -> Outputs:
    answers = [_asked_alone(predict, take(sample, slice(int(i), int(i) + 1))) for i in at]
    shares = [each.probabilities for each in answers if each.probabilities is not None]
    prediction = np.concatenate([each.prediction for each in answers])
    return Outputs(prediction, np.concatenate(shares) if shares else None)


def _asked_alone(predict: Predictor, row: Columns) -> Outputs:
    try:
        outputs = predict(row)
    except Exception as exc:
        raise Invalid(
            f"the model answers X, but not one of its rows alone: {type(exc).__name__}: {str(exc)[:300]}",
            hint="learn means, categories and encodings when fitting, e.g. in a Pipeline, not from the batch",
        ) from exc
    if len(outputs.prediction) != 1:
        raise Invalid(
            f"the model gives {len(outputs.prediction)} predictions for one row", hint="one per row is needed"
        )
    return outputs


def _at(outputs: Outputs, index: Array) -> Outputs:
    shares = outputs.probabilities
    return Outputs(outputs.prediction[index], None if shares is None else shares[index])


def differing(given: Outputs, expected: Outputs) -> int:
    """How many rows are answered differently, beyond rounding; a label counts where no probabilities tell."""
    if expected.probabilities is not None and given.probabilities is not None:
        if given.probabilities.shape != expected.probabilities.shape:
            return len(expected.prediction)
        same = _close(given.probabilities, expected.probabilities).all(axis=1)
    elif expected.prediction.dtype.kind == "f":
        same = _close(given.prediction.astype(np.float64), expected.prediction)
    else:
        same = np.asarray(given.prediction == expected.prediction)
    return int((~same).sum())


def _close(given: Array, expected: Array) -> Array:
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
    return np.isclose(given, expected, rtol=RELATIVE, atol=ABSOLUTE * scale, equal_nan=True)


def _evaluate(answering: Answering, table: Table, held: Table | None) -> Evaluation:
    flavor = answering.flavor
    if held is not None:
        if held.labels is None:
            raise Invalid("the holdout has no labels", hint="pass holdout=(X_unseen, y_unseen)")
        evaluate.refuse_overlap(*_alike(table, held))
        return evaluate.evaluate_holdout(
            answering.predict, held.input_columns, held.labels, task=flavor.task, classes=flavor.classes
        )
    if table.labels is None:
        return evaluate.not_estimable(flavor.task, "no labels were given", evaluate.GIVE_LABELS)
    rows = _transformed(answering.transform, Rebuild(table.inputs)(table.input_columns), row_count(table.columns))
    return evaluate.out_of_fold(answering.model, flavor, rows, table.labels, at_ms=table.at_ms, keys=table.keys)


def _alike(table: Table, held: Table) -> tuple[Columns, Columns]:
    """Both tables with the columns they share, so that equal rows look equal."""
    fitted, unseen = table.with_labels, held.with_labels
    shared = [name for name in unseen if name in fitted]
    return {name: fitted[name] for name in shared}, {name: unseen[name] for name in shared}


def _baseline(
    flavor: Flavor, table: Table, held: Table | None, evaluation: Evaluation, importance: dict[str, float]
) -> Baseline:
    columns, at_ms = table.input_columns, table.at_ms
    rows = row_count(columns)
    if rows > BASELINE_ROWS:
        even = np.linspace(0, rows - 1, BASELINE_ROWS).astype(np.int64)
        columns, at_ms = take(columns, even), None if at_ms is None else at_ms[even]
    outputs_at_ms = None
    if held is not None:
        outputs_at_ms = held.at_ms
    elif table.at_ms is not None and evaluation.rows is not None:
        outputs_at_ms = table.at_ms[evaluation.rows]
    metric = evaluation.metrics[0]
    labelled = table if held is None else held
    taken = take_baseline(
        columns,
        {field.name: kind_of(field) for field in table.inputs.fields},
        outputs=None if evaluation.outputs is None else _output_columns(evaluation.outputs, flavor),
        outputs_from=evaluation.outputs_from,
        event_at_ms=at_ms,
        outputs_event_at_ms=outputs_at_ms,
        importance=importance,
        metric=metric if metric.status == "ESTIMATED" else None,
    )
    tally = tallied(flavor, evaluation, labelled.labels, labelled.at_ms)
    return msgspec.structs.replace(taken, tally=tally)


def _output_columns(outputs: Outputs, flavor: Flavor) -> Columns:
    score = score_of(outputs, flavor.task)
    columns: Columns = {} if score is None else {"score": score}
    return columns | {"prediction": outputs.prediction}


class _Stored(NamedTuple):
    model: Pickled
    transform: Pickled | None
    recorded: bytes


def _store(answering: Answering, table: Table) -> _Stored:
    """The pickles, and predictions recorded from what they load to, not from the objects in this session."""
    model = pickling.dump(answering.model)
    transform = pickling.dump(answering.transform, what="transform") if answering.transform else None
    columns = table.input_columns
    rows = take(columns, choose_recorded(columns))
    copy = model.copy
    single_threaded(copy)
    again = predictor(copy, answering.flavor, table.inputs, transform.copy if transform else None)
    if not row_count(rows):
        raise Invalid("every row of X holds an infinity", hint="replace infinities before fitting")
    outputs = again(rows)
    wrong = differing(outputs, answering.predict(rows))
    if wrong:
        raise Invalid(
            f"stored and loaded again, the model answers {wrong} of {row_count(rows)} rows differently",
            hint="check its __getstate__, __setstate__ and __reduce__ methods",
        )
    return _Stored(model, transform, encode_recorded(rows, outputs, table.inputs))


def _lock(table: Table, stored: _Stored, earlier: dict[str, str] | None) -> dict[str, str]:
    modules = stored.model.modules | (stored.transform.modules if stored.transform else frozenset())
    library = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow"}.get(table.inputs.container)
    runtime = {"onnxruntime"} if isinstance(stored.model.copy, bytes) else set()  # an ONNX model names no module
    needed = modules | runtime | ({library} if library else set())
    return pickling.environment_lock(needed) if earlier is None else pickling.environment_like(earlier, needed)


def _build(
    releases_dir: Path,
    answering: Answering,
    table: Table,
    stored: _Stored,
    recipe: Written,
    data: str,
    code: Any,
    environment: dict[str, str],
    baseline: Baseline,
) -> Built:
    flavor = answering.flavor
    return build_release(
        releases_dir,
        Parts(
            model=stored.model.data,
            transform=stored.transform.data if stored.transform else b"",
            baseline=encode_baseline(baseline),
            recorded=stored.recorded,
            recipe=recipe.content,
            fitted_rows=input_digests(table.input_columns, table.inputs).astype("<u8").tobytes(),
        ),
        signature=Signature(inputs=table.inputs, task=flavor.task, classes=flavor.classes, target=table.target),
        environment=environment,
        data=data,
        code=code,
        settings={
            "flavor": flavor.name,
            "method": flavor.method,
            "time": table.time_column,
            "key": table.key_column,
            "recipe": msgspec.to_builtins(recipe.recipe),
        },
        thresholds={"min_rows": baseline.min_rows, "limits": baseline.limits},
        model_class=f"{type(answering.model).__module__}.{type(answering.model).__qualname__}",
    )
