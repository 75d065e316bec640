from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlspine.core.errors import Unavailable
from mlspine.core.plan import PlannedEndpoint, PlannedRelease
from mlspine.serving.batcher import Request
from mlspine.serving.endpoint import ServedEndpoint
from mlspine.serving.meter import Meter
from mlspine.serving.rows import Table

LIVE = PlannedRelease(release_hash="ab", version=1, path="")


def served(handed_over: list[Any], **more: Any) -> ServedEndpoint:
    loaded = SimpleNamespace(codec=None, release=SimpleNamespace(signature=None))
    runner = cast(Any, SimpleNamespace(loaded=loaded))
    batcher = cast(Any, SimpleNamespace(submit=handed_over.append))
    return ServedEndpoint(PlannedEndpoint(name="loans", revision=1, live=LIVE), LIVE, runner, Meter(), batcher, **more)


def test_a_request_that_could_not_be_recorded_is_refused_where_the_record_comes_first() -> None:
    handed_over: list[Any] = []
    full = True
    endpoint = served(handed_over, log_is_full=lambda: full)
    request = Request(Table(1), "id", received_at_ms=5, began_s=0.0)
    with pytest.raises(Unavailable, match="loans answers only what it can record"):
        endpoint.submit(request)
    full = False
    endpoint.submit(request)
    assert handed_over == [request]


def test_elsewhere_an_answer_wins_over_its_record() -> None:
    handed_over: list[Any] = []
    served(handed_over).submit(Request(Table(1), "id", received_at_ms=5, began_s=0.0))
    assert len(handed_over) == 1
