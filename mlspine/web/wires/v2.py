"""Open Inference Protocol v2, REST: tensors as JSON, as bytes behind a JSON part, or some of each."""

from __future__ import annotations

import math
import zlib
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from mlspine.core.errors import Invalid
from mlspine.serving.request import Answer
from mlspine.serving.rows import Table, parse_json, shown
from mlspine.web.exchange import JSON, Header, Reply, Scope, encode, json_reply
from mlspine.web.wires.speaker import Subject, Told
from mlspine.web.wires.tensors import (
    DATATYPES,
    FLOATS,
    HALVES,
    INTEGERS,
    Array,
    Tensor,
    datatype_of,
    tensor_from_bytes,
    tensor_to_bytes,
    texts_of,
)
from mlspine.web.wires.v2_model import MAX_PROBLEMS, PLATFORM, PREDICT, V2Model

EXTENSIONS = ("binary_tensor_data",)
LENGTH_HEADER = b"inference-header-content-length"
OCTETS = (b"content-type", b"application/octet-stream")
COMPRESSED_FROM_BYTES = 32 * 1024  # smaller answers travel faster than they are compressed
_WANTED = 'expected {"inputs": [{"name", "shape", "datatype", "data"}, ...]}'

_Number = int | float


class _InputParameters(msgspec.Struct):
    binary_data_size: int | msgspec.UnsetType = msgspec.UNSET


class _Input(msgspec.Struct):
    name: str
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=0)]], msgspec.Meta(min_length=1)]
    datatype: str
    data: list[_Number | list[_Number]] | msgspec.UnsetType = msgspec.UNSET
    parameters: _InputParameters | None = None


class _Request(msgspec.Struct):
    """A request as it usually is; what does not decode is read again with care."""

    inputs: Annotated[list[_Input], msgspec.Meta(min_length=1)]
    id: str | msgspec.UnsetType = msgspec.UNSET
    outputs: list[dict[str, Any]] | None = None
    parameters: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Request)


class Asked(NamedTuple):
    """How a request wants to be answered. outputs: each with whether as bytes."""

    id: str | None
    outputs: tuple[tuple[str, bool], ...]
    gzip: bool


class V2Wire:
    """Speaks the v2 protocol for one endpoint."""

    ERRORS: ClassVar[dict[str, int]] = {
        "not_found": 404,
        "conflict": 409,
        "invalid": 400,
        "denied": 403,
        "unavailable": 503,
        "missing_extra": 501,
        "corrupt": 503,
    }

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._model = V2Model(subject)
        self._all = {binary: tuple((name, binary) for name in self._model.outputs) for binary in (False, True)}

    # ------------------------------------------------------------ one inference

    def read(self, body: bytes, scope: Scope) -> tuple[Table, Asked]:
        length, gzip = b"", False
        for name, value in scope["headers"]:
            if name == LENGTH_HEADER:
                length = value
            elif name == b"accept-encoding":
                gzip = _takes_gzip(value)
        head, tail = _split(body, length) if length else (body, b"")
        try:
            request = _decoder.decode(head)
            tensors = _read_quickly(request.inputs, tail)
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError):
            return self._read_carefully(head, tail, gzip)
        request_id = None if request.id is msgspec.UNSET else request.id
        return self._model.table(tensors), Asked(
            request_id, self._selected(request.outputs, request.parameters or {}), gzip
        )

    def write(self, request_id: str, answer: Answer, context: Asked) -> Reply:
        outputs: list[dict[str, Any]] = []
        parts: list[bytes] = []
        for name, binary in context.outputs:
            values = V2Model.array(name, answer)
            if values is None:
                continue
            held_back = V2Model.abstained(answer) if name == PREDICT else []
            marks: dict[str, Any] = {"abstained": held_back} if held_back else {}
            if binary:
                parts.append(tensor_to_bytes(values))
                marks["binary_data_size"] = len(parts[-1])
                outputs.append(_described(name, values))
            else:
                outputs.append(_described(name, values) | {"data": _data(values, held_back)})
            if marks:
                outputs[-1]["parameters"] = marks
        told: dict[str, Any] = {
            "model_name": self._subject.name,
            "model_version": str(self._subject.version),
            "parameters": {"request_id": request_id, "release": self._subject.release_hash},
            "outputs": outputs,
        }
        if context.id is not None:
            told["id"] = context.id
        body, headers = encode(told), [JSON]
        if parts:
            headers = [OCTETS, (LENGTH_HEADER, b"%d" % len(body))]
            body = b"".join((body, *parts))
        return _compressed(body, headers) if context.gzip else Reply(200, body, headers)

    @staticmethod
    def error(told: Told) -> Reply:
        return json_reply(
            {"error": ". ".join([told.message, *told.details, *([told.hint] if told.hint else [])])},
            told.status,
        )

    # ------------------------------------------------------------ metadata

    def metadata(self) -> dict[str, Any]:
        """What the model takes and gives, as tensors."""
        return {
            "name": self._subject.name,
            "versions": [str(self._subject.version)],
            "platform": PLATFORM,
            "inputs": [each._asdict() for each in self._model.inputs_described()],
            "outputs": [each._asdict() for each in self._model.outputs_described()],
        }

    # ------------------------------------------------------------ reading with care

    def _read_carefully(self, head: bytes, tail: memoryview | bytes, gzip: bool) -> tuple[Table, Asked]:
        """What the decoder refused: texts, booleans, and everything that is wrong, said in words."""
        raw = parse_json(head)
        if not isinstance(raw, dict) or not isinstance(raw.get("inputs"), list) or not raw["inputs"]:
            raise Invalid(_WANTED)
        if not isinstance(raw.get("id", ""), str):
            raise Invalid(f"id: expected a text, got {shown(raw['id'])}")
        parameters = raw.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise Invalid(f"parameters: expected an object, got {shown(parameters)}")
        asked = Asked(raw.get("id"), self._selected(raw.get("outputs"), parameters), gzip)
        problems: list[str] = []
        tensors: dict[str, Tensor] = {}
        at_byte = 0
        for at, given in enumerate(raw["inputs"]):
            size = _binary_size(given, f"inputs[{at}]", problems)
            read = _read_tensor(given, f"inputs[{at}]", tail, at_byte, size, problems)
            at_byte += size or 0
            if read is not None and given["name"] in tensors:
                problems.append(f"inputs[{at}]: {given['name']} is there twice")
            elif read is not None:
                tensors[given["name"]] = read
        if not problems and at_byte != len(tail):
            problems.append(
                f"{len(tail)} bytes follow the JSON part, the tensors' binary_data_size add up to {at_byte}"
            )
        if problems:
            raise Invalid("the tensors cannot be read", details=problems[:MAX_PROBLEMS])
        return self._model.table(tensors), asked

    def _selected(self, outputs: Any, parameters: dict[str, Any]) -> tuple[tuple[str, bool], ...]:
        binary = _flag(parameters, "binary_data_output", "parameters", False)
        if not outputs:
            return self._all[binary]
        if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
            raise Invalid(f'outputs: expected [{{"name"}}, ...], got {shown(outputs)}')
        names = self._model.select([each.get("name") for each in outputs])
        return tuple(
            (name, _as_bytes(each.get("parameters"), f"outputs[{at}].parameters", binary))
            for at, (name, each) in enumerate(zip(names, outputs, strict=True))
        )


def _read_quickly(inputs: list[_Input], tail: memoryview | bytes) -> dict[str, Tensor]:
    """Tensors of numbers; raises ValueError for all that wants a second look."""
    tensors: dict[str, Tensor] = {}
    at = 0
    for each in inputs:
        size = msgspec.UNSET if each.parameters is None else each.parameters.binary_data_size
        if size is not msgspec.UNSET:
            if size < 0 or at + size > len(tail) or each.data is not msgspec.UNSET or each.datatype not in DATATYPES:
                raise ValueError("bytes")
            try:
                tensors[each.name] = tensor_from_bytes(each.datatype, each.shape, tail[at : at + size])
            except Invalid as exc:
                raise ValueError from exc
            at += size
        else:
            tensors[each.name] = Tensor(each.datatype, tuple(each.shape), _numbers(each))
    if at != len(tail) or len(tensors) != len(inputs):
        raise ValueError("bytes left over, or a name twice")
    return tensors


def _numbers(given: _Input) -> Array:
    if given.data is msgspec.UNSET or given.datatype in HALVES:
        raise ValueError("data")
    if given.datatype in FLOATS:
        values = np.array(given.data, dtype=np.float64)
    elif given.datatype in INTEGERS:
        values = np.array(given.data)
        if values.dtype.kind not in "iu":
            raise ValueError("fractions, beyond 64 bits, or empty")
    else:
        raise ValueError("no numbers")
    if values.size != math.prod(given.shape):
        raise ValueError("shape")
    return values.reshape(-1)


def _split(body: bytes, length: bytes) -> tuple[bytes, memoryview]:
    """The JSON part and the bytes behind it."""
    if not length.isdigit() or len(length) > 18:
        raise Invalid(
            f"Inference-Header-Content-Length: expected a number of bytes, got {length[:40].decode('latin-1')!r}"
        )
    end = int(length)
    if end > len(body):
        raise Invalid(f"Inference-Header-Content-Length is {end}, the whole body is {len(body)} bytes")
    return body[:end], memoryview(body)[end:]


def _binary_size(tensor: Any, at: str, problems: list[str]) -> int | None:
    """How many bytes of the body behind the JSON part are this tensor's; None when it is in the JSON part."""
    parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
    if not isinstance(parameters, dict) or "binary_data_size" not in parameters:
        return None
    size = parameters["binary_data_size"]
    if type(size) is not int or size < 0:
        problems.append(f"{at}.parameters.binary_data_size: expected a whole number, got {shown(size)}")
        return 0
    return size


def _read_tensor(
    tensor: Any, at: str, tail: memoryview | bytes, at_byte: int, size: int | None, problems: list[str]
) -> Tensor | None:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        problems.append(f'{at}: expected {{"name", "shape", "datatype", "data"}}, got {shown(tensor)}')
        return None
    shape, kind, data = tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    said = []
    if not isinstance(shape, list) or not shape or not all(type(each) is int and each >= 0 for each in shape):
        said.append(f"{at}.shape: expected a list of whole numbers, got {shown(shape)}")
    if not isinstance(kind, str) or kind not in DATATYPES:
        said.append(f"{at}.datatype: expected one of {', '.join(sorted(DATATYPES))}, got {shown(kind)}")
    elif kind in HALVES and size is None:
        said.append(f"{at}.datatype: {kind} has no JSON form; send it as bytes, with binary_data_size")
    if size is not None and data is not None:
        said.append(f"{at}: data and binary_data_size exclude each other")
    elif size is not None and at_byte + size > len(tail):
        said.append(f"{at}: {size} bytes announced, {max(0, len(tail) - at_byte)} are there")
    elif size is None and not isinstance(data, list):
        said.append(f"{at}.data: expected a list, got {shown(data)}")
    if said or not isinstance(shape, list) or not isinstance(kind, str):
        problems += said
        return None
    if size is not None:
        try:
            return tensor_from_bytes(kind, shape, tail[at_byte : at_byte + size])
        except Invalid as exc:
            problems.append(f"{at}: {exc.message}")
            return None
    flat = _flat(data)
    if len(flat) != math.prod(shape):
        problems.append(f"{at}: {len(flat)} elements for shape {shape}")
        return None
    return Tensor(kind, tuple(shape), flat)


def _flat(data: Any) -> list[Any]:
    flat: list[Any] = data
    while any(isinstance(each, list) for each in flat):
        flat = [item for each in flat for item in (each if isinstance(each, list) else [each])]
    return flat


def _as_bytes(parameters: Any, at: str, default: bool) -> bool:
    if parameters is None:
        return default
    if not isinstance(parameters, dict):
        raise Invalid(f"{at}: expected an object, got {shown(parameters)}")
    for name in ("classification", "shared_memory_region"):
        if parameters.get(name):
            raise Invalid(f"{at}.{name} is not spoken here", hint="ask for the output as it is")
    return _flag(parameters, "binary_data", at, default)


def _flag(parameters: dict[str, Any], name: str, at: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Invalid(f"{at}.{name}: expected true or false, got {shown(value)}")
    return value


# ---------------------------------------------------------------- writing


def _described(name: str, values: Array) -> dict[str, Any]:
    return {"name": name, "datatype": datatype_of(values), "shape": list(values.shape)}


def _data(values: Array, held_back: list[int]) -> list[Any]:
    data: list[Any] = texts_of(values) if datatype_of(values) == "BYTES" else values.reshape(-1).tolist()
    for row in held_back:
        data[row] = None
    return data


def _takes_gzip(value: bytes) -> bool:
    for each in value.lower().split(b","):
        coding, _, weight = each.partition(b";")
        if coding.strip() == b"gzip":
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


def _compressed(body: bytes, headers: list[Header]) -> Reply:
    if len(body) < COMPRESSED_FROM_BYTES:
        return Reply(200, body, headers)
    stream = zlib.compressobj(1, zlib.DEFLATED, 31)
    squeezed = stream.compress(body) + stream.flush()
    return Reply(200, squeezed, [*headers, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")])
