"""What is kept of the rows while they pass: answers, codes of their values, the most different ones, their labels."""

from __future__ import annotations

import heapq
from typing import Any, NamedTuple

import numpy as np

from mlspine.core.types import Columns, Scalar, Task
from mlspine.replaying import differences
from mlspine.replaying.differences import Answers
from mlspine.replaying.found import Different, Reproduced
from mlspine.replaying.parts import Coded, Coder
from mlspine.replaying.rows import Part
from mlspine.stats.levels import is_missing

Array = np.ndarray[Any, np.dtype[Any]]

MOST_DIFFERENT = 20
CALLER, EVENT_TIME = "(caller)", "(event time)"


class Labelled(NamedTuple):
    """Rows with a label. at: their places among all rows; truth: the labels."""

    at: Array
    truth: Array


class Tally:
    """Takes one part after the other. a, b: the releases' versions; hashes: theirs, as the log names them."""

    def __init__(self, task: Task, versions: tuple[int, int], hashes: tuple[str, str], *, scored: bool) -> None:
        self._task = task
        self._versions = versions
        self._hashes = hashes
        self._scored = scored
        self._answers: tuple[list[Answers], list[Answers]] = ([], [])
        self._reproduced: tuple[list[Reproduced], list[Reproduced]] = ([], [])
        self._coders: dict[str, Coder] = {}
        self._codes: dict[str, list[Array]] = {}
        self._different: list[tuple[float, str, Different]] = []
        self._labels: list[Labelled] = []
        self.rows = 0

    def add(self, part: Part, columns: Columns, a: Answers, b: Answers) -> None:
        """Rows with the answers of both. columns: their inputs, for slices."""
        for place, answers in enumerate((a, b)):
            self._answers[place].append(answers)
            self._check(place, part, answers)
        self._code(part, columns)
        self._rank(part, a, b)
        at = part.labelled
        if at.any():
            sample = np.array(a.prediction.tolist())
            self._labels.append(Labelled(np.flatnonzero(at) + self.rows, part.labels_as(sample).astype(object)))
        self.rows += part.rows

    # ------------------------------------------------------------ in the end

    @property
    def answers(self) -> tuple[Answers, Answers]:
        return differences.joined(self._answers[0]), differences.joined(self._answers[1])

    @property
    def reproduced(self) -> tuple[Reproduced, ...]:
        """One for each of the two that had answered some of the rows."""
        found = (differences.together(each) for each in self._reproduced)
        return tuple(each for each in found if each is not None)

    @property
    def columns(self) -> dict[str, Coded]:
        return {name: Coded(self._coders[name].names, np.concatenate(codes)) for name, codes in self._codes.items()}

    @property
    def different(self) -> tuple[Different, ...]:
        """The most different rows, the first being the most."""
        ranked = sorted(self._different, key=lambda each: (-each[0], each[1]))
        return tuple(each for _, _, each in ranked)

    @property
    def labelled(self) -> Labelled:
        if not self._labels:
            return Labelled(np.empty(0, dtype=np.int64), np.empty(0, dtype=object))
        return Labelled(*(np.concatenate(each) for each in zip(*self._labels, strict=True)))

    # ------------------------------------------------------------ inside

    def _check(self, place: int, part: Part, answers: Answers) -> None:
        own = np.array([each == self._hashes[place] for each in part.release], dtype=np.bool_)
        at = np.flatnonzero(own & part.whole & part.answered)
        if len(at):
            logged, again = (Answers(each.prediction[at], each.score[at]) for each in (part.logged, answers))
            ids = [part.ids[i] for i in at.tolist()]
            self._reproduced[place].append(differences.reproduced(self._versions[place], logged, again, ids))

    def _code(self, part: Part, columns: Columns) -> None:
        held = {name: values for name, values in columns.items() if values.ndim == 1}
        held[EVENT_TIME] = part.event_at_ms.astype("datetime64[ms]")
        held[CALLER] = np.array(part.caller, dtype=object)
        for name, values in held.items():
            if name not in self._coders:
                self._coders[name] = Coder(values)
                self._codes[name] = []
            self._codes[name].append(self._coders[name].codes(values))

    def _rank(self, part: Part, a: Answers, b: Answers) -> None:
        apart = differences.distance(a, b, task=self._task, scored=self._scored)
        some = np.argsort(-apart, kind="stable")[:MOST_DIFFERENT]
        for i in some.tolist():
            if apart[i] > 0 and (len(self._different) < MOST_DIFFERENT or apart[i] > self._different[0][0]):
                entry = (float(apart[i]), part.ids[i], _different(part, i, a, b))
                push = heapq.heappush if len(self._different) < MOST_DIFFERENT else heapq.heappushpop
                push(self._different, entry)


def _different(part: Part, i: int, a: Answers, b: Answers) -> Different:
    return Different(
        id=part.ids[i],
        event_at_ms=int(part.event_at_ms[i]),
        a=_shown(a.prediction[i]),
        b=_shown(b.prediction[i]),
        a_score=_number(a.score[i]),
        b_score=_number(b.score[i]),
        label=_shown(part.labels[i]),
        values={name: _shown(values[i]) for name, values in part.values.items()},
    )


def _shown(value: Any) -> Any:
    return None if is_missing(value) else value


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def classes_of(one: tuple[Scalar, ...], other: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """All classes of two models, those of the first first.

    >>> classes_of(("a", "b"), ("b", "c"))
    ('a', 'b', 'c')
    """
    return tuple(dict.fromkeys([*one, *other]))
