"""The canonical wire, `POST /endpoints/NAME/predict`: typed rows in, predictions with their id out."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from mlspine.serving.request import Answer, Answered
from mlspine.serving.rows import Table
from mlspine.web.exchange import JSON, Reply, Scope, encode, json_reply
from mlspine.web.wires.speaker import Subject, Told


class Predicted(msgspec.Struct, gc=False):
    """One row's answer where there is no score."""

    prediction: Any


class Scored(msgspec.Struct, gc=False):
    """One row's answer of a binary classifier: the label, and the probability of the second class."""

    prediction: Any
    score: float


class Shared(msgspec.Struct, gc=False):
    """One row's answer among several classes: the label, its probability, and those of all classes."""

    prediction: Any
    score: float
    probabilities: dict[str, float]


class RowsWire:
    """Speaks the canonical wire for one endpoint."""

    ERRORS: ClassVar[dict[str, int]] = {
        "not_found": 404,
        "conflict": 409,
        "invalid": 422,
        "denied": 403,
        "unavailable": 503,
        "missing_extra": 501,
        "corrupt": 503,
    }

    def __init__(self, subject: Subject) -> None:
        self._codec = subject.codec
        task = subject.signature.task
        self._classes = tuple(map(str, subject.signature.classes)) if task == "multiclass" else ()
        self._with_score = task in ("binary", "multiclass")
        head = {
            "endpoint": subject.name,
            "version": subject.version,
            "release": subject.release_hash,
            "path": subject.path,
        }
        self._head = b'",' + encode(head)[1:-1] + b',"predictions":'

    def read(self, body: bytes, scope: Scope) -> tuple[Table, None]:
        return self._codec.decode(body), None

    def write(self, request_id: str, answer: Answer, context: None) -> Reply:
        call, start, stop = answer
        if stop - start == 1:
            spelt = call.spelt if call.spelt is not None else self._spell(call)
            if spelt:
                return Reply(200, b'{"id":"%b%b[{%b}]}' % (request_id.encode(), self._head, spelt[start]), [JSON])
        body = b'{"id":"%b%b%b}' % (request_id.encode(), self._head, encode(self.predictions(answer)))
        return Reply(200, body, [JSON])

    def _spell(self, call: Answered) -> list[bytes]:
        """All rows of a call as JSON at once, kept for the other requests of the call: cheaper than each for itself.

        Only rows of numbers, whose JSON holds no brace but its own; for others [].
        """
        rows = Answer(call, 0, len(call.predictions))
        plain = call.abstained is None and not self._classes and call.outputs.prediction.dtype.kind in "biuf"
        call.spelt = encode(self._rows(rows))[2:-2].split(b"},{") if plain else []
        return call.spelt

    def predictions(self, answer: Answer) -> list[Any]:
        """The answer row by row, as this wire spells it. A row that a rule held back has no prediction, and says so."""
        rows, abstained = self._rows(answer), answer.call.abstained
        if abstained is None:
            return rows
        held_back = abstained[answer.start : answer.stop].tolist()
        return [
            msgspec.structs.asdict(row) | {"abstained": True} if held else row
            for row, held in zip(rows, held_back, strict=True)
        ]

    def _rows(self, answer: Answer) -> list[Any]:
        call, start, stop = answer
        scores = call.scores
        if scores is None or not self._with_score:
            return [Predicted(value) for value in call.predictions[start:stop]]
        shares = call.outputs.probabilities
        if shares is None or not self._classes:
            if stop - start == 1:
                return [Scored(call.predictions[start], scores[start])]
            return list(map(Scored, call.predictions[start:stop], scores[start:stop]))
        named = [dict(zip(self._classes, row, strict=False)) for row in shares[start:stop].tolist()]
        return list(map(Shared, call.predictions[start:stop], scores[start:stop], named))

    @staticmethod
    def error(told: Told) -> Reply:
        error = {"code": told.code, "message": told.message, "hint": told.hint, "details": list(told.details)}
        return json_reply({"error": error}, told.status)
