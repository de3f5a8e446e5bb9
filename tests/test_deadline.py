"""Deadlines and the share of a phase that is over."""

import time

import pytest

from offramp.deadline import Clock, Deadline


def test_a_clock_without_limit_has_no_phases() -> None:
    assert Clock(None).phase(0.5) is None


def test_a_phase_ends_at_its_share_of_what_is_left_when_the_clock_is_made() -> None:
    """20 of 100 seconds are over: the first half of the phases has 40 of the other 80, the last ends at 100."""
    clock = Clock(100.0, started=time.monotonic() - 20.0)
    phase, last = clock.phase(0.5), clock.phase(1.0)
    assert phase is not None
    assert last is not None
    assert abs(phase.end - phase.start - 40.0) < 0.5
    assert abs(last.end - clock.started - 100.0) < 0.5
    assert not phase.passed()
    assert phase.fraction() < 0.05
    assert abs(clock.elapsed_s() - 20.0) < 0.5


def test_a_budget_that_is_over_leaves_phases_that_have_passed() -> None:
    phase = Clock(5.0, started=time.monotonic() - 20.0).phase(0.5)
    assert phase is not None
    assert phase.passed()


def test_a_phase_that_should_have_ended_is_over() -> None:
    now = time.monotonic()
    assert Deadline(now - 2.0, now - 1.0).passed()
    assert Deadline(now, now - 1.0).fraction() == 1.0
    assert 0.45 < Deadline(now - 1.0, now + 1.0).fraction() < 0.6
    now = time.monotonic()
    assert 0.1 <= Deadline(now - 0.09, now + 0.81).fraction() < 0.9
    assert Deadline(now + 5.0, now + 9.0).fraction() == 0.0


def test_parts_of_a_phase_begin_now_and_end_at_their_share() -> None:
    now = time.monotonic()
    whole = Deadline(now - 40.0, now + 60.0)
    parts = [whole.up_to(share) for share in (0.5, 0.6, 1.0)]
    assert [part.end - whole.start for part in parts] == pytest.approx([50.0, 60.0, 100.0])
    assert all(0.0 <= part.start - now < 0.5 for part in parts)
    assert 9.0 < parts[0].seconds_left() <= 10.0
    assert whole.up_to(0.1).seconds_left() == 0.0
