"""Whose change moved what this model answers: columns ranked by what giving each its old shares back undoes.

For one column: the rows of the window are answered twice, as they came and with that column moved back to the
reference's shares (`transport.py`). The mean absolute difference of the two answers, beyond what chance alone
would give, is the column's influence. It is exact for the model that is asked, whatever its form, and sees a
change that cancels in the mean.

Columns move together. Rows of one kind becoming more frequent move every column that depends on that kind, and
then giving each column its shares back on its own names the one the model weighs most, not the one that
explains the others. So each column also gets what it explains: rows are weighted until it has its old shares,
and what the others lose of their change by that is credited to it. Undoing by value and by weight meet in
between (`TEMPERS`); each column is credited its best.

Sources: Breiman 2001 (importance by replacing a column); Shimodaira 2000 (weighting by a ratio of shares);
Budhathoki et al. 2022, "Explaining changes in real-world data" (attributing a change to mechanisms).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlspine.core.types import Columns
from mlspine.stats.distance import tv_noise, w1_noise
from mlspine.stats.profile import Array, Floats, Ints, LevelPart, Part, Profile, Reference
from mlspine.stats.surrogate import pooled_together
from mlspine.stats.transport import codes_of, jittered, returned

Ask = Callable[[Columns], Floats]  # columns -> answers, shape (n, k)

TEMPERS = (0.5, 1.0)
LARGEST_WEIGHT = 20.0
LEAST_WEIGHTED_ROWS = 50.0  # effective rows below which weights say nothing
CHANCE = 1.5  # times the change chance gives that a distance must have to count


class Influence(NamedTuple):
    """One column: mean absolute change of the answers it makes, what chance makes, and the signed change."""

    name: str
    moved: float
    noise: float
    shift: float  # of the mean first answer: now minus what it would have been

    @property
    def beyond(self) -> float:
        """The movement beyond chance, >= 0."""
        return float(np.sqrt(max(0.0, self.moved**2 - self.noise**2)))


class Credit(NamedTuple):
    """One column's rank: its own influence, and with what it explains of the others'; share of the total."""

    name: str
    own: float
    credit: float
    share: float
    explains: tuple[str, ...]  # columns most of whose change goes with this one's


def influences(
    ask: Ask,
    rows: Columns,
    reference: Reference,
    window: Profile,
    names: Sequence[str],
    *,
    event_at_ms: Ints | None = None,
    stand_ins: Mapping[str, Array] | None = None,
    seed: int = 0,
    budget_s: float = 10.0,
    timer: Callable[[], float] = time.perf_counter,
) -> list[Influence]:
    """The influence of each named column, in the order given, for as many as the budget allows.

    rows: some hundred rows of the window, all the columns the model takes. window: the counts of all its rows.
    Two questions to the model per column.
    """
    deadline = timer() + budget_s
    plain = ask(rows)
    found: list[Influence] = []
    for name in names:
        if found and timer() > deadline:
            break
        rng = np.random.default_rng([seed, len(found)])
        old = (stand_ins or {}).get(name)
        back = returned(reference, name, rows, window, rng=rng, event_at_ms=event_at_ms, stand_ins=old)
        undone = ask(rows | {name: back})
        n = max(1, _counted(reference, window, name))
        m = max(1, _counted(reference, reference.profile, name))
        chance = jittered(
            reference,
            name,
            rows | {name: back},
            rows_counted=1 / (1 / n + 1 / m),
            rng=rng,
            event_at_ms=event_at_ms,
            stand_ins=old,
        )
        noise = _distance(undone, ask(rows | {name: chance}))
        shift = float(np.nanmean(plain[:, -1]) - np.nanmean(undone[:, -1]))
        found.append(Influence(name, _distance(plain, undone), noise, shift))
    return found


def credited(
    found: Sequence[Influence],
    rows: Columns,
    reference: Reference,
    window: Profile,
    *,
    event_at_ms: Ints | None = None,
    weight: Mapping[str, float] | None = None,
) -> list[Credit]:
    """Columns ranked by their influence and what they explain of the others', first the likeliest cause.

    rows: the rows of the window, as many as there are up to some thousand. weight: 0..1 per column, the part
    of its change that is unusual; a change seen before counts less. Columns without influence come last.
    """
    weight = weight or {}
    own = {each.name: each.beyond * weight.get(each.name, 1.0) for each in found}
    moved = [name for name in own if own[name] > 0]
    gaps = _Gaps(reference, window, rows, moved, event_at_ms)
    best: dict[str, tuple[float, dict[str, float]]] = {}
    for name in moved:
        options = [(own[name], dict[str, float]())]
        options += [_explained(name, own, gaps, temper) for temper in TEMPERS]
        best[name] = max(options, key=lambda option: option[0])
    ranked = sorted(own, key=lambda name: -best.get(name, (0.0, {}))[0])
    return _shared(ranked, own, best)


def widest_part(reference: Reference, window: Profile, name: str) -> int:
    """Position of the part of a column whose shares changed most."""

    def gap(position: int) -> float:
        p, q = reference.profile.parts[position].counts, window.parts[position].counts
        return float(np.abs(p / max(1, p.sum()) - q / max(1, q.sum())).sum())

    return max(reference.parts_of(name), key=gap)


def _shared(
    ranked: Sequence[str], own: Mapping[str, float], best: Mapping[str, tuple[float, dict[str, float]]]
) -> list[Credit]:
    """Shares of the total influence: what the first explains of a column is not counted to that one again."""
    left = dict(own)
    total = sum(own.values()) or 1.0
    told: list[Credit] = []
    for name in ranked:
        credit, explains = best.get(name, (0.0, {}))
        share = left.pop(name) / total
        for other, part in explains.items():
            if other in left and part > 0:
                taken = min(1.0, part) * left[other]
                left[other] -= taken
                share += taken / total
        most = tuple(other for other, part in explains.items() if part > 0.5 and own[other] > 0)
        told.append(Credit(name, own[name], credit, share, most))
    return told


# ---------------------------------------------------------------- what goes with a column


def _explained(name: str, own: Mapping[str, float], gaps: _Gaps, temper: float) -> tuple[float, dict[str, float]]:
    """Credit of a column when rows are weighted towards its old shares, and what each other one loses by that.

    Weights that add change elsewhere cost as much as those that remove it earn.
    """
    weights = gaps.weights(name, temper)
    if weights is None:
        return 0.0, {}
    parts: dict[str, float] = {}
    for other in gaps.names:
        if other != name and gaps.plain[other] > 0:
            parts[other] = max(-1.0, 1.0 - gaps.of(other, weights) / gaps.plain[other])
    return own[name] + sum(own[other] * part for other, part in parts.items()), parts


class _Gaps:
    """How far columns of a window lie from the reference, plain and with its rows weighted."""

    def __init__(
        self, reference: Reference, window: Profile, rows: Columns, names: Sequence[str], event_at_ms: Ints | None
    ) -> None:
        self._parts: dict[str, tuple[Part, Ints, Ints]] = {}
        for name in names:
            chosen = widest_part(reference, window, name)
            code = codes_of(reference, chosen, rows, event_at_ms)
            if code is not None:
                part, counts = reference.parts[chosen], reference.profile.parts[chosen].counts
                groups = pooled_together(part, counts, window.parts[chosen].counts)
                self._parts[name] = (part, groups[code], _pooled(counts, groups))
        self.names = tuple(self._parts)
        self._rows = max((len(code) for _, code, _ in self._parts.values()), default=0)
        even = np.ones(self._rows)
        self.plain = {name: self.of(name, even) for name in self.names}

    def weights(self, name: str, temper: float) -> Floats | None:
        """Row weights that give a column its old shares back, to the power of temper; None when too uneven."""
        if name not in self._parts:
            return None
        _, code, before = self._parts[name]
        after = np.bincount(code, minlength=before.size)
        p, q = before / before.sum(), after / max(1, after.sum())
        ratio = np.minimum(LARGEST_WEIGHT, p / np.where(q > 0, q, 1.0))
        weights = np.power(ratio, temper)[code]
        total = weights.sum()
        if total <= 0 or total**2 / np.square(weights).sum() < LEAST_WEIGHTED_ROWS:
            return None
        return np.asarray(weights)

    def of(self, name: str, weights: Floats) -> float:
        """The distance of a column from its reference beyond chance: on ranks for numbers, of shares for levels."""
        part, code, before = self._parts[name]
        effective = weights.sum() ** 2 / np.square(weights).sum()
        p = before / before.sum()
        q = np.bincount(code, weights=weights, minlength=before.size) / weights.sum()
        v = 1 / effective + 1 / before.sum()
        if isinstance(part, LevelPart):
            distance, noise = float(np.abs(p - q).sum() / 2), float(tv_noise(p, v))
        else:
            inner = before.size - 3
            ranks = np.cumsum(p[:inner]) - p[:inner] / 2
            distance = float((np.abs(np.cumsum(p - q))[: inner - 1] * np.diff(ranks)).sum())
            noise = float(w1_noise(p[:inner], ranks, v))
            distance += float(np.abs(p - q)[inner:].sum())
        return float(np.sqrt(max(0.0, distance**2 - (CHANCE * noise) ** 2)))


def _pooled(counts: Ints, groups: Ints) -> Ints:
    return np.bincount(groups, weights=counts).astype(np.int64)


def _counted(reference: Reference, profile: Profile, name: str) -> int:
    return int(profile.parts[reference.parts_of(name)[0]].counts.sum())


def _distance(a: Floats, b: Floats) -> float:
    gap = np.abs(a - b).mean(axis=1)
    finite = gap[np.isfinite(gap)]
    return float(finite.mean()) if finite.size else 0.0
