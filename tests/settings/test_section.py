"""Sections check themselves and describe their fields."""

import pytest

from offramp.errors import ConfigError
from offramp.settings.by_name import SECTIONS
from offramp.settings.config import Config
from offramp.settings.cost_config import CostConfig
from offramp.settings.data_config import DataConfig
from offramp.settings.section import Section, build_section


def test_sections_check_themselves() -> None:
    assert build_section(CostConfig, {"weight_bits": 2}).weight_bits == 2
    with pytest.raises(ConfigError, match="convention"):
        build_section(CostConfig, {"convention": "mine"})


def test_a_section_made_in_python_is_refused_as_one_from_a_file_is() -> None:
    with pytest.raises(ConfigError, match=r"DataConfig: 1 fault\(s\): soruce: .*[Dd]id you mean 'source'"):
        DataConfig(soruce="digits")  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"Config: 2 fault\(s\): seed: .*; data.validation_share: "):
        Config(seed="x", data={"validation_share": 2})  # type: ignore[arg-type]


@pytest.mark.parametrize("section", [Config, *SECTIONS.values()])
def test_every_field_is_described_in_one_plain_sentence(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        assert field.description, name
        assert field.description[0].isupper() or field.description[0] == "`", name
        assert field.description.endswith("."), name
        assert f"    {name}: {field.description}" in (section.__doc__ or "").splitlines()


@pytest.mark.parametrize("name", ["seed", "version", "train.epochs", "train.learning_rate", "budget.seconds"])
def test_true_is_no_number(name: str) -> None:
    section, _, field = name.rpartition(".")
    with pytest.raises(ConfigError, match=rf"{name}: true and false are for settings that are on or off"):
        build_section(Config, {section: {field: True}} if section else {field: True})


def test_a_number_too_long_to_write_out_is_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"seed: .* \(given: a number of thousands of digits\)"):
        build_section(Config, {"seed": 16**9000})
