from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlspine.core.columns import take
from mlspine.core.plan import PlannedRelease, Proof
from mlspine.core.types import Field
from mlspine.registry.flavors import Outputs
from mlspine.serving import choosing, runtime, serving_plan
from mlspine.serving.measuring import Speed
from mlspine.serving.reproducing import Nearly
from mlspine.serving.runtimes import converting
from mlspine.serving.runtimes.onnx_release import input_kind
from tests.serving_harness import make_release
from tests.unit.serving import fitted
from tests.unit.serving.fitted import Fitted

pytest.importorskip("onnxruntime", reason="extra onnx is not installed")


def release_of(folder: Path, made: Fitted, *, wanted: str = "onnx") -> PlannedRelease:
    return make_release(folder, made.model, made.X, made.y, placement="auto", runtime=wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        fitted.logistic,
        fitted.mixed,
        fitted.lightgbm_booster,
        fitted.lightgbm_regressor,
        fitted.xgboost_classifier,
    ],
    ids=lambda make: make.__name__,
)
def test_a_converted_model_answers_every_recorded_row_alike(make: Callable[[], Fitted], tmp_path: Path) -> None:
    planned = release_of(tmp_path, make())
    loaded, proof = runtime.load(planned)
    assert proof.form in ("onnx float32", "onnx double"), proof.considered
    assert (proof.recorded_rows, proof.reproduced_rows) == (100, 100)
    assert runtime.still_reproduces(loaded)
    assert any(line.startswith(("lightgbm:", "xgboost:", "matrix:", "frame:")) for line in proof.considered)


@pytest.mark.slow
def test_what_was_converted_and_measured_once_is_neither_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = release_of(tmp_path, fitted.logistic(), wanted="auto")
    _, before = runtime.load(planned)
    assert before.form.startswith("onnx")
    assert [each.suffix for each in sorted(serving_plan.folder_of(planned).iterdir())].count(".onnx") == 1
    forbid(monkeypatch)
    monkeypatch.setattr(
        "mlspine.registry.pickling.load", lambda *_, **__: pytest.fail("the model itself was loaded as well")
    )
    loaded, after = runtime.load(planned)
    assert facts(after) == facts(before)
    assert runtime.still_reproduces(loaded)


@pytest.mark.slow
def test_a_damaged_conversion_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = release_of(tmp_path, fitted.logistic())
    runtime.load(planned)
    (converted,) = serving_plan.folder_of(planned).glob("*.onnx")
    converted.write_bytes(converted.read_bytes()[:-1] + b"x")
    _, proof = runtime.load(planned)
    assert proof.form.startswith("onnx")
    (again,) = serving_plan.folder_of(planned).glob("*.onnx")
    forbid(monkeypatch)
    assert facts(runtime.load(planned)[1]) == facts(proof)
    assert again.is_file()


@pytest.mark.slow
def test_a_model_off_by_more_than_the_tolerance_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = choosing.onnx_predictor

    def drifting(*given: Any, **more: Any) -> Any:
        predict = honest(*given, **more)

        def off(columns: Any) -> Outputs:
            outputs = predict(columns)
            return outputs._replace(probabilities=outputs.probabilities + 3e-5)

        return off

    monkeypatch.setattr(choosing, "onnx_predictor", drifting)
    _, proof = runtime.load(release_of(tmp_path, fitted.logistic()))
    assert proof.form == "matrix"
    assert [line.partition(":")[0] for line in proof.considered] == ["onnx float32", "onnx double"]
    assert all("answers 100 of 100 recorded rows differently" in line for line in proof.considered)


def test_rows_beside_the_decision_lie_close_on_both_sides_of_it() -> None:
    edge = 0.3217

    def predict(columns: Any) -> Outputs:
        share = np.where(columns["a"] > edge, 0.9, 0.1)
        return Outputs((share > 0.5).astype(np.int64), np.column_stack([1 - share, share]))

    rows = {"a": np.linspace(-1, 1, 50), "t": np.array(["x"] * 50, dtype=object)}
    beside = choosing._beside_decision(predict, choosing.Recorded(rows, predict(rows)))
    assert len(beside.rows["a"]) > 20
    assert np.abs(beside.rows["a"] - edge).max() < 2.0 / 2**choosing.BISECTIONS * 1.01
    assert (beside.rows["a"] > edge).any()
    assert (beside.rows["a"] <= edge).any()
    rounded = {"a": np.round(beside.rows["a"], 3), "t": beside.rows["t"]}
    assert not Nearly(beside.outputs)(predict(rounded), beside.outputs).all
    alike = {"a": np.ones(5)}
    assert len(choosing._beside_decision(predict, choosing.Recorded(alike, predict(alike))).rows["a"]) == 0


def test_what_cannot_be_converted_runs_as_it_is_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a converter was started"))
    made = fitted.mixed()
    made.X.loc[3, "home town"] = None
    _, proof = runtime.load(release_of(tmp_path, made))
    assert proof.form == "frame"
    assert proof.considered == ("onnx: column 'home town' is a text, with nulls, which a converted model cannot take",)


def test_without_the_extra_the_line_that_installs_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converting, "_EXTRA", ("no_such_converter",))
    _, proof = runtime.load(release_of(tmp_path, fitted.logistic()))
    assert proof.considered == ("onnx: no_such_converter is not installed: pip install 'mlspine[onnx]'",)


def test_a_conversion_that_dies_or_hangs_is_a_reason_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = release_of(tmp_path, fitted.logistic())
    release = runtime.read(planned)

    def dies(argv: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(argv, -11, b"", b"")

    def hangs(argv: list[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
        raise subprocess.TimeoutExpired(argv, more["timeout"])

    monkeypatch.setattr(subprocess, "run", dies)
    assert set(converting.convert(Path(planned.path), release).reasons.values()) == {
        "conversion ended early: exit code -11"
    }
    monkeypatch.setattr(subprocess, "run", hangs)
    assert "took longer than 3 s" in converting.convert(Path(planned.path), release, timeout_s=3).reasons["double"]


def test_a_faster_runtime_is_taken_and_a_barely_faster_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = release_of(tmp_path, fitted.logistic(), wanted="auto")
    recorded = choosing.Recorded({"a": np.arange(3.0)}, Outputs(np.arange(3.0), None))
    own = lambda columns: Outputs(columns["a"], None)  # noqa: E731
    other = lambda columns: Outputs(columns["a"], None)  # noqa: E731
    speeds = {id(own): Speed(1e-4, 1e-4, 1e-4, 1e5)}
    monkeypatch.setattr(choosing, "measure", lambda predict, _: speeds[id(predict)])
    native = choosing._chosen(choosing._Candidate("matrix", own, (0, 0, ()), None), Speed(0, 0, 0, 0))
    conversion = choosing._Conversion((choosing._Candidate("onnx float32", other, (0, 0, ()), None, "f", "d"),), ())
    for share, form in ((0.5, "onnx float32"), (0.95, "matrix")):
        speeds[id(other)] = Speed(share * 1e-4, 1e-4, 1e-4, 1e5 / share)
        assert choosing._measured(planned, recorded, native, conversion).form == form


def test_a_gpu_is_measured_beside_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def runs(model: bytes, *_: Any, providers: tuple[str, ...]) -> Any:
        asked.append(providers)
        return lambda columns: recorded.outputs

    monkeypatch.setattr(choosing, "onnx_predictor", runs)
    monkeypatch.setattr(choosing, "_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    planned = release_of(tmp_path, fitted.logistic())
    release = runtime.read(planned)
    rows, outputs = choosing.Recorded(*runtime.read_recorded(Path(planned.path), release))
    recorded = choosing.Recorded(rows, outputs)
    nothing = choosing.Recorded(take(rows, slice(0, 0)), outputs)
    found, why = choosing._agreeing(
        b"",
        "float32",
        release,
        recorded,
        nothing._replace(outputs=Outputs(outputs.prediction[:0], None)),
        Nearly(outputs),
    )
    assert [each.form for each in found] == ["onnx float32", "onnx float32 on CUDA"]
    assert asked == [("CPUExecutionProvider",), ("CUDAExecutionProvider", "CPUExecutionProvider")]
    assert why == ""


@pytest.mark.slow
def test_what_the_model_refuses_its_conversion_refuses_too(tmp_path: Path) -> None:
    for make, values in ((fitted.logistic, (np.inf, -np.inf)), (fitted.forest, (np.inf, 1e39))):
        planned = release_of(tmp_path / make.__name__, make())
        for _ in range(2):  # measured, and then by the plan that was kept
            loaded, proof = runtime.load(planned)
            assert proof.form.startswith("onnx")
            for value in values:
                odd = loaded.canned[0] | {"c": np.array([value])}
                with pytest.raises(ValueError, match="number 3' contains infinity"):
                    loaded.predict(odd)
                with pytest.raises(ValueError, match="number 3' contains infinity"):
                    loaded.predict({name: np.concatenate([each, each]) for name, each in odd.items()})


def test_a_model_that_refuses_unheard_of_text_is_not_converted(tmp_path: Path) -> None:
    made = fitted.mixed()
    made.model[0].set_params(onehotencoder__handle_unknown="error")
    _, proof = runtime.load(release_of(tmp_path, Fitted(made.model.fit(made.X, made.y), made.X, made.y)))
    assert proof.form == "frame"
    assert proof.considered == ("onnx: the model refuses text it never saw, which a converted one would answer",)


def test_columns_become_numbers_or_text_or_nothing() -> None:
    assert input_kind(Field(name="a", type="int", dtype="int64")) == "number"
    assert input_kind(Field(name="a", type="category", dtype="category", levels=("x",))) == "text"
    for field in (
        Field(name="a", type="category", dtype="category", levels=(1, 2)),
        Field(name="a", type="text", dtype="object", nullable=True),
        Field(name="a", type="datetime", dtype="datetime64[ns]"),
    ):
        with pytest.raises(Exception, match="which a converted model cannot take"):
            input_kind(field)


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "measure", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(converting, "convert", lambda *_, **__: pytest.fail("converted again"))


def facts(proof: Proof) -> Any:
    return msgspec.structs.replace(proof, load_s=0.0)


def test_a_native_plan_is_kept_too_and_another_library_version_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = release_of(tmp_path, fitted.lightgbm_classifier(), wanted="native")
    _, before = runtime.load(planned)
    with monkeypatch.context() as patched:
        forbid(patched)
        _, after = runtime.load(planned)
        assert facts(after) == facts(before)
        elsewhere = dict(serving_plan.this_machine()) | {"lightgbm": "0.1"}
        patched.setattr(serving_plan, "this_machine", lambda: elsewhere)
        patched.setattr(choosing, "this_machine", lambda: elsewhere)
        with pytest.raises(pytest.fail.Exception, match="measured again"):
            runtime.load(planned)
    # what was found for one choice of runtime is not taken for another
    assert serving_plan.find(msgspec.structs.replace(planned, runtime="onnx")) is None


def test_a_plan_that_cannot_be_read_or_kept_costs_a_measurement_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = release_of(tmp_path, fitted.lightgbm_classifier(), wanted="native")
    runtime.load(planned)
    (file,) = serving_plan.folder_of(planned).glob("*.json")
    file.write_bytes(b"{")
    _, proof = runtime.load(planned)
    assert proof.form == "lightgbm"
    for each in serving_plan.folder_of(planned).iterdir():
        each.unlink()
    serving_plan.folder_of(planned).rmdir()
    serving_plan.folder_of(planned).write_text("a file where the folder would be")
    _, proof = runtime.load(planned)
    assert proof.form == "lightgbm"


def test_frames_with_float32_columns_are_rounded_as_their_frame_would_be(tmp_path: Path) -> None:
    made = fitted.lightgbm_classifier()
    X = pd.DataFrame(made.X).astype({"a": "float32"})
    _, proof = runtime.load(make_release(tmp_path, made.model, X, made.y))
    assert (proof.form, proof.reproduced_rows) == ("lightgbm", 100)
