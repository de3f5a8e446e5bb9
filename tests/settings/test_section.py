"""Sections check themselves and describe their fields."""

import pytest

from offramp.errors import ConfigError
from offramp.settings.by_name import SECTIONS
from offramp.settings.config import Config
from offramp.settings.cost_config import CostConfig
from offramp.settings.section import Section, build_section


def test_sections_check_themselves() -> None:
    assert build_section(CostConfig, {"weight_bits": 2}).weight_bits == 2
    with pytest.raises(ConfigError, match="convention"):
        build_section(CostConfig, {"convention": "mine"})


@pytest.mark.parametrize("section", [Config, *SECTIONS.values()])
def test_every_field_is_described_in_one_plain_sentence(section: type[Section]) -> None:
    for name, field in section.model_fields.items():
        assert field.description, name
        assert field.description[0].isupper() or field.description[0] == "`", name
        assert field.description.endswith("."), name
        assert f"    {name}: {field.description}" in (section.__doc__ or "").splitlines()
