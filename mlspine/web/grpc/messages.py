"""The messages of the v2 gRPC service, described in code and kept in a descriptor pool of their own.

Clients bring generated copies of the same protocol, which register the same names in protobuf's default pool; two
different files there are an error. A pool of our own can neither clash with theirs nor be clashed with.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
_TYPES = descriptor_pb2.FieldDescriptorProto

# message -> fields as (name, number, type), a type being a scalar, another message, "[...]" for repeated or "{...}"
# for a map from text. "A.B" is B inside of A. Source: the protocol's own document, open_inference_grpc.proto.
_TENSOR_METADATA = (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "[int64]"))
_TENSOR = (*_TENSOR_METADATA, ("parameters", 4, "{InferParameter}"), ("contents", 5, "InferTensorContents"))
MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": (("live", 1, "bool"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", 1, "bool"),),
    "ModelReadyRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelReadyResponse": (("ready", 1, "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (("name", 1, "string"), ("version", 2, "string"), ("extensions", 3, "[string]")),
    "ModelMetadataRequest": (("name", 1, "string"), ("version", 2, "string")),
    "ModelMetadataResponse": (
        ("name", 1, "string"),
        ("versions", 2, "[string]"),
        ("platform", 3, "string"),
        ("inputs", 4, "[ModelMetadataResponse.TensorMetadata]"),
        ("outputs", 5, "[ModelMetadataResponse.TensorMetadata]"),
        ("properties", 6, "{string}"),
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR_METADATA,
    "InferParameter": (
        ("bool_param", 1, "bool"),
        ("int64_param", 2, "int64"),
        ("string_param", 3, "string"),
        ("double_param", 4, "double"),
        ("uint64_param", 5, "uint64"),
    ),
    "InferTensorContents": (
        ("bool_contents", 1, "[bool]"),
        ("int_contents", 2, "[int32]"),
        ("int64_contents", 3, "[int64]"),
        ("uint_contents", 4, "[uint32]"),
        ("uint64_contents", 5, "[uint64]"),
        ("fp32_contents", 6, "[float]"),
        ("fp64_contents", 7, "[double]"),
        ("bytes_contents", 8, "[bytes]"),
    ),
    "ModelInferRequest": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "{InferParameter}"),
        ("inputs", 5, "[ModelInferRequest.InferInputTensor]"),
        ("outputs", 6, "[ModelInferRequest.InferRequestedOutputTensor]"),
        ("raw_input_contents", 7, "[bytes]"),
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": (("name", 1, "string"), ("parameters", 2, "{InferParameter}")),
    "ModelInferResponse": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, "{InferParameter}"),
        ("outputs", 5, "[ModelInferResponse.InferOutputTensor]"),
        ("raw_output_contents", 6, "[bytes]"),
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR,
}
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
_ONEOF = {"InferParameter": "parameter_choice"}


class Messages(NamedTuple):
    """The message classes by name, without the package."""

    classes: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.classes[name]
        except KeyError:
            raise AttributeError(name) from None


def load_messages() -> Messages:
    """The classes, in a new pool."""
    file = descriptor_pb2.FileDescriptorProto(name="mlspine/inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for path, fields in MESSAGES.items():
        outer, _, name = path.rpartition(".")
        message = made[path] = (made[outer].nested_type if outer else file.message_type).add(name=name)
        if path in _ONEOF:
            message.oneof_decl.add(name=_ONEOF[path])
        for field_name, number, kind in fields:
            field = _add_field(message, path, field_name, number, kind)
            if path in _ONEOF:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    found = {path: pool.FindMessageTypeByName(f"{PACKAGE}.{path}") for path in MESSAGES}
    return Messages({path: message_factory.GetMessageClass(each) for path, each in found.items()})


def _add_field(message: Any, path: str, name: str, number: int, kind: str) -> Any:
    if not kind.startswith("{"):
        repeated = kind.startswith("[")
        return _typed(message.field, name, number, kind.strip("[]"), repeated=repeated)
    entry = message.nested_type.add(name=f"{name.title()}Entry")  # how protobuf spells a map
    entry.options.map_entry = True
    _typed(entry.field, "key", 1, "string", repeated=False)
    _typed(entry.field, "value", 2, kind.strip("{}"), repeated=False)
    return _typed(message.field, name, number, f"{path}.{entry.name}", repeated=True)


def _typed(fields: Any, name: str, number: int, kind: str, *, repeated: bool) -> Any:
    label = _TYPES.LABEL_REPEATED if repeated else _TYPES.LABEL_OPTIONAL
    scalar = getattr(_TYPES, f"TYPE_{kind.upper()}", None)
    if scalar is not None:
        return fields.add(name=name, number=number, type=scalar, label=label)
    return fields.add(name=name, number=number, type=_TYPES.TYPE_MESSAGE, type_name=f".{PACKAGE}.{kind}", label=label)
