import io
import re

import pytest
from msgspec.structs import replace

from mlspine.demo.figures import Moment
from mlspine.demo.timeline import Progress, columns, sparkline, tell, tell_advice
from tests.unit.demo.stories import story


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_file_gets_no_escape_codes_and_a_terminal_does() -> None:
    assert "\x1b" not in tell(story())
    assert "\x1b[1m" in tell(story(), colour=True)


def test_colour_changes_nothing_but_colour() -> None:
    assert re.sub(r"\x1b\[\d+m", "", tell(story(), colour=True)) == tell(story())


def test_the_story_holds_the_figures_that_matter() -> None:
    text = tell(story())
    for figure in (
        "0.653 [0.643, 0.663]",
        "10,508",
        "7.0 ms",
        "100 of 100",
        "256,001 and 256,001: equal",
        "6 lines, intact",
    ):
        assert figure in text


def test_no_line_is_wider_than_a_terminal() -> None:
    sentence = " ".join(["mean 36.89 -> 75.75, +4.55 sd"] * 9)
    long = story(moments=(Moment(at_ms=0, kind="quality", title="Quality", detail=sentence),), ledger=(), drift=())
    assert max(map(len, tell(long).splitlines())) <= 100


def test_the_adviser_is_told_within_the_width_and_with_what_its_rates_are_of() -> None:
    text = tell_advice(story(name=" ".join(["many reasons"] * 20)))
    assert "replayed in 71.0 s" in " ".join(text.split())
    assert "mlspine up --notify URL" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b[1m" in tell_advice(story(), colour=True)


def test_a_lost_row_and_a_broken_chain_are_said_loudly() -> None:
    whole = story()
    short = story(traffic=replace(whole.traffic, rows_logged=256_000), ledger_intact=False)
    assert "NOT EQUAL" in tell(short)
    assert "BROKEN" in tell(short)


def test_the_story_of_nothing_is_still_told() -> None:
    text = tell(story(drift=(), top=None, alerts=(), quality=(), comparison=(), switches=(), moments=()))
    assert "flights sent, rows logged" in text


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([0.0, 0.5, 1.0], "▁▅█"), ([None, 1.0], "·▁"), ([None, None], "··"), ([], ""), ([3.0, 3.0], "▁▁")],
)
def test_a_sparkline_has_one_sign_per_value(values: list[float | None], drawn: str) -> None:
    assert sparkline(values) == drawn


def test_a_sparkline_keeps_to_the_range_it_is_given() -> None:
    assert sparkline([-1.0, 0.0, 1.0, 2.0], lo=0.0, hi=1.0) == "▁▁██"


def test_columns_line_up() -> None:
    lines = columns([("a", "1"), ("bbb", "1,000")], right=[1]).splitlines()
    assert [len(line) for line in lines] == [len(lines[0])] * 2
    assert columns([]) == ""


def test_a_bar_is_redrawn_ten_times_a_second_at_most() -> None:
    clock, out = Clock(), Terminal()
    with Progress("replay", total=1_000, out=out, clock_s=clock) as bar:
        for _ in range(1_000):
            clock.now_s += 0.001
            bar.advance()
    assert out.getvalue().count("\r") <= 12
    assert "100%" in out.getvalue() or " 90%" in out.getvalue()


def test_a_log_gets_one_line_per_step() -> None:
    clock, out = Clock(), io.StringIO()
    with Progress("replay", total=10, out=out, clock_s=clock) as bar:
        clock.now_s += 2.5
        bar.advance(10)
        bar.say("10 flights")
    assert out.getvalue().splitlines() == [f"  {'replay':<34}   2.5 s  10 flights"]


def test_a_step_that_fails_says_so() -> None:
    out = io.StringIO()
    with pytest.raises(ValueError, match="no"), Progress("serve", out=out):
        raise ValueError("no")
    assert out.getvalue().rstrip().endswith("stopped")
