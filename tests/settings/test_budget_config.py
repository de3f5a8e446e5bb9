"""Budgets in text: a time with its unit, or a number of evaluations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import ConfigError
from offramp.settings.budget_config import BudgetConfig, parse_budget


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", BudgetConfig(seconds=90)),
        ("40m", BudgetConfig(seconds=2400)),
        ("1.5h", BudgetConfig(seconds=5400)),
        (" 2 min ", BudgetConfig(seconds=120)),
        ("250", BudgetConfig(evaluations=250)),
    ],
)
def test_budgets(text: str, expected: BudgetConfig) -> None:
    assert parse_budget(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0s", "-3m", "2.5", "ten", "5d", "1e9", "nan", "inf s", "3s3"])
def test_wrong_budgets(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 90s"):
        parse_budget(text)


@given(st.text(max_size=12))
def test_no_text_makes_a_budget_raise_anything_else(text: str) -> None:
    try:
        budget = parse_budget(text)
    except ConfigError:
        return
    assert (budget.seconds is None) != (budget.evaluations is None)


@pytest.mark.parametrize(("budget", "usable"), [(None, None), (2400.0, 2232.0), (60.0, 40.0), (10.0, 0.0)])
def test_time_is_kept_for_export_and_report(budget: float | None, usable: float | None) -> None:
    assert BudgetConfig(seconds=budget).usable_seconds == (None if usable is None else pytest.approx(usable))
