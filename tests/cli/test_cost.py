"""The settings that `offramp cost` makes of its options."""

import pytest

from offramp.cli.cost import _parse_rates, _settings
from offramp.errors import ConfigError, InputError
from offramp.settings.cost_config import CostConfig


def test_branches_have_the_bits_of_the_backbone_unless_they_are_given() -> None:
    assert _settings({}, None, None, []) == CostConfig()
    narrow = _settings({"cost.weight_bits": 4}, None, None, [])
    assert (narrow.branch_weight_bits, narrow.branch_activation_bits) == (4, 8)
    both = _settings({"cost.weight_bits": 4, "cost.activation_bits": 6}, 2, None, [])
    assert (both.weight_bits, both.activation_bits) == (4, 6)
    assert (both.branch_weight_bits, both.branch_activation_bits) == (2, 2)
    by_name = _settings({"cost.weight_bits": 4, "cost.branch_weight_bits": 3}, None, None, [])
    assert by_name.branch_weight_bits == 3


def test_mapping_steps() -> None:
    steps = _settings({"cost.mapping": "optimized"}, None, "on_chip,split", ["split"]).mapping_steps
    assert steps == ("on_chip",)
    with pytest.raises(ConfigError, match="belong to mapping optimized"):
        _settings({}, None, "none", [])


def test_rates() -> None:
    assert _parse_rates(None) is None
    assert _parse_rates("0.7, 0.3") == (0.7, 0.3)
    with pytest.raises(InputError, match="shares separated by commas"):
        _parse_rates("most")
