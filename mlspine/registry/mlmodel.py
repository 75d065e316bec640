"""The plain-text files that make a release an MLflow model directory, written without a YAML library.

Formats: `MLmodel`, its JSON schemas, `python_env.yaml` and `requirements.txt` as MLflow documents them.
A JSON string is also a YAML string, which is how values are quoted here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlspine.core.types import Field, Release, Schema, Signature

LOADER = "release_loader"
# Wider than the fitted dtype on purpose: MLflow refuses to narrow, the loader casts to the fitted dtype.
_TYPES = {
    "float": "double",
    "int": "long",
    "bool": "boolean",
    "text": "string",
    "category": "string",
    "datetime": "datetime",
}


def mlmodel_text(release: Release, release_hash: str, *, model_class: str) -> str:
    """The MLmodel file: the python_function flavor, the model's own if MLflow has one, and the signature."""
    settings, environment = release.settings, release.environment
    flavors: dict[str, Any] = {
        "python_function": {
            "code": "code",
            "env": {"virtualenv": "python_env.yaml"},
            "loader_module": LOADER,
            "python_version": environment["python"],
        }
    }
    own = _own_flavor(settings, environment, model_class)
    # Such a flavor is the bare model; a release with a transform is whole only as python_function.
    if own and not release.transform:
        flavors |= own
    document: dict[str, Any] = {
        "flavors": flavors,
        "model_uuid": release_hash[:32],
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "type": "dataframe",
        },
    }
    document["signature"] = mlflow_signature(release.signature)
    # For readers of the file: the columns, whether or not MLflow can enforce their types.
    document["metadata"] = {"mlspine_inputs": json.dumps(_columns(release.signature.inputs))}
    return yaml_text(document)


def requirements_text(environment: Mapping[str, str]) -> str:
    """requirements.txt: the environment lock as pip reads it."""
    return "".join(f"{name}=={version}\n" for name, version in environment.items() if name != "python")


def python_env_text(environment: Mapping[str, str]) -> str:
    """python_env.yaml: the interpreter, and where the rest is listed."""
    return yaml_text(
        {
            "python": environment["python"],
            "build_dependencies": ["pip"],
            "dependencies": ["-r requirements.txt"],
        }
    )


def mlflow_signature(signature: Signature) -> dict[str, Any]:
    """Inputs and outputs in MLflow's JSON schema format, each a JSON text as MLmodel holds them.

    inputs is None, which MLflow reads as "not enforced", when a column has a type that MLflow would refuse in
    the very frame the model was fitted on: categories, time zones, whole numbers or flags with nulls.
    """
    outputs = [{"type": _output_type(signature), "required": True}]
    enforced = all(map(_is_enforceable, signature.inputs.fields))
    return {
        "inputs": json.dumps(_inputs(signature.inputs)) if enforced else None,
        "outputs": json.dumps(outputs),
        "params": None,
    }


def yaml_text(value: Mapping[str, Any]) -> str:
    """A mapping of mappings, lists of text, text and None as YAML.

    >>> print(yaml_text({"a": {"b": "c: d"}, "e": None}), end="")
    a:
      b: "c: d"
    e: null
    """
    return "".join(f"{line}\n" for line in _yaml_lines(value, ""))


def _yaml_lines(value: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, each in value.items():
        if isinstance(each, Mapping):
            lines += [f"{indent}{key}:", *_yaml_lines(each, indent + "  ")]
        elif isinstance(each, list):
            lines += [f"{indent}{key}:", *(f"{indent}- {json.dumps(item)}" for item in each)]
        else:
            lines.append(f"{indent}{key}: {json.dumps(each)}")
    return lines


def _own_flavor(settings: Mapping[str, Any], environment: Mapping[str, str], model_class: str) -> dict[str, Any]:
    if settings["flavor"] == "sklearn":
        return {
            "sklearn": {
                "code": "code",
                "pickled_model": "model.pkl",
                "serialization_format": "cloudpickle",
                "sklearn_version": environment.get("scikit-learn", ""),
            }
        }
    if settings["flavor"] == "lightgbm" and settings["method"] != "booster":
        return {
            "lightgbm": {
                "code": "code",
                "data": "model.pkl",
                "lgb_version": environment.get("lightgbm", ""),
                "model_class": model_class,
                "serialization_format": "cloudpickle",
            }
        }
    return {}


def _inputs(schema: Schema) -> list[dict[str, Any]]:
    kinds = {field.dtype for field in schema.fields}
    if schema.container == "numpy" and len(kinds) == 1 and schema.fields[0].dtype.startswith(("float", "int", "uint")):
        return [{"type": "tensor", "tensor-spec": {"dtype": kinds.pop(), "shape": [-1, len(schema.fields)]}}]
    return _columns(schema)


def _columns(schema: Schema) -> list[dict[str, Any]]:
    return [_column(field, schema) for field in schema.fields]


def _is_enforceable(field: Field) -> bool:
    nulls_among_whole = field.nullable and field.type in ("int", "bool")
    foreign = field.dtype.startswith("ArrowDtype(")
    return not (field.type == "category" or field.time_zone or nulls_among_whole or foreign)


def _column(field: Field, schema: Schema) -> dict[str, Any]:
    name: str | int = int(field.name) if schema.integer_names else field.name
    if field.type == "vector":
        return {"type": "array", "items": {"type": "double"}, "name": name, "required": True}
    return {"type": _input_type(field), "name": name, "required": True}


def _input_type(field: Field) -> str:
    if field.type == "int" and field.nullable:
        return "double"  # as a frame holds whole numbers with nulls
    if field.type == "bool" and field.nullable:
        return "string"
    if field.type == "category" and field.levels:
        kinds = {type(level) for level in field.levels}
        return (
            {bool: "boolean", int: "long", float: "double"}.get(kinds.pop(), "string") if len(kinds) == 1 else "string"
        )
    return _TYPES[field.type]


def _output_type(signature: Signature) -> str:
    if signature.task == "regression" or not signature.classes:
        return "double"
    kind = type(signature.classes[0])
    return {bool: "boolean", int: "long", float: "double"}.get(kind, "string")
