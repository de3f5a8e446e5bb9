"""Options made from the settings: type, default and help are the field's; `--set` gives any setting."""

import re
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.cli.setting_options import (
    COST_OPTIONS,
    GROUPS,
    SEARCH_OPTIONS,
    GroupedCommand,
    SettingOption,
    default_text,
    takes_settings,
)
from offramp.errors import ConfigError, InputError
from offramp.settings.budget_config import BudgetConfig
from offramp.settings.by_name import SETTINGS, find_setting, with_settings
from offramp.settings.config import Config

EVERY = [("search", option) for option in SEARCH_OPTIONS] + [("cost", option) for option in COST_OPTIONS]


def given(*arguments: str) -> dict[str, Any]:
    """What a command gets for its options of the settings."""
    found: dict[str, Any] = {}
    small = typer.Typer()

    @small.command()
    @takes_settings(SEARCH_OPTIONS)
    def run(changes: dict[str, object], other: Annotated[int, typer.Option()] = 1) -> None:
        found.update(changes, other=other)

    done = CliRunner().invoke(small, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return found


def test_only_what_is_given_is_changed() -> None:
    assert given() == {"other": 1}
    assert given("--seed", "3", "--other", "2") == {"seed": 3, "other": 2}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--data", "here"), {"data.source": "here"}),
        (("--objective", "macs, accuracy", "--objective", "energy_pj"),
         {"search.objectives": ["macs", "accuracy", "energy_pj"]}),
        (("--pick", "macs<=1M,accuracy>=0.5"), {"fine_tune.picks": ["macs<=1M,accuracy>=0.5"]}),
        (("--freeze", "--no-quantize"), {"space.freeze": True, "fine_tune.quantize": False}),
        (("--evaluation-timeout", "2.5"), {"execution.evaluation_timeout_s": 2.5}),
        (("--budget", "2m"), {"budget": BudgetConfig(seconds=120)}),
        (("--set", "fine_tune.drop_exits=true", "--set", "space.branches=[conv, pool_mlp]"),
         {"fine_tune.drop_exits": True, "space.branches": ["conv", "pool_mlp"]}),
    ],
)  # fmt: skip
def test_options_give_their_settings(arguments: tuple[str, ...], expected: dict[str, Any]) -> None:
    changes = given(*arguments)
    assert changes == {**expected, "other": 1}
    with_settings(Config(), {name: value for name, value in changes.items() if name != "other"})


def test_a_setting_is_given_once() -> None:
    with pytest.raises(InputError, match="'seed' must be given once, but --seed and --set 'seed=4' both give it"):
        given("--seed", "3", "--set", "seed=4")
    with pytest.raises(InputError, match="but --set and --set 'seed=4' both"):
        given("--set", "seed=3", "--set", "seed=4")
    with pytest.raises(InputError, match=r"'budget\.seconds' must be given once, but --budget and --set 'budget.sec"):
        given("--budget", "40m", "--set", "budget.seconds=5")
    both = given("--budget", "40m", "--set", "budget.evaluations=5")
    assert both == {"budget": BudgetConfig(seconds=2400), "budget.evaluations": 5, "other": 1}
    with pytest.raises(ConfigError, match=r"Did you mean 'fine_tune\.drop_exits'"):
        given("--set", "fine_tune.drop_exit=true")


@pytest.mark.parametrize(("command", "option"), EVERY)
def test_the_help_is_what_the_field_says(command: str, option: SettingOption) -> None:
    shown = " ".join(CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "400"}).output.split())
    setting = find_setting(option.setting)
    # Long names are broken at hyphens; spaces are no part of what is compared.
    said, text = (re.sub(r"\s", "", part) for part in (shown, f"{option.name} {setting.description}"))
    assert re.sub(r"\s", "", setting.description) in said
    assert option.name in said, text
    default = default_text(setting)
    if default:
        assert re.sub(r"\s", "", f"[default: {default}]") in said


def test_the_help_is_grouped_common_options_first() -> None:
    shown = CliRunner().invoke(app, ["search", "--help"]).output
    headings = re.findall(r"^(\w[\w -]*):$", shown, flags=re.M)
    assert headings == list(GROUPS)
    common = shown.partition("Search space:")[0]
    for option in ("--data", "--accelerator", "--budget", "--run", "--constraint", "--objective", "--pick", "--seed"):
        assert option in common
    assert "--algorithm" not in common


def test_every_option_has_a_setting_and_a_group() -> None:
    for _, option in EVERY:
        assert option.group in GROUPS
        assert option.setting in SETTINGS or option.parse is not None
    names = [option.name for option in SEARCH_OPTIONS]
    assert len(set(names)) == len(names)


def test_the_help_of_a_grouped_command_without_settings() -> None:
    small = typer.Typer(rich_markup_mode=None)

    @small.command(cls=GroupedCommand)
    def run(what: str, much: Annotated[bool, typer.Option("--much")] = False) -> None:
        """Do it."""

    shown = CliRunner().invoke(small, ["--help"]).output
    assert shown.index("Arguments:") < shown.index("Common options:") < shown.index("--much")


def test_settings_of_other_sections_are_refused_by_cost(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["cost", str(tmp_path / "m.onnx"), "--set", "seed=3"])
    assert isinstance(done.exception, InputError)
    assert "settings of cost alone, got seed" in str(done.exception)
