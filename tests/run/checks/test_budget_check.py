"""A time budget that cannot be met is refused before a run folder is made, with the least that can."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

import offramp
from offramp.errors import ConfigError
from offramp.progress import SilentReporter
from offramp.run.checks import budget_check as module
from offramp.run.checks.budget_check import check_time_budget, least_time
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset
from offramp.settings.budget_config import BudgetConfig
from offramp.settings.by_name import with_settings
from tests.conftest import small_config


@pytest.fixture(scope="module")
def context() -> Context:
    config = small_config(train__random_subnets=0)
    return build_context(config, build_dataset(config, SilentReporter()))


def with_budget(context: Context, seconds: float) -> Context:

    return replace(context, config=with_settings(context.config, budget__seconds=seconds))


@pytest.mark.parametrize(
    ("prepared", "work", "closing", "least"), [(3, 2, 20, 25), (0, 0.1, 20, 21), (100, 365, 35, 500)]
)
def test_the_least_time_by_hand(prepared: float, work: float, closing: float, least: int) -> None:
    """20 s are kept for the end, or 7 % of all: 465 s are 93 % of 500."""
    found = least_time(prepared, work)
    assert found.closing_s == pytest.approx(closing)
    assert found.seconds == least
    usable = BudgetConfig(seconds=prepared + work + closing).usable_seconds
    assert usable == pytest.approx(prepared + work)


def test_a_budget_below_the_least_is_refused_and_the_least_is_named(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4 s so far, 1.5 times 4 s of work, 20 s for the end: 30 s."""
    monkeypatch.setattr(module, "_work_seconds", lambda context: 4.0)
    with pytest.raises(ConfigError, match=r"budget of 29 s cannot be met.*at least 3[01] s \(4 s .*, 6 s .*, 20 s"):
        check_time_budget(with_budget(context, 29.0), time.monotonic() - 4.0)
    check_time_budget(with_budget(context, 32.0), time.monotonic() - 4.0)


def test_without_a_time_budget_nothing_is_measured(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_work_seconds", lambda context: pytest.fail("measured"))
    check_time_budget(context, time.monotonic() - 10**6)


def test_a_busy_machine_takes_longer_and_is_told_so(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used before the check counts in full: 50 s, no work to speak of, 20 s for the end."""
    monkeypatch.setattr(module, "_work_seconds", lambda context: 0.1)
    with pytest.raises(ConfigError, match=r"at least 7[12] s \(50 s to read data"):
        check_time_budget(with_budget(context, 60.0), time.monotonic() - 50.0)


def test_one_try_that_waited_does_not_count() -> None:
    waits = iter([0.05, 0.0, 0.03])
    assert module._shortest(lambda: time.sleep(next(waits))) < 0.03


def test_the_work_is_measured(context: Context) -> None:
    assert 0.0 < module._work_seconds(context) < 120.0


def test_a_search_in_python_refuses_it_before_a_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budget of 1 s cannot be met.*at least \d+ s.*--budget"):
        offramp.search(small_config(budget__seconds=1.0, train__random_subnets=0), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
