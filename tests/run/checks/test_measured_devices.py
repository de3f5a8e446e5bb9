"""A search on a measured device measures what the bundle will compute."""

from pathlib import Path

import pytest

from offramp.errors import ConfigError
from offramp.run.checks.settings_checks import check_settings
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from tests.cost.engines.measured.devices import device_file


@pytest.mark.parametrize(
    ("arithmetic", "changes", "sentence"),
    [
        (
            "float32",
            {"fine_tune.quantize": True},
            "measures in float32, but .* compute in int8",
        ),
        ("int8", {}, "measures in int8, but the networks of this search compute in float32"),
        ("int8", {"space.precision": "network"}, "Bit widths cannot be searched"),
        ("float32", {"execution.cluster": "tcp://a:1"}, "measured where the search runs"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, arithmetic: str, changes: dict[str, object], sentence: str) -> None:
    path = device_file(tmp_path, arithmetic=arithmetic)
    with pytest.raises(ConfigError, match=sentence):
        check_settings(with_settings(Config(), {"cost.accelerator": str(path), **changes}))


def test_matching_settings_pass(tmp_path: Path) -> None:
    path = device_file(tmp_path, arithmetic="int8")
    settings = with_settings(Config(), {"cost.accelerator": str(path), "fine_tune.quantize": True})
    assert check_settings(settings).runner is not None
