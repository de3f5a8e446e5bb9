"""Deadlines and the share of a phase that is over."""

import time

from offramp.deadline import Clock, Deadline


def test_a_clock_without_limit_has_no_phases() -> None:
    assert Clock(None).phase(0.5) is None


def test_a_phase_ends_at_its_share_of_the_whole() -> None:
    clock = Clock(100.0, started=time.monotonic() - 20.0)
    phase = clock.phase(0.5)
    assert phase is not None
    assert abs(phase.end - phase.start - 30.0) < 0.5
    assert not phase.passed()
    assert phase.fraction() < 0.05
    assert abs(clock.elapsed_s() - 20.0) < 0.5


def test_a_phase_that_should_have_ended_is_over() -> None:
    now = time.monotonic()
    assert Deadline(now - 2.0, now - 1.0).passed()
    assert Deadline(now, now - 1.0).fraction() == 1.0
    assert 0.45 < Deadline(now - 1.0, now + 1.0).fraction() < 0.6
