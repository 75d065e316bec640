"""Windows of estimates: where they begin, when they have matured, and where a release's own rows fall."""

from __future__ import annotations

import numpy as np

from mlspine.monitoring.cutting import cut, index_of, matured, middle_of, part_of, shipped
from mlspine.monitoring.window import DAY_MS, Span
from mlspine.stats.tally import bins_of, tally

MARCH = int(np.datetime64("2024-03-01", "ms").astype(np.int64))
APRIL = int(np.datetime64("2024-04-01", "ms").astype(np.int64))
MAY = int(np.datetime64("2024-05-01", "ms").astype(np.int64))
BINS = bins_of("binary", (0, 1), np.linspace(0, 1, 100))


def columns(at_ms: np.ndarray, *, labelled: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    score = rng.uniform(size=at_ms.size)
    rows = {
        "event_time": at_ms.astype("datetime64[ms]"),
        "score": score,
        "prediction": (score > 0.5).astype(np.int64),
        "label": (rng.uniform(size=at_ms.size) < score).astype(np.int64),
    }
    return {name: values[: int(labelled * at_ms.size)] for name, values in rows.items()}


def test_a_month_is_cut_into_four_parts_that_hold_every_row() -> None:
    at_ms = np.arange(MARCH, MAY, DAY_MS // 4)
    found = cut(BINS, columns(at_ms), columns(at_ms), "month", now_ms=MAY, max_delay_ms=0)
    assert [len(each.parts) for each in found] == [4, 4]
    assert sum(each.rows for each in found) == at_ms.size
    assert [each.number for each in found] == [index_of(Span(MARCH, APRIL), "month"), found[0].number + 1]
    assert part_of(np.array([MARCH, APRIL - 1]), Span(MARCH, APRIL), "month").tolist() == [0, 3]


def test_a_window_matures_when_it_is_over_and_its_labels_are_in_or_late() -> None:
    at_ms = np.arange(MARCH, APRIL, DAY_MS // 8)

    def first(share: float, now_ms: int) -> bool:
        found = cut(
            BINS, columns(at_ms), columns(at_ms, labelled=share), "month", now_ms=now_ms, max_delay_ms=10 * DAY_MS
        )
        return found[0].matured

    assert first(1.0, APRIL)
    assert not first(1.0, APRIL - 1)
    assert not first(0.6, APRIL + 9 * DAY_MS)
    assert first(0.6, APRIL + 10 * DAY_MS)
    assert not first(0.05, APRIL + 10 * DAY_MS)  # too few to say anything


def test_labelled_rows_of_a_release_are_windows_before_the_first() -> None:
    at_ms = np.arange(MARCH, MAY, DAY_MS // 4)
    days = [
        (start, start + DAY_MS, tally(BINS, columns(np.arange(start, start + DAY_MS, DAY_MS // 4))))
        for start in range(MARCH, APRIL, DAY_MS)
    ]
    before = index_of(Span(APRIL, MAY), "month")
    (window,) = shipped(days, "month", before=before)
    assert (window.age, len(window.parts)) == (1.0, 4)
    assert sum(part.labelled.sum() for part in window.parts) == 31 * 4
    assert shipped(days, "month", before=before - 1) == []  # rows of the window itself are live ones
    (undated,) = shipped([(0, 0, days[0][2])], "month", before=before)
    assert undated.age == 1.0
    cuts = cut(BINS, columns(at_ms), columns(at_ms), "month", now_ms=MAY, max_delay_ms=0)
    (past,) = matured(cuts, "month", before=before)
    assert past.at[-1] < middle_of(cuts[1], "month")
