from __future__ import annotations

import re
from itertools import combinations
from typing import Any

from mlspine.monitoring.dashboard import WIDTH, dashboard
from mlspine.monitoring.rules import alert_rules

PANELS: list[dict[str, Any]] = dashboard()["panels"]


def overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    across = a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
    return across and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]


def test_panels_have_ids_of_their_own_and_none_lies_over_another() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= WIDTH for panel in PANELS)
    assert not [pair for pair in combinations(PANELS, 2) if overlap(pair[0]["gridPos"], pair[1]["gridPos"])]


def test_every_panel_asks_the_chosen_data_source() -> None:
    charts = [panel for panel in PANELS if panel["type"] != "row"]
    sources = [each["datasource"]["uid"] for panel in charts for each in (panel, *panel["targets"])]
    assert set(sources) == {"${datasource}"}
    assert len(dashboard()["uid"]) <= 40


def test_what_dashboard_and_rules_ask_for_is_what_is_exposed() -> None:
    from pathlib import Path

    import mlspine

    root = Path(mlspine.__file__).parent
    exposed = (root / "web/metrics.py").read_text() + (root / "serving/meter.py").read_text()
    asked = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
    asked += [rule.expr for rule in alert_rules(job="mlspine", error_rate=0.01)]
    names = {name for expr in asked for name in re.findall(r"\b(?:mlspine|process)_\w+", expr)}
    assert len(names) > 10
    missing = {name for name in names if re.sub("_bucket$", "", name) not in exposed}
    assert not missing
