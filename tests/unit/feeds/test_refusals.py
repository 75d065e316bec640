from __future__ import annotations

import numpy as np

from mlspine.feeds.refusals import RefusalWindow


def test_a_field_that_is_suddenly_refused_is_named() -> None:
    window = RefusalWindow()
    assert window.add(0.0, 0, {}) is None
    assert window.add(300.0, 5000, {"temp": 10, "city": 4}) is None
    fault = window.add(600.0, 5400, {"temp": 10, "city": 204})
    assert fault is not None
    assert (fault.field, fault.symptom) == ("city", "refused")
    assert "200 of 400 requests" in fault.says
    assert window.add(900.0, 6400, {"temp": 12, "city": 204}) is None


def test_a_caller_who_always_sent_rubbish_is_no_news() -> None:
    window = RefusalWindow()
    rng = np.random.default_rng(0)
    requests = refused = 0
    for step in range(500):
        assert window.add(10.0 * step, requests, {"temp": refused} if refused else {}) is None
        requests += 200
        refused += int(rng.binomial(200, 0.3))


def test_a_fault_that_lasts_does_not_become_a_habit() -> None:
    window = RefusalWindow()
    for step in range(40):
        window.add(10.0 * step, 100 * step, {"temp": 0})
    for step in range(40, 2000):
        fault = window.add(10.0 * step, 100 * step, {"temp": 40 * (step - 39)})
    assert fault is not None


def test_few_requests_say_nothing() -> None:
    window = RefusalWindow()
    window.add(0.0, 0, {})
    assert window.add(60.0, 99, {"temp": 99}) is None


def test_a_restarted_process_begins_anew() -> None:
    window = RefusalWindow()
    window.add(0.0, 0, {})
    window.add(300.0, 10_000, {"temp": 900})
    assert window.add(310.0, 150, {"temp": 1}) is None
    assert window.add(320.0, 400, {"temp": 250}) is not None
