"""The optimized mapping's steps in text, and what belongs together in the cost settings."""

import pytest

from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.errors import ConfigError
from offramp.settings.cost_config import ALL_MAPPING_STEPS, CostConfig, parse_mapping_steps


def test_mapping_steps_are_switched_on_and_off() -> None:
    assert tuple(step.value for step in MappingStep) == ALL_MAPPING_STEPS
    assert parse_mapping_steps(None, ()) == ALL_MAPPING_STEPS
    assert parse_mapping_steps("none", ()) == ()
    assert parse_mapping_steps("split, on_chip", ["split"]) == ("on_chip",)
    assert parse_mapping_steps(None, ["fuse", "beside"]) == ("on_chip", "prefetch", "split", "optimum")
    for text, without in (("speculate", []), (None, ["split,fuse"]), ("", [])):
        with pytest.raises(ConfigError, match="on_chip, prefetch, split"):
            parse_mapping_steps(text, without)


def test_mapping_steps_need_the_optimized_mapping() -> None:
    assert CostConfig(mapping="optimized", mapping_steps=()).mapping_steps == ()
    with pytest.raises(ConfigError, match="mapping optimized"):
        CostConfig(mapping_steps=("on_chip",))
