"""How to ask a fitted model: what kind it is, what it predicts, and the call that gives its outputs.

scikit-learn estimators and Pipelines, LightGBM and XGBoost (both their interfaces), PyTorch modules, ONNX models (as
bytes) and any object with `predict` or `predict_proba`. None of these libraries is imported before the user's model has
brought it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from mlspine.core.errors import Invalid
from mlspine.core.types import Columns, Scalar, Schema, Struct, Task
from mlspine.registry import onnx_model, torch_model

Array = np.ndarray[Any, np.dtype[Any]]
FlavorName = Literal["sklearn", "lightgbm", "xgboost", "torch", "onnx", "python"]
SHARES_SLACK = 1e-4  # probabilities in float32 sum up to 1 only about
MOST_CLASSES = 50  # integer predictions with more distinct values than this are taken for numbers


class Outputs(NamedTuple):
    """What a model answered for n rows: predictions (n,); probabilities (n, k) in class order."""

    prediction: Array
    probabilities: Array | None


Predictor = Callable[[Columns], Outputs]
FromMatrix = Callable[[Array], Outputs]
Ask = Callable[[Any], Outputs]


class MatrixPredictor:
    """A predictor that works on numbers alone: give it columns, or at once the float64 matrix (n, columns in schema
    order, C-contiguous) that it would make of them."""

    __slots__ = ("from_matrix", "matrix")

    def __init__(self, matrix: Callable[[Columns], Array], from_matrix: FromMatrix) -> None:
        self.matrix = matrix
        self.from_matrix = from_matrix

    def __call__(self, columns: Columns) -> Outputs:
        return self.from_matrix(self.matrix(columns))


class Flavor(Struct, frozen=True, kw_only=True):
    """A kind of model and the call that answers.

    method: "proba": one call gives probabilities, the prediction is the likeliest class; "both": two calls,
    since the model's own predictions are not its likeliest classes; "predict": no probabilities; "booster":
    a native LightGBM or XGBoost booster, which gives probabilities or values; "tensor": a PyTorch module, which does;
    "onnx": an ONNX model.
    """

    name: FlavorName
    task: Task
    classes: tuple[Scalar, ...] = ()
    method: Literal["proba", "both", "predict", "booster", "tensor", "onnx"] = "predict"


def identify(model: Any, rows: Any, labels: Array | None) -> Flavor:
    """Find out what a model is by looking at it and asking it for `rows` (in its own container).

    labels: those of the training rows, if any; they name the classes of models that do not.
    Raises Invalid for a class instead of an object, an unfitted model, one that cannot predict these rows,
    and one that gives several outputs per row.
    """
    name = _kind(model)
    if name == "lightgbm" and _is_booster(model):
        return _identify_booster(model, rows, labels)
    if name == "xgboost" and _is_booster(model):
        return _identify_xgboost(model, rows, labels)
    if name == "torch":
        return _identify_answers("torch", "tensor", torch_model.asked(model), rows, labels)
    if name == "onnx":
        return _identify_answers("onnx", "onnx", onnx_model.asked(model), rows, labels)
    predicted = canonical(_call(model, "predict", rows)) if _has(model, "predict") else None
    shares = _shares(_call(model, "predict_proba", rows)) if _has(model, "predict_proba") else None
    task, classes = _task(model, name, predicted, shares, labels)
    if shares is None:
        return Flavor(name=name, task=task, classes=classes, method="predict")
    if len(classes) != shares.shape[1]:
        raise Invalid(
            f"the model gives {shares.shape[1]} probabilities per row for {len(classes)} classes",
            hint="give the model a classes_ attribute that names them in order",
        )
    likeliest = _likeliest(shares, canonical(classes))
    agrees = predicted is None or bool(np.all(predicted == likeliest))
    return Flavor(name=name, task=task, classes=classes, method="proba" if agrees else "both")


def ask(model: Any, flavor: Flavor) -> Ask:
    """The call that takes rows in the model's own container and gives its outputs."""
    task, classes = flavor.task, canonical(flavor.classes)
    match flavor.method:
        case "booster" if flavor.name == "xgboost":
            return lambda rows: xgboost_outputs(model.inplace_predict(rows), task, classes)
        case "booster":
            return lambda rows: booster_outputs(model.predict(rows), task, classes)
        case "tensor" | "onnx":
            answers = torch_model.asked(model) if flavor.method == "tensor" else onnx_model.asked(model)
            return lambda rows: booster_outputs(answers(rows), task, classes)
        case "proba":

            def likeliest(rows: Any) -> Outputs:
                shares = _shares(model.predict_proba(rows))
                return Outputs(_likeliest(shares, classes), shares)

            return likeliest
        case "both":
            return lambda rows: Outputs(canonical(model.predict(rows)), _shares(model.predict_proba(rows)))
        case "predict":
            return lambda rows: Outputs(canonical(model.predict(rows)), None)


def ask_matrix(model: Any, flavor: Flavor, schema: Schema) -> Predictor:
    """The call that hands the model a float64 matrix instead of rebuilding the caller's frame.

    Much cheaper for models that look at numbers only. `model` is changed: it forgets the column names it was
    fitted with, so give it a copy of your own. Raises Invalid where names or types matter to the model; that
    the matrix gives the same answers is for the caller to check on recorded rows.
    """
    require_matrix(schema)
    matrix, rounded = matrix_of(schema), rounding_of(schema)
    if flavor.name == "lightgbm":
        booster = model if _is_booster(model) else plain_booster(model)
        task, classes = flavor.task, canonical(flavor.classes)
        return MatrixPredictor(matrix, lambda rows: booster_outputs(booster.predict(rounded(rows)), task, classes))
    if flavor.name == "sklearn":
        _forget_names(model)
        answer = ask(model, flavor)
        return MatrixPredictor(matrix, lambda rows: answer(rounded(rows)))
    if flavor.method in ("tensor", "onnx"):
        answers = ask(model, flavor)
        return MatrixPredictor(matrix, lambda rows: answers(rounded(rows)))
    raise Invalid(
        f"a {type(model).__name__} may look at names and types, so it gets its own container",
        hint='use form="frame"',
    )


def require_matrix(schema: Schema) -> None:
    """Raise Invalid unless every column is a number and came in a container whose columns a matrix can stand for."""
    odd = [field.name for field in schema.fields if field.type not in ("float", "int", "bool")]
    if odd or schema.container not in ("pandas", "polars", "arrow", "numpy"):
        what = f"column {odd[0]!r} is not numeric" if odd else f"it was fitted on {schema.container}"
        raise Invalid(f"the model cannot take a matrix: {what}", hint='use form="frame"')


def single_threaded(model: Any) -> None:
    """Make every nested scikit-learn estimator use one thread per call, changing `model`.

    Starting a pool costs more than predicting a row, and serving runs one process per core anyway.
    """
    for part in _nested(model):
        if getattr(part, "n_jobs", 1) not in (None, 1):
            part.n_jobs = 1


def score_of(outputs: Outputs, task: Task) -> Array | None:
    """The number per row that is watched, shape (n,): P(second class), the largest probability, or the value.

    None for a classifier without probabilities and for other tasks.
    """
    if task == "regression":
        return outputs.prediction.astype(np.float64)
    if outputs.probabilities is None or task == "other":
        return None
    if task == "binary":
        second: Array = outputs.probabilities[:, 1]
        return second
    largest: Array = outputs.probabilities.max(axis=1)
    return largest


# ---------------------------------------------------------------- what it is


def _kind(model: Any) -> FlavorName:
    if isinstance(model, type):
        raise Invalid(f"{model.__name__} is a class, not a fitted model", hint=f"fit one: {model.__name__}().fit(X, y)")
    if isinstance(model, bytes):
        return "onnx"
    if torch_model.is_module(model):
        return "torch"
    if not any(_has(model, method) for method in ("predict", "predict_proba")):
        raise Invalid(
            f"a {type(model).__name__} has neither predict nor predict_proba",
            hint="wrap it in an object with a predict(rows) method",
        )
    homes = {each.__module__.partition(".")[0] for each in type(model).__mro__}
    if "lightgbm" in homes:
        return "lightgbm"
    if "xgboost" in homes:
        return "xgboost"
    return "sklearn" if "sklearn" in homes else "python"


def _has(model: Any, method: str) -> bool:
    # Pipelines and searches answer hasattr by what their last step can do.
    try:
        return callable(getattr(model, method, None))
    except Exception as exc:
        if _says_unfitted(exc):
            raise _unfitted(model) from exc
        raise


def _says_unfitted(exc: BaseException) -> bool:
    return any("NotFittedError" in each.__name__ for each in type(exc).__mro__)


def _unfitted(model: Any) -> Invalid:
    return Invalid(f"the {type(model).__name__} is not fitted", hint="fit it first: model.fit(X, y)")


def _call(model: Any, method: str, rows: Any) -> Any:
    try:
        return getattr(model, method)(rows)
    except Invalid:
        raise
    except Exception as exc:
        if _says_unfitted(exc):
            raise _unfitted(model) from exc
        raise Invalid(
            f"the model cannot predict these rows: {type(exc).__name__}: {str(exc)[:500]}",
            hint="pass the X it was fitted on; if X is prepared first, pass raw rows and transform=",
        ) from exc


def _task(
    model: Any, name: FlavorName, predicted: Array | None, shares: Array | None, labels: Array | None
) -> tuple[Task, tuple[Scalar, ...]]:
    if name in ("sklearn", "lightgbm", "xgboost"):
        from sklearn.base import is_classifier, is_regressor

        if is_regressor(model):
            return "regression", ()
        own = type(model).__module__.startswith("sklearn.")
        if own and not is_classifier(model) and shares is None:
            return "other", ()  # clusters, outliers, projections
    if shares is not None or getattr(model, "classes_", None) is not None:
        return _classification(_classes(model, predicted, shares, labels))
    return _guess(predicted, labels)


def _classification(classes: tuple[Scalar, ...]) -> tuple[Task, tuple[Scalar, ...]]:
    return ("binary" if len(classes) == 2 else "multiclass"), classes


def _classes(model: Any, predicted: Array | None, shares: Array | None, labels: Array | None) -> tuple[Scalar, ...]:
    own = getattr(model, "classes_", None)
    if isinstance(own, list) and own and isinstance(own[0], np.ndarray):
        raise _several_outputs(len(own))
    if own is not None:
        return tuple(canonical(own).tolist())
    width = shares.shape[1] if shares is not None else 0
    for known in (labels, predicted):
        if known is not None and len(distinct := _distinct(known)) == width:
            return distinct
    return tuple(range(width))


def _guess(predicted: Array | None, labels: Array | None) -> tuple[Task, tuple[Scalar, ...]]:
    """The task of an object that says nothing of itself: from the labels, else from what it predicts."""
    values = labels if labels is not None else predicted
    if values is None:
        return "other", ()
    if values.dtype.kind in "Ob":
        return _classification(_distinct(values))
    if values.dtype.kind == "f" or (predicted is not None and predicted.dtype.kind == "f"):
        return "regression", ()
    distinct = _distinct(values)
    # Whole numbers without labels to compare with may be classes, counts or clusters: not ours to say.
    if labels is None:
        return "other", ()
    return _classification(distinct) if len(distinct) <= MOST_CLASSES else ("regression", ())


def _distinct(values: Array) -> tuple[Scalar, ...]:
    return tuple(sorted({value for value in values.tolist() if value is not None and value == value}))


# ---------------------------------------------------------------- what it answers


def canonical(raw: Any) -> Array:
    """Predictions or classes as int64, float64, bool, or an object array of Python values; shape (n,)."""
    values = np.asarray(raw)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise _several_outputs(values.shape[1] if values.ndim == 2 else 0)
    match values.dtype.kind:
        case "i" | "u":
            return values.astype(np.int64, copy=False)
        case "f":
            return values.astype(np.float64, copy=False)
        case "b":
            return values
        case "U" | "S" | "O":
            objects = np.empty(len(values), dtype=object)
            objects[:] = [value.item() if isinstance(value, np.generic) else value for value in values.tolist()]
            return objects
    raise Invalid(f"the model predicts {values.dtype}", hint="make it predict numbers, text or flags")


def _shares(raw: Any) -> Array:
    if isinstance(raw, list) and raw and isinstance(raw[0], np.ndarray) and raw[0].ndim == 2:
        raise _several_outputs(len(raw))
    shares = np.asarray(raw, dtype=np.float64)
    if shares.ndim == 2 and shares.shape[1] == 1:
        shares = shares[:, 0]
    if shares.ndim == 1:  # P(second class) alone, as some libraries give it
        return np.column_stack([1.0 - shares, shares])
    return shares


def _several_outputs(count: int) -> Invalid:
    return Invalid(
        f"the model gives {count or 'several'} outputs per row; one is supported",
        hint="ship one model per output, e.g. each of model.estimators_",
    )


def _likeliest(shares: Array, classes: Array) -> Array:
    picked: Array = classes[shares.argmax(axis=1)]
    return picked


# ---------------------------------------------------------------- LightGBM


def _is_booster(model: Any) -> bool:
    return type(model).__name__ == "Booster"


def plain_booster(model: Any) -> Any:
    """The booster of a LightGBM estimator; raises Invalid where it gives raw scores."""
    if callable(getattr(model, "objective", None)):
        raise Invalid("the model has an objective of its own, which gives raw scores", hint='use form="frame"')
    return model.booster_


def _identify_booster(model: Any, rows: Any, labels: Array | None) -> Flavor:
    head = dict(
        line.partition("=")[::2] for line in model.model_to_string(num_iteration=1).split("\n\n", 1)[0].splitlines()
    )
    objective, width = head.get("objective", "").split(" ")[0], int(head.get("num_class", "1"))
    task: Task
    classes: tuple[Scalar, ...] = ()
    if objective in ("binary", "cross_entropy"):
        known = _distinct(labels) if labels is not None else ()
        task, classes = "binary", known if len(known) == 2 else (0, 1)
    elif objective in ("multiclass", "multiclassova"):
        task, classes = "multiclass", tuple(range(width))
    elif objective in ("", "custom", "lambdarank", "rank_xendcg"):
        task = "other"
    else:
        task = "regression"
    outputs = booster_outputs(_call(model, "predict", rows), task, canonical(classes))
    canonical(outputs.prediction)
    return Flavor(name="lightgbm", task=task, classes=classes, method="booster")


def xgboost_outputs(raw: Any, task: Task, classes: Array) -> Outputs:
    """What XGBoost gives, with probabilities of two classes completed in its own precision."""
    values = np.asarray(raw)
    if task == "binary" and values.ndim == 1:
        values = np.column_stack([np.float32(1.0) - values, values])
    return booster_outputs(values, task, classes)


def _identify_xgboost(model: Any, rows: Any, labels: Array | None) -> Flavor:
    learner = json.loads(model.save_config())["learner"]
    objective, width = learner["objective"]["name"], int(learner["learner_model_param"].get("num_class", 0))
    task: Task = "other"
    classes: tuple[Scalar, ...] = ()
    if objective == "binary:logistic":
        known = _distinct(labels) if labels is not None else ()
        task, classes = "binary", known if len(known) == 2 else (0, 1)
    elif objective == "multi:softprob":
        task, classes = "multiclass", tuple(range(width))
    elif objective.startswith(("reg:", "count:", "survival:")):
        task = "regression"
    outputs = xgboost_outputs(_call(model, "inplace_predict", rows), task, canonical(classes))
    canonical(outputs.prediction)
    return Flavor(name="xgboost", task=task, classes=classes, method="booster")


def _identify_answers(
    name: FlavorName,
    method: Literal["tensor", "onnx"],
    answers: Callable[[Any], Array],
    rows: Any,
    labels: Array | None,
) -> Flavor:
    """What a model is that gives numbers and says nothing of them: n probabilities, n by k of them, or values."""
    given = answers(rows)
    wide = given.ndim == 2 and given.shape[1] > 1
    if given.ndim > 2:
        raise _several_outputs(given.shape[-1])
    known = _distinct(labels) if labels is not None else ()
    whole = labels is not None and labels.dtype.kind != "f" and len(known) <= MOST_CLASSES
    if not wide and not (whole and len(known) == 2):
        return Flavor(name=name, task="regression", method=method)
    if not _are_shares(given):
        raise Invalid(
            f"the labels are classes and the {name} model gives numbers that are no probabilities",
            hint="end it with Softmax(dim=1), or with Sigmoid() for the probability of the second class",
        )
    width = given.shape[1] if wide else 2
    classes = known if len(known) == width else tuple(range(width))
    return Flavor(name=name, task="binary" if width == 2 else "multiclass", classes=classes, method=method)


def _are_shares(given: Array) -> bool:
    within = bool(np.all((given >= -SHARES_SLACK) & (given <= 1.0 + SHARES_SLACK)))
    sums = given.sum(axis=1) if given.ndim == 2 and given.shape[1] > 1 else np.ones(1)
    return within and bool(np.all(np.abs(sums - 1.0) < SHARES_SLACK))


def booster_outputs(raw: Any, task: Task, classes: Array) -> Outputs:
    """The outputs of a model that gives bare numbers: probabilities of a classifier, else values."""
    if task not in ("binary", "multiclass"):
        return Outputs(canonical(np.asarray(raw, dtype=np.float64)), None)
    shares = _shares(raw)
    return Outputs(_likeliest(shares, classes), shares)


# ---------------------------------------------------------------- a matrix instead of a frame


def matrix_of(schema: Schema) -> Callable[[Columns], Array]:
    """Columns as the matrix a `MatrixPredictor` takes."""
    names = schema.names
    return lambda columns: np.ascontiguousarray(np.array([columns[name] for name in names], dtype=np.float64).T)


def rounding_of(schema: Schema) -> Callable[[Array], Array]:
    """A frame would have rounded some columns to its own dtype; the matrix must too."""
    narrow = [at for at, field in enumerate(schema.fields) if field.dtype.lower() == "float32"]
    if not narrow:
        return lambda rows: rows

    def rounded(rows: Array) -> Array:
        kept = rows.copy()
        kept[:, narrow] = kept[:, narrow].astype(np.float32)
        return kept

    return rounded


def _forget_names(model: Any) -> None:
    parts = list(_nested(model))
    for part in parts:
        if type(part).__name__ == "ColumnTransformer" or getattr(part, "_sklearn_output_config", None):
            raise Invalid(f"a {type(part).__name__} picks columns by name", hint='use form="frame"')
    for part in parts:
        vars(part).pop("feature_names_in_", None)


def _nested(model: Any) -> Iterator[Any]:
    """The estimator and every estimator inside it, each once."""
    if "sklearn" not in sys.modules:
        return
    from sklearn.base import BaseEstimator

    seen: set[int] = set()
    waiting = [model]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, BaseEstimator):
            yield each
            waiting.extend(vars(each).values())
        elif isinstance(each, list | tuple):
            waiting.extend(each)
        elif isinstance(each, dict):
            waiting.extend(each.values())
        elif isinstance(each, np.ndarray) and each.dtype == object:
            waiting.extend(each.ravel().tolist())
