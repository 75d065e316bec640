"""Which runtime answers for a release on this machine: found out by asking each, and kept as its serving plan.

The model's own library comes first and must give the recorded predictions again to 1e-9; only then may a converted
model take its place, if it is faster and agrees on every recorded row and on rows beside the decision.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.columns import take
from mlspine.core.errors import Corrupt, Invalid, MlspineError
from mlspine.core.plan import PlannedRelease
from mlspine.core.types import Columns, Release
from mlspine.registry.flavors import Outputs, Predictor, require_matrix, single_threaded
from mlspine.registry.release import flavor_of, load_model, load_predictor
from mlspine.serving.measuring import APART_CALL_S, LOOP_CALL_S, Speed, call_times, largest_call, measure
from mlspine.serving.reproducing import Compare, Nearly, Reproduced, compare
from mlspine.serving.runtimes import converting
from mlspine.serving.runtimes.odd_rows import (
    Refused,
    odd_rows,
    refused_numbers,
    refuses_unheard_of_text,
    refusing,
)
from mlspine.serving.runtimes.onnx_release import PRECISIONS, onnx_predictor, provider_lists
from mlspine.serving.serving_plan import ServingPlan, find, keep, keep_converted, read_converted, this_machine

log = logging.getLogger(__name__)

_one_at_a_time = threading.Lock()  # releases are loaded side by side, and must not slow each other's measurement
WORTH = 0.9  # a converted model must take less than this share of the time of the model's own library
LOOP_LIMIT_S = 0.001  # a slower single row would hold up everybody else in the event loop
BISECTIONS = 12
MOST_PAIRS = 64
NATIVE_FORMS = {"lightgbm": ("lightgbm", "matrix"), "xgboost": ("xgboost",), "sklearn": ("matrix",)}


class Chosen(NamedTuple):
    """How a release runs here. `agrees`: the comparison its answers must pass from now on."""

    form: str
    predict: Predictor
    reproduced: Reproduced
    agrees: Compare
    speed: Speed
    max_call_rows: int = 0
    considered: tuple[str, ...] = ()


class Recorded(NamedTuple):
    """The recorded rows, as a request would bring them, and what came out for them at ship."""

    rows: Columns
    outputs: Outputs

    @property
    def size(self) -> int:
        return len(self.outputs.prediction)


def choose(planned: PlannedRelease, release: Release, recorded: Recorded) -> Chosen:
    """The runtime of a release on this machine, by its serving plan, else by measurement, which then is kept.

    Raises Corrupt and what loading the model raises; a release that does not reproduce its recorded predictions by
    its own library comes back with the mismatches in `reproduced`, and is not measured.
    """
    kept = find(planned) if recorded.size else None
    if kept is not None:
        again = _restored(planned, release, recorded, kept)
        if again is not None:
            return again
    native = _native(planned, release, recorded)
    if not native.reproduced.all:
        return native
    # Conversion runs in a process of its own, so it does not wait for others; measuring does.
    converted = _converted(planned, release, recorded, native)
    with _one_at_a_time:
        return _measured(planned, recorded, native, converted)


def data_only(release: Release) -> bool:
    """Whether nothing but data and well-known libraries answers: what may run in the process that speaks HTTP."""
    return release.settings.get("flavor") in ("sklearn", "lightgbm", "xgboost", "onnx") and not release.transform


# ---------------------------------------------------------------- the model's own library


class _Candidate(NamedTuple):
    form: str
    predict: Predictor
    reproduced: Reproduced
    agrees: Compare
    file: str = ""
    digest: str = ""
    refused: Refused = "nothing"


def _native(planned: PlannedRelease, release: Release, recorded: Recorded) -> Chosen:
    candidate = _native_candidate(Path(planned.path), release, recorded)
    return _chosen(candidate, Speed(0.0, 0.0, 0.0, 0.0))


def _native_candidate(path: Path, release: Release, recorded: Recorded) -> _Candidate:
    """The cheapest form in which the model's own library gives the recorded predictions, else the model as it is."""
    forms = ("matrix",) if release.settings.get("flavor") in ("torch", "onnx") else ()
    for form in NATIVE_FORMS.get(str(release.settings.get("flavor")), forms) if recorded.size else ():
        found = _try_form(path, release, recorded, form)
        if found is not None:
            return found
    predictor = load_predictor(path, release, form="frame")
    try:
        agrees = _native_comparison(release, recorded)
        reproduced = agrees(predictor(recorded.rows), recorded.outputs) if recorded.size else Reproduced(0, 0, ())
        return _Candidate("frame", predictor, reproduced, agrees)
    except MlspineError:
        raise
    except Exception as exc:
        raise Invalid(
            f"the model fails on its own recorded rows: {type(exc).__name__}: {exc}",
            hint="ship it from the environment it is served in, or install what its requirements.txt lists",
        ) from exc


def _try_form(path: Path, release: Release, recorded: Recorded, form: str) -> _Candidate | None:
    try:
        predictor = load_form(path, release, form)
        agrees = _native_comparison(release, recorded)
        reproduced = agrees(predictor(recorded.rows), recorded.outputs)
    except Corrupt:
        raise
    except Exception as exc:  # noqa: BLE001 (whatever the model dislikes, it gets its own container)
        log.info(
            "release does not run in this form",
            extra={"release": path.name, "form": form, "why": f"{type(exc).__name__}: {str(exc)[:200]}"},
        )
        return None
    return _Candidate(form, predictor, reproduced, agrees) if reproduced.all else None


def _native_comparison(release: Release, recorded: Recorded) -> Compare:
    """Exact, but for graphs in float32, whose sums come out otherwise for one row than for many."""
    return Nearly(recorded.outputs) if release.settings.get("flavor") in ("torch", "onnx") else compare


def load_form(path: Path, release: Release, form: str) -> Predictor:
    """The predictor of a release in one of its native forms. Raises Invalid where the form is not applicable."""
    if form in ("frame", "matrix"):
        return load_predictor(path, release, form="frame" if form == "frame" else "matrix")
    if release.transform:
        raise Invalid("a release with a transform takes raw rows", hint='use form="frame"')
    inputs, flavor = release.signature.inputs, flavor_of(release)
    require_matrix(inputs)
    model = load_model(path, release)
    single_threaded(model)
    if form == "lightgbm":
        from mlspine.serving.runtimes.lightgbm_rows import lightgbm_predictor

        return lightgbm_predictor(model, flavor, inputs)
    from mlspine.serving.runtimes.xgboost_rows import xgboost_predictor

    return xgboost_predictor(model, flavor, inputs)


# ---------------------------------------------------------------- a converted model in its place


class _Conversion(NamedTuple):
    candidates: tuple[_Candidate, ...]
    reasons: tuple[str, ...]


def _converted(planned: PlannedRelease, release: Release, recorded: Recorded, native: Chosen) -> _Conversion:
    """The converted models that agree, the narrowest precision only, and why others are not among them."""
    if planned.runtime == "native" or not recorded.size or not data_only(release):
        return _Conversion((), ())
    if release.settings.get("flavor") == "onnx":
        return _Conversion((), ())  # it is one
    if refuses_unheard_of_text(native.predict, recorded.rows):
        return _Conversion((), ("onnx: the model refuses text it never saw, which a converted one would answer",))
    made = converting.convert(Path(planned.path), release)
    reasons = [f"onnx {precision}: {why}" for precision, why in made.reasons.items()]
    if not made.models and len(set(made.reasons.values())) == 1:
        reasons = [f"onnx: {why}" for why in set(made.reasons.values())]
    refused = refused_numbers(native.predict, recorded.rows)
    beside = _beside_decision(native.predict, recorded)
    odd = odd_rows(recorded.rows, refused)
    further = Recorded(odd, native.predict(odd)) if len(next(iter(odd.values()), ())) else None
    agrees = Nearly(recorded.outputs)
    for precision in (each for each in PRECISIONS if each in made.models):
        data = made.models[precision]
        found, why = _agreeing(data, precision, release, recorded, beside, agrees, further=further, refused=refused)
        if found:
            name, digest = keep_converted(planned, precision, data)
            return _Conversion(tuple(each._replace(file=name, digest=digest) for each in found), tuple(reasons))
        reasons.append(f"onnx {precision}: {why}")
    return _Conversion((), tuple(reasons))


def _agreeing(
    data: bytes,
    precision: str,
    release: Release,
    recorded: Recorded,
    beside: Recorded,
    agrees: Compare,
    *,
    further: Recorded | None = None,
    refused: Refused = "nothing",
) -> tuple[list[_Candidate], str]:
    """The ways to run a converted model that agree. further: unusual rows, of which it must agree on each as well."""
    flavor, inputs = flavor_of(release), release.signature.inputs
    found, why = [], ""
    for providers in provider_lists(_available_providers()):
        form = f"onnx {precision}" + (" on CUDA" if len(providers) > 1 else "")
        try:
            predictor = refusing(onnx_predictor(data, flavor, inputs, providers=providers), refused)
            reproduced = agrees(predictor(recorded.rows), recorded.outputs)
            near = agrees(predictor(beside.rows), beside.outputs) if beside.size else reproduced
            unusual = agrees(predictor(further.rows), further.outputs) if further else reproduced
        except Exception as exc:  # noqa: BLE001 (another runtime; whatever it dislikes, the model's own answers)
            why = f"{type(exc).__name__}: {str(exc).splitlines()[0][:200] if str(exc) else ''}"
            continue
        if reproduced.all and near.all and unusual.all:
            found.append(_Candidate(form, predictor, reproduced, agrees, refused=refused))
        elif near.all and reproduced.all:
            why = f"answers {unusual.of - unusual.rows} of {unusual.of} unusual rows differently"
        elif not reproduced.all:
            why = f"answers {reproduced.of - reproduced.rows} of {reproduced.of} recorded rows differently"
        else:
            why = f"answers {near.of - near.rows} of {near.of} rows beside the decision differently"
    return found, why


def _available_providers() -> list[str]:
    import onnxruntime

    providers: list[str] = onnxruntime.get_available_providers()
    return providers


def _beside_decision(predict: Predictor, recorded: Recorded) -> Recorded:
    """Rows between recorded ones of different labels, close to where the label changes, on both sides of it.

    Halfway again and again between the numbers of two rows, BISECTIONS times; text stays that of the first row. No
    rows for a model without classes, or with one label throughout.
    """
    labels = recorded.outputs.prediction
    nothing = Recorded(take(recorded.rows, slice(0, 0)), Outputs(labels[:0], None))
    if recorded.outputs.probabilities is None:
        return nothing
    order = np.random.default_rng(0).permutation(recorded.size)
    pairs = [(a, b) for a, b in zip(order.tolist(), np.roll(order, 1).tolist(), strict=True) if labels[a] != labels[b]][
        :MOST_PAIRS
    ]
    if not pairs:
        return nothing
    low, high = (take(recorded.rows, np.array(side)) for side in zip(*pairs, strict=True))
    high = {name: values if _is_number(values) else low[name] for name, values in high.items()}
    start = predict(low).prediction
    for _ in range(BISECTIONS):
        middle = {name: (values + high[name]) / 2 if _is_number(values) else values for name, values in low.items()}
        same = predict(middle).prediction == start
        low = {name: _pick(same, middle[name], low[name]) for name in low}
        high = {name: _pick(same, high[name], middle[name]) for name in low}
    rows = {name: np.concatenate([low[name], high[name]]) for name in low}
    return Recorded(rows, predict(rows))


def _is_number(values: np.ndarray[Any, Any]) -> bool:
    return bool(values.dtype.kind == "f")


def _pick(first: np.ndarray[Any, Any], these: np.ndarray[Any, Any], those: np.ndarray[Any, Any]) -> Any:
    return np.where(first, these, those) if _is_number(these) else those


# ---------------------------------------------------------------- measuring, and the plan kept


def _measured(planned: PlannedRelease, recorded: Recorded, native: Chosen, conversion: _Conversion) -> Chosen:
    own = native._replace(speed=measure(native.predict, recorded.rows))
    considered = list(conversion.reasons)
    best, best_from = own, None
    for candidate in conversion.candidates:
        other = _chosen(candidate, measure(candidate.predict, recorded.rows))
        wanted = planned.runtime == "onnx" and best is own
        if wanted or other.speed.cost_s < WORTH * best.speed.cost_s:
            considered.append(_told(best))
            best, best_from = other, candidate
        else:
            considered.append(_told(other))
    within_s = LOOP_CALL_S if best.speed.p50_s <= LOOP_LIMIT_S else APART_CALL_S
    most = largest_call(call_times(best.predict, recorded.rows, within_s=within_s), within_s=within_s)
    chosen = best._replace(max_call_rows=most, considered=tuple(considered))
    if recorded.size:
        plan = ServingPlan(
            machine=dict(this_machine()),
            choice=planned.runtime,
            form=chosen.form,
            speed=chosen.speed,
            max_call_rows=most,
            considered=chosen.considered,
            file=best_from.file if best_from else "",
            digest=best_from.digest if best_from else "",
            refused=best_from.refused if best_from else "nothing",
        )
        keep(planned, plan)
    return chosen


def _restored(planned: PlannedRelease, release: Release, recorded: Recorded, kept: ServingPlan) -> Chosen | None:
    """What a plan says, if it can still be had and still gives the recorded predictions."""
    if kept.file:
        data = read_converted(planned, kept)
        if not data:
            log.warning("a converted model is damaged and is made anew", extra={"release": planned.release_hash[:12]})
            return None
        candidate = _restored_conversion(data, kept, release, recorded)
    else:
        candidate = _try_form(Path(planned.path), release, recorded, kept.form)
    if candidate is None or not candidate.reproduced.all:
        return None
    chosen = _chosen(candidate, kept.speed)
    return chosen._replace(max_call_rows=kept.max_call_rows, considered=kept.considered)


def _restored_conversion(data: bytes, kept: ServingPlan, release: Release, recorded: Recorded) -> _Candidate | None:
    none = Recorded(take(recorded.rows, slice(0, 0)), Outputs(recorded.outputs.prediction[:0], None))
    precision = kept.form.split(" ")[1]
    found, why = _agreeing(data, precision, release, recorded, none, Nearly(recorded.outputs), refused=kept.refused)
    again = next((each for each in found if each.form == kept.form), None)
    if again is None:
        log.warning("a converted model does not run as it did", extra={"form": kept.form, "why": why})
    return again


def _chosen(candidate: _Candidate, speed: Speed) -> Chosen:
    return Chosen(candidate.form, candidate.predict, candidate.reproduced, candidate.agrees, speed)


def _told(other: Chosen) -> str:
    speed = other.speed
    return (
        f"{other.form}: {speed.p50_s * 1e6:.0f} us for one row,"
        f" {1e6 / max(speed.capacity_rows_per_s, 1e-9):.1f} us per row in batches"
    )
