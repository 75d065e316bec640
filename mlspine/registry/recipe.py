"""The recipe of a release: what fits its model again while its author is away.

"refit": the estimator itself, cloned with its parameters; a native LightGBM booster with its parameters and
rounds. "function": called with (X, y), it gives a fitted model; it travels by value. "script": its text, run as
a process of its own (see `refit`). "none": the model cannot be cloned and nobody said how it is made.

All three fit on what the model takes: with a transform, X is what it gives, and the transform stays as it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mlspine.core.errors import Invalid
from mlspine.core.ids import digest_bytes, digest_json
from mlspine.core.types import Release, Struct
from mlspine.data.tables import check_file
from mlspine.registry import pickling
from mlspine.registry.release import load_model
from mlspine.registry.sameness import described

GIVE_RECIPE = "mlspine.ship(..., recipe=fit) with def fit(X, y): ... return model"
# Every name LightGBM knows for the number of rounds, or for when to stop.
_ROUNDS = "num_iterations num_iteration n_iter num_tree num_trees num_round num_rounds nrounds num_boost_round"
_STOP = "n_estimators max_iter early_stopping_round early_stopping_rounds early_stopping n_iter_no_change"
_STOPS = frozenset(f"{_ROUNDS} {_STOP}".split())


class Recipe(Struct, frozen=True, kw_only=True):
    """How a model is fitted again. Two releases of one `identity` differ in their data, never in their recipe.

    identity: digest over kind, parameters or source, and transform; "" for "none". digest: of the file beside
    the model that holds a function or script; "" for the others.
    """

    kind: Literal["refit", "function", "script", "none"]
    identity: str = ""
    digest: str = ""


class Written(NamedTuple):
    """A recipe, the bytes of its file ("" for none), and what people call it."""

    recipe: Recipe
    content: bytes = b""
    name: str = ""


def write_recipe(given: Any, model: Any, *, transform: str) -> Written:
    """The recipe for a release: from a function, a script, or None for the model itself.

    transform: digest of the release's transform, "" for none. A `Written` is taken as it is: it came from an
    earlier release. Raises Invalid for anything else, NotFound for a script that is not there.
    """
    if isinstance(given, Written):
        return given
    if given is None:
        return _of_model(model, transform)
    if callable(given):
        _check_takes_two(given)
        content = pickling.dump(given, what="recipe").data
        name = f"{getattr(given, '__module__', '')}.{getattr(given, '__qualname__', type(given).__name__)}"
        return _of_file("function", content, name, transform, described(given))
    if isinstance(given, str | Path):
        path = Path(given).expanduser()
        check_file(path)
        if path.suffix != ".py":
            raise Invalid(f"recipe {str(given)!r} is no Python script", hint="give a .py file, or a function of (X, y)")
        content = path.read_bytes()
        _check_compiles(content, path)
        return _of_file("script", content, path.name, transform, digest_bytes(content))
    raise Invalid(f"recipe is a {type(given).__name__}", hint="give a function of (X, y), or the path of a .py script")


def recipe_of(path: Path, release: Release) -> Recipe:
    """The recipe a release was shipped with; for one from before recipes were recorded, that of its model."""
    told = release.settings.get("recipe")
    if told is not None:
        return Recipe(**told)
    return _of_model(load_model(path, release), release.transform).recipe


def booster_parameters(booster: Any) -> dict[str, Any]:
    """Parameters of a native LightGBM booster, without those that only said when to stop."""
    return {name: value for name, value in booster.params.items() if name not in _STOPS}


def booster_rounds(booster: Any) -> int:
    """Boosting rounds that went into a native LightGBM booster."""
    return int(booster.num_trees()) // max(1, int(booster.num_model_per_iteration()))


def can_refit(model: Any) -> bool:
    """Whether the model itself says how it is fitted again. A native XGBoost booster keeps no parameters."""
    if type(model).__name__ == "Booster":
        return type(model).__module__.startswith("lightgbm")
    return hasattr(model, "fit") and hasattr(model, "get_params")


# ---------------------------------------------------------------- inside


def _of_model(model: Any, transform: str) -> Written:
    name = "model in ONNX" if isinstance(model, bytes) else type(model).__name__
    if not can_refit(model):
        return Written(Recipe(kind="none"), name=name)
    if name == "Booster":
        told: Any = {"parameters": described(booster_parameters(model)), "rounds": booster_rounds(model)}
    else:
        told = described(model)
    identity = digest_json({"kind": "refit", "model": told, "transform": transform})
    return Written(Recipe(kind="refit", identity=identity), name=name)


def _of_file(kind: Literal["function", "script"], content: bytes, name: str, transform: str, source: Any) -> Written:
    identity = digest_json({"kind": kind, "source": source, "transform": transform})
    return Written(Recipe(kind=kind, identity=identity, digest=digest_bytes(content)), content, name)


def _check_takes_two(recipe: Callable[..., Any]) -> None:
    try:
        inspect.signature(recipe).bind(None, None)
    except TypeError as exc:
        raise Invalid(f"the recipe cannot be called with (X, y): {exc}", hint=GIVE_RECIPE) from exc
    except ValueError:
        return  # no signature to look at


def _check_compiles(content: bytes, path: Path) -> None:
    try:
        compile(content, str(path), "exec")
    except (SyntaxError, ValueError) as exc:
        raise Invalid(f"the recipe {path} is no Python script: {exc}", hint="mend it first") from exc
