"""Exits that reuse earlier ones are refused where they are not possible, before data are read."""

import pytest

from offramp.errors import ConfigError
from offramp.run.checks.settings_checks import check_settings
from tests.conftest import small_config


def test_exits_that_depend_on_each_other_cannot_be_solved_exactly() -> None:
    with pytest.raises(ConfigError, match=r"exact solves exits that answer independently .* Choose another algorithm"):
        check_settings(small_config(space__exit_reuse="cascade", search__algorithm="exact"))
    check_settings(small_config(space__exit_reuse="cascade", search__algorithm="nsga2"))
    check_settings(small_config(space__exit_reuse="none", search__algorithm="exact"))


def test_sums_of_logits_have_no_analog_form() -> None:
    with pytest.raises(ConfigError, match=r"cannot be combined with space\.analog_shares"):
        check_settings(
            small_config(
                space__exit_reuse="geometric_mean",
                space__analog_shares=(0.0, 1.0),
                search__algorithm="nsga2",
                cost__accelerator="diana",
            )
        )


def test_two_first_phases_are_refused() -> None:
    with pytest.raises(ConfigError, match="each need a first phase of their own"):
        small_config(train__exit_training="after_backbone", train__sort_channels=True)
