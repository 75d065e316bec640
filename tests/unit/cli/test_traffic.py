"""split and shadow as they are typed, and what they print."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from mlspine.cli import traffic
from mlspine.cli.traffic import CohortType, Compared, Divided, Share, divided_text
from mlspine.core.plan import ArmTally, Cohort, Endpoint, LogSettings, ProcessState, Revision, Traffic
from mlspine.deployment.dividing import told
from mlspine.deployment.switching import Switched

LIVE, OTHER = "a" * 64, "b" * 64


def endpoint(divided: Traffic, *, number: int = 7, left: int = 0) -> Endpoint:
    revision = Revision(
        endpoint="churn",
        number=number,
        version=1,
        release_hash=LIVE,
        cause="traffic",
        log=LogSettings(),
        created_at_ms=1_700_000_000_000,
        actor="ada",
        traffic=divided,
        rolled_back_from=left,
    )
    return Endpoint(name="churn", model="churn", current=revision)


def switched(divided: Traffic, **changes: Any) -> Switched:
    left = changes.pop("left", 0)
    said = Switched(
        endpoint="churn",
        revision=endpoint(divided, left=left).current,
        previous_version=1,
        target_after=0,
        changed=True,
        proof=None,
        warnings=(),
        committed_at_ms=0,
        effective_s=0.004,
        acknowledgements=(),
    )
    return msgspec.structs.replace(said, **changes)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.5%", 0.005), ("100%", 1.0), ("0%", 0.0)])
def test_a_share_is_read_in_per_cent(text: str, share: float) -> None:
    assert Share().convert(text, None, None) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "0.05", "101%", "-1%", "half", "nan%", "%"])
def test_what_could_mean_two_shares_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write it in per cent"):
        Share().convert(text, None, None)


def test_a_cohort_names_a_column_and_its_values() -> None:
    read = CohortType().convert("region = EU, UK", None, None)
    assert read == Cohort(field="region", values=("EU", "UK"))
    assert CohortType().convert("everyone", None, None) == Cohort(field="", values=())
    for wrong in ("region", "=EU", "region=", "region=,"):
        with pytest.raises(click.BadParameter, match="region=EU,UK"):
            CohortType().convert(wrong, None, None)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["split", "churn:2"], "say which share, e.g.: mlspine split churn:2 5%"),
        (["split", "churn", "--by", "customer"], "say which share"),
        (["split", "churn", "5%", "--off"], "--off takes the candidate back"),
        (["shadow", "churn", "--off", "--share", "5%"], "--off ends the shadow"),
        (["split", "churn", "5"], "write it in per cent"),
    ],
)
def test_what_is_asked_by_halves_is_refused_before_anything_is_started(words: list[str], says: str) -> None:
    done = CliRunner().invoke({"split": traffic.split, "shadow": traffic.shadow}[words[0]], words[1:])
    assert done.exit_code == 2
    assert says in done.output


def test_a_split_says_who_answers_and_what_comes_next() -> None:
    text = click.unstyle(divided_text(switched(Traffic(candidate=2, share=0.05, unit="customer"))))
    assert "churn: version 2 answers 5% of the requests, dealt by customer" in text
    assert "version 1 stays live and answers the rest" in text
    assert "A rollback from here takes version 2 back" in text
    whole = divided_text(switched(Traffic(candidate=2, share=1.0)))
    assert "Next: mlspine promote churn 2; or back: mlspine split churn --off" in whole


def test_the_end_of_a_split_says_that_the_live_version_stays() -> None:
    assert "version 1 answers everything" in divided_text(switched(Traffic()))
    text = divided_text(switched(Traffic(), left=2))
    assert "version 2 was taken back, the live version stays" in text
    assert 'A rollback from here leads to "cannot answer"' in text
    assert "nothing changed" in divided_text(switched(Traffic(candidate=2, share=0.5), changed=False))


class Workspace:
    """What two serving processes counted, and the log as SQL sees it."""

    def __init__(self, divided: Traffic, arms: list[list[ArmTally]], rows: dict[str, list[list[Any]]]) -> None:
        states = tuple(
            ProcessState(
                process=f"inference-{n}", pid=n, started_at_ms=0, plan=1, ready=True, endpoints={}, arms=tuple(each)
            )
            for n, each in enumerate(arms)
        )
        self.deployment = SimpleNamespace(get=lambda name: endpoint(divided))
        self.status = SimpleNamespace(read=lambda name: SimpleNamespace(processes=states))
        self.registry = SimpleNamespace(get=lambda model, version: SimpleNamespace(captured={"task": "binary"}))
        self.predictions = SimpleNamespace(query=self._query)
        self._rows = rows

    def _query(self, name: str, *, sql: str) -> Any:
        (key,) = [key for key in self._rows if sql.startswith(f"select {key}")]
        return SimpleNamespace(rows=self._rows[key], columns=["id", "row", "key", "answered", "shadow", "difference"])


def tally(role: Any, release: str, *, revision: int = 7, **counts: Any) -> ArmTally:
    return ArmTally(endpoint="churn", release_hash=release, role=role, revision=revision, **counts)


def test_what_all_processes_counted_under_this_revision_is_added_up() -> None:
    arms = [
        [tally("live", LIVE, requests=90), tally("candidate", OTHER, requests=10, failures=1, slow=2)],
        [tally("candidate", OTHER, requests=5, failures=1), tally("candidate", OTHER, revision=6, requests=999)],
    ]
    found = traffic._divided(Workspace(Traffic(candidate=2, share=0.1), arms, {}), "churn")  # type: ignore[arg-type]
    assert isinstance(found, Divided)
    candidate = next(each for each in found.arms if each.role == "candidate")
    assert (candidate.requests, candidate.failures, candidate.slow) == (15, 2, 2)
    lines = [line.split() for line in traffic._shown_text(found).splitlines()]
    assert ["candidate", "2", "15", "2", "2", "0"] in lines
    assert ["live", "1", "90", "0", "0", "0"] in lines


def test_a_shadow_is_told_by_what_was_counted_and_by_the_log() -> None:
    rows = {
        "count(*)": [[40, 4, 40]],
        "avg": [[0.125]],
        "_id": [["r1", 0, "anna", 1, 0, 0.7]],
    }
    arms = [[tally("shadow", OTHER, compared=30, flips=3, difference=3.0, dropped=2)]]
    found = traffic._compared(Workspace(Traffic(shadow=2), arms, rows), "churn")  # type: ignore[arg-type]
    assert isinstance(found, Compared)
    assert (found.rows, found.disagreements, found.difference) == (40, 4, 0.125)
    text = traffic._compared_text(found)
    assert (
        "30 rows compared, 3 (10.0%) with another label, difference 0.1 on average; 2 rows it was too slow for" in text
    )
    assert "40 rows beside those of version 1, 4 (10.0%) answered otherwise, difference 0.125 on average" in text
    assert "anna" in text


def test_without_a_shadow_the_command_that_begins_one_is_named() -> None:
    found = traffic._compared(Workspace(Traffic(), [], {"max_by": [[None]]}), "churn")  # type: ignore[arg-type]
    assert traffic._compared_text(found).endswith("Next: mlspine shadow churn@candidate")
    assert told(Traffic()) == ""
