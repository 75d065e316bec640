from __future__ import annotations

from mlspine.handover.restarting import BACK_WITHIN_S, LONGEST_GAP_S, Asked, Killed, conclude, kill, longest_gap_s


class World:
    """A process that is gone for `gone_s` after it is killed, and a clock that only sleeping moves."""

    def __init__(self, *, gone_s: float, spare: bool = False, loads_s: float = 0.0) -> None:
        self.loads_s = loads_s
        self.now_s = 0.0
        self.killed_at_s: float | None = None
        self.gone_s = gone_s
        self.spare = spare

    def ask(self) -> bool:
        loading = self.killed_at_s is not None and self.now_s < self.killed_at_s + self.gone_s + self.loads_s
        return self.spare or (self.pid() != 0 and not loading)

    def pid(self) -> int:
        if self.killed_at_s is None:
            return 100
        return 200 if self.now_s >= self.killed_at_s + self.gone_s else 0

    def end(self, pid: int) -> None:
        assert pid == 100
        self.killed_at_s = self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def kill(self) -> Killed:
        return kill(
            "inference-0",
            100,
            ask=self.ask,
            pid_now=self.pid,
            timer=lambda: self.now_s,
            sleep=self.sleep,
            end=self.end,
        )


def test_the_gap_is_the_time_from_the_last_answer_before_to_the_first_after() -> None:
    killed = World(gone_s=2.0).kill()
    assert killed.came_back
    assert 2.0 <= killed.gap_s <= 2.1
    assert killed.failed > 90
    drilled = conclude("churn", [killed], spare=False)
    assert drilled.passed
    assert "no other was there to answer" in drilled.why
    assert (drilled.task, drilled.requests, drilled.failed_requests) == ("restart", killed.asked, killed.failed)


def test_a_process_that_is_there_and_still_loads_is_waited_for() -> None:
    killed = World(gone_s=1.0, loads_s=5.0).kill()
    assert 6.0 <= killed.gap_s <= 6.1
    assert conclude("churn", [killed], spare=False).passed


def test_with_others_nobody_notices() -> None:
    killed = World(gone_s=2.0, spare=True).kill()
    assert killed.gap_s < 0.1
    assert killed.failed == 0
    assert conclude("churn", [killed], spare=True).passed


def test_a_process_that_is_not_started_again_fails_the_drill_even_if_others_answer() -> None:
    killed = World(gone_s=1e9, spare=True).kill()
    assert not killed.came_back
    drilled = conclude("churn", [killed], spare=True)
    assert not drilled.passed
    assert drilled.why == f"inference-0 was not started again within {BACK_WITHIN_S:g} s"


def test_too_long_without_an_answer_fails_the_drill() -> None:
    drilled = conclude("churn", [World(gone_s=LONGEST_GAP_S + 1).kill()], spare=False)
    assert not drilled.passed
    assert "nobody was answered for 11.0 s" in drilled.why


def test_no_answer_afterwards_is_no_short_gap() -> None:
    assert longest_gap_s([Asked(0.0, True), Asked(0.1, True), Asked(0.2, False)]) == -1.0
    assert longest_gap_s([Asked(0.2, False)]) == -1.0


def test_nothing_killed_is_no_passed_drill() -> None:
    assert not conclude("churn", [], spare=True).passed
