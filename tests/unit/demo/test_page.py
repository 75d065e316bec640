import re
from html.parser import HTMLParser

import msgspec
import pytest
from msgspec.structs import replace

from mlspine.demo.chart import Flag, Stayed, quality_chart
from mlspine.demo.figures import Story
from mlspine.demo.page import advice, by_itself, charted, comparison_verdict, lead, render
from tests.unit.demo.stories import AUGUST_MS, advised, comparison, interval, quality, renewal, story

HOSTILE = "<script>alert('x')</script> & \"quoted\" </style>"
VOID = {"meta", "link", "br", "hr", "img", "rect", "line", "polyline", "input"}


class Outline(HTMLParser):
    """Checks that every element is closed in order, and keeps tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_every_element_of_the_page_is_closed_in_order() -> None:
    found = outline(render(story()))
    assert {"h1", "svg", "table", "ol"} <= set(found.tags)


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_script() -> None:
    page = render(story())
    found = outline(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert not {"src", "href", "srcset", "onclick", "onload"} & {name for name, _ in found.attributes}
    assert not re.search(r"https?:|//[a-z]|url\(|@import", page)


def test_names_and_sentences_from_outside_are_text_wherever_they_stand() -> None:
    page = render(story(name=HOSTILE))
    found = outline(page)
    assert "script" not in found.tags
    assert found.tags.count("style") == 1
    assert "alert('x')" in "".join(found.text)


def test_the_page_is_small_enough_to_mail() -> None:
    assert len(render(story()).encode()) < 500_000


def test_every_quality_figure_stands_on_the_page() -> None:
    text = " ".join(outline(render(story())).text)
    for figure in ("0.653", "0.728", "0.665", "0.712", "0.711", "+0.037 [+0.027, +0.047]"):
        assert figure in text


def test_a_story_without_drift_alerts_or_labels_still_makes_a_page() -> None:
    empty = story(drift=(), top=None, alerts=(), quality=(), comparison=(), switches=(), windows=0, windows_warned=0)
    text = " ".join(outline(render(empty)).text)
    assert "A model’s year" in text
    assert "Did it stay good?" not in text


def test_a_story_survives_json() -> None:
    whole = story()
    again = msgspec.json.decode(msgspec.json.encode(whole), type=Story)
    assert again == whole
    assert render(again) == render(whole)


def test_months_with_few_labels_are_not_drawn() -> None:
    rows = [quality("2013-04", 0.7), quality("2013-05", 0.2, labelled=84)]
    assert [row.month for row in charted(rows)] == ["2013-04"]


def test_the_lead_names_the_lowest_month() -> None:
    assert "Its lowest month was April at 0.653" in lead(story())


def test_a_release_that_was_broken_on_purpose_draws_over_no_month() -> None:
    seconds = quality("2013-09", 0.28, version=4, labelled=900)
    whole = story(quality=(*story().quality, seconds))
    assert "Its lowest month was April at 0.653" in lead(whole)
    assert "0.280" in " ".join(outline(render(whole)).text)
    without = story(quality=(*story().quality, seconds), came_back=None)
    assert "Its lowest month was September at 0.280" in lead(without)


def test_what_happened_by_itself_is_told_with_its_sentence() -> None:
    forward, back = by_itself(story(name="opposite orders"))
    assert forward.startswith("Canary of release 3 beside 1 at 25%, 50%, 100%: it answers everything since")
    assert "2,400 of 6,000 requests were its own, 0 failed. Opposite orders." in forward
    assert "came back by itself after 3.2 s, release 3 answers" in back
    assert back.endswith("Why: opposite orders.")
    page = " ".join(outline(render(story(name="opposite orders"))).text)
    assert forward in page
    assert back in page
    stuck = story(came_back=replace(story().came_back, returned=False, why=""))
    assert "was not brought back by the watch" in by_itself(stuck)[1]
    assert by_itself(story(canary=None, came_back=None)) == []


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ((0.05, 0.05), "better in August and September"),
        ((-0.05, 0.05), "better in September, worse in August"),
        ((0.001, 0.05), "better in September, not to be told apart in August"),
    ],
)
def test_the_verdict_on_the_renewed_release_claims_no_more_than_its_intervals(
    gains: tuple[float, float], said: str
) -> None:
    rows = [comparison(month, gain=gain) for month, gain in zip(("2013-08", "2013-09"), gains, strict=True)]
    assert f"in AUC, {said};" in comparison_verdict(rows)
    assert comparison_verdict(rows).endswith(f"judges, {said}.")


def test_a_verdict_on_every_month_does_not_list_them() -> None:
    rows = [comparison(f"2013-{month:02}", gain=0.05) for month in (8, 9, 10)]
    assert comparison_verdict(rows).endswith("better in all 3 months.")


def test_every_renewal_is_marked_in_the_chart_with_what_the_gate_said() -> None:
    page = render(story())
    flags = re.findall(r'class="flag[^"]*" style="left:([\d.]+)%;top:(-?\d+)px">([^<]*)<', page)
    assert [text for _, _, text in flags] == ["gate: refused", "gate: passed"]
    assert float(flags[0][0]) < float(flags[1][0])
    assert flags[0][1] != flags[1][1]


def test_the_lead_says_what_the_gate_said_and_who_answered_then() -> None:
    assert "the gate said: refused on 1 Jul, passed on 1 Aug; release 3 answered from then on." in lead(story())
    refused = story(renewals=(renewal(2, "REFUSED"),), comparison=(), switches=())
    assert "the gate said: refused on 1 Aug; release 1 answered to the end." in lead(refused)
    assert "the gate" not in lead(story(renewals=()))


def test_the_page_ends_with_the_adviser() -> None:
    text = " ".join(outline(render(story())).text).split("What to do next")[1]
    assert "mlspine up --notify URL" in text
    assert text.rstrip().endswith("cluster: 1 model, 2 req/s, temp")


def test_advice_without_an_addition_says_change_nothing_and_still_what_not_yet() -> None:
    told = advice(advised(name="temp", settled=True))
    assert told[0] == ("next", "change nothing")
    assert [name for name, _ in told] == ["next", "fine", "not yet"]


def test_every_dot_lies_inside_the_chart() -> None:
    chart = str(
        quality_chart(
            [quality("2013-04", 0.61), quality("2013-05", 0.79)],
            band=interval(0.7),
            stayed=[Stayed("2013-05", 0.68)],
            flags=[Flag(AUGUST_MS, "later than all months"), Flag(0, "earlier")],
        )
    )
    places = [float(each) for each in re.findall(r"(?:left|bottom):([-\d.]+)%", chart)]
    assert places
    assert all(0 <= place <= 100 for place in places)


def test_a_higher_quality_is_drawn_higher() -> None:
    chart = str(quality_chart([quality("2013-04", 0.61), quality("2013-05", 0.79)]))
    low, high = (float(each) for each in re.findall(r'class="at[^"]*" style="left:[\d.]+%;bottom:([\d.]+)%', chart))
    assert low < high


def test_two_releases_of_one_month_stand_side_by_side() -> None:
    chart = str(quality_chart([quality("2013-04", 0.7), quality("2013-04", 0.7, version=2), quality("2013-05", 0.7)]))
    first, second, third = (float(each) for each in re.findall(r'class="at[^"]*" style="left:([\d.]+)%', chart))
    assert first < second < third
