"""The optimized mapping's steps in text, and what belongs together in the cost settings."""

import pytest
import yaml

from offramp.cost.mapping.optimized.mapping_steps import MappingStep
from offramp.errors import ConfigError
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config, build_config
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
        CostConfig(mapping="layer_by_layer", mapping_steps=("on_chip",))


def test_the_mapping_is_optimized_unless_the_convention_is_the_published_one() -> None:
    assert CostConfig().mapping == "optimized"
    assert CostConfig(convention="published").mapping == "layer_by_layer"
    assert CostConfig(mapping="layer_by_layer").convention == "offramp"


def test_the_mapping_follows_the_convention_until_it_is_given() -> None:
    published = with_settings(Config(), {"cost.convention": "published"})
    assert published.cost.mapping == "layer_by_layer"
    assert with_settings(published, {"cost.convention": "offramp"}).cost.mapping == "optimized"
    given = with_settings(Config(), {"cost.mapping": "layer_by_layer"})
    assert with_settings(given, {"cost.weight_bits": 4}).cost.mapping == "layer_by_layer"
    # Settings that were saved say which mapping they mean.
    saved = build_config(yaml.safe_load(published.to_yaml()))
    assert saved == published


def test_a_mapping_that_contradicts_the_convention_is_refused() -> None:
    for settings in ({"cost.mapping": "optimized", "cost.convention": "published"}, {"cost.convention": "published"}):
        start = with_settings(Config(), {"cost.mapping": "optimized"} if len(settings) == 1 else {})
        with pytest.raises(ConfigError, match="mapping layer_by_layer only; leave mapping out"):
            with_settings(start, settings)
    with pytest.raises(ConfigError, match="mapping_steps belong to mapping optimized"):
        CostConfig(convention="published", mapping_steps=("on_chip",))
