"""Command-line options made from the settings: type, default and help come from the field of the setting."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from offramp.errors import InputError
from offramp.settings.budget_config import parse_budget
from offramp.settings.by_name import Setting, find_setting, parse_assignment, split_list

COMMON = "Common options"
SPACE = "Search space"
COST = "Cost model"
SEARCH = "Search"
TRAINING = "Training and fine-tuning"
DEPLOYMENT = "Deployment"
EXECUTION = "Execution"
GROUPS = (COMMON, SPACE, COST, SEARCH, TRAINING, DEPLOYMENT, EXECUTION)

_SET = "settings"
_TYPES: dict[str, Any] = {"text": str, "whole number": int, "number": float, "flag": bool, "list": list[str]}
_METAVARS = {"text": "TEXT", "whole number": "INTEGER", "number": "NUMBER", "list": "TEXT", "section": "TEXT"}


@dataclass(frozen=True)
class SettingOption:
    """A short way to give one setting on the command line.

    Attributes:
        name: The option, such as ``--data``.
        setting: The name of the setting, such as ``data.source``.
        group: The heading that the help shows it under.
        parse: How the text becomes the value, where the setting is a whole section.
    """

    name: str
    setting: str
    group: str = COMMON
    parse: Callable[[str], object] | None = None

    @property
    def parameter(self) -> str:
        """The name of the option's parameter."""
        return self.name.removeprefix("--").replace("-", "_")


SEARCH_OPTIONS = (
    SettingOption("--data", "data.source"),
    SettingOption("--accelerator", "cost.accelerator"),
    SettingOption("--budget", "budget", parse=parse_budget),
    SettingOption("--objective", "search.objectives"),
    SettingOption("--constraint", "search.constraints"),
    SettingOption("--fit-memory", "search.fit_memory"),
    SettingOption("--pick", "fine_tune.picks"),
    SettingOption("--seed", "seed"),
    SettingOption("--backbone", "space.backbone", SPACE),
    SettingOption("--weights", "space.weights", SPACE),
    SettingOption("--freeze", "space.freeze", SPACE),
    SettingOption("--branches", "space.branches", SPACE),
    SettingOption("--precision", "space.precision", SPACE),
    SettingOption("--bits", "space.precisions", SPACE),
    SettingOption("--analog-shares", "space.analog_shares", SPACE),
    SettingOption("--engine", "cost.engine", COST),
    SettingOption("--mapping", "cost.mapping", COST),
    SettingOption("--algorithm", "search.algorithm", SEARCH),
    SettingOption("--quantize", "fine_tune.quantize", TRAINING),
    SettingOption("--weight-density", "fine_tune.weight_density", TRAINING),
    SettingOption("--guarantee", "fine_tune.guarantee", TRAINING),
    SettingOption("--licence", "deploy.licence", DEPLOYMENT),
    SettingOption("--target", "deploy.targets", DEPLOYMENT),
    SettingOption("--workers", "execution.workers", EXECUTION),
    SettingOption("--devices", "execution.devices", EXECUTION),
    SettingOption("--cluster", "execution.cluster", EXECUTION),
    SettingOption("--evaluation-timeout", "execution.evaluation_timeout_s", EXECUTION),
    SettingOption("--max-failures", "execution.max_failures", EXECUTION),
    SettingOption("--track", "execution.tracker", EXECUTION),
)
"""The options of `offramp search` that give a setting."""

COST_OPTIONS = (
    SettingOption("--accelerator", "cost.accelerator"),
    SettingOption("--weight-bits", "cost.weight_bits"),
    SettingOption("--activation-bits", "cost.activation_bits"),
    SettingOption("--engine", "cost.engine", COST),
    SettingOption("--convention", "cost.convention", COST),
    SettingOption("--loads", "cost.loads", COST),
    SettingOption("--unrolling", "cost.unrolling", COST),
    SettingOption("--memory-fill", "cost.memory_fill", COST),
    SettingOption("--mapping", "cost.mapping", COST),
)
"""The options of `offramp cost` that give a setting."""


class GroupedCommand(TyperCommand):
    """A command whose help shows its options under headings."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options of each group.

        Args:
            ctx: The context of the command.
            formatter: What the help is written to.
        """
        records: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        records.update({group: [] for group in GROUPS})
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                kind = "Arguments" if parameter.param_type_name == "argument" else COMMON
                records[getattr(parameter, "rich_help_panel", None) or kind].append(record)
        for group, rows in records.items():
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)


def takes_settings(options: Sequence[SettingOption]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command that takes settings.

    The command gets them as its first argument: values by the name of the setting, those alone that were given.

    Args:
        options: The options that give one setting each; ``--set`` gives any.

    Returns:
        The decorator.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        required = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
        others = [parameter for parameter in own if parameter not in required]
        ordered = [*required, *map(_parameter, options), *others, _set_parameter()]

        @functools.wraps(function)
        def command(**given: Any) -> None:
            rest = {parameter.name: given[parameter.name] for parameter in own}
            function(_changes(options, given), **rest)

        command.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
        return command

    return decorate


def _parameter(option: SettingOption) -> inspect.Parameter:
    setting = find_setting(option.setting)
    kind = str if option.parse is not None else _TYPES[setting.kind]
    flags = f"{option.name}/--no-{option.name.removeprefix('--')}" if setting.kind == "flag" else option.name
    info = typer.Option(
        flags,
        help=_help(setting),
        metavar="|".join(setting.choices)
        if setting.kind == "text" and setting.choices
        else _METAVARS.get(setting.kind),
        rich_help_panel=option.group,
        show_default=False,
    )
    return inspect.Parameter(
        option.parameter, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=Annotated[kind | None, info]
    )


def _set_parameter() -> inspect.Parameter:
    info = typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting by name, with its value as YAML: fine_tune.drop_exits=true. See `offramp list settings`. "
        "Repeatable.",
        rich_help_panel=COMMON,
    )
    return inspect.Parameter(
        _SET, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=Annotated[list[str] | None, info]
    )


def _help(setting: Setting) -> str:
    """What the field says, with its default."""
    text = setting.description
    if setting.kind == "list":
        text += " Repeatable." if setting.name == "fine_tune.picks" else " Repeatable, or separated by commas."
    default = default_text(setting)
    return f"{text} [default: {default}]" if default else text


def default_text(setting: Setting) -> str:
    """Write the default of a setting as the command line shows it.

    Args:
        setting: The setting.

    Returns:
        The default as it would be given; empty for none, for an empty list and for a whole section.
    """
    if setting.default is None or setting.kind == "section":
        return ""
    if setting.kind == "flag":
        return "true" if setting.default else "false"
    if setting.kind == "list":
        return ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in setting.default)
    if setting.kind == "mapping":
        return ""
    return f"{setting.default:g}" if isinstance(setting.default, float) else str(setting.default)


def _changes(options: Sequence[SettingOption], given: Mapping[str, Any]) -> dict[str, object]:
    """The settings that were given, by name."""
    changes: dict[str, object] = {}
    origin: dict[str, str] = {}
    for option in options:
        value = given[option.parameter]
        if value is None:
            continue
        setting = find_setting(option.setting)
        if option.parse is not None:
            value = option.parse(value)
        elif setting.kind == "list":
            value = split_list(setting, value)
        changes[setting.name] = value
        origin[setting.name] = option.name
    for text in given[_SET] or []:
        setting, value = parse_assignment(text)
        section = setting.name.rpartition(".")[0]
        twice = setting.name if setting.name in changes else section
        if setting.name in changes or getattr(changes.get(section), setting.name.rpartition(".")[2], None) is not None:
            raise InputError(
                f"The setting {setting.name!r} must be given once, but {origin[twice]} and --set {text!r} both "
                "give it. Leave one of them out."
            )
        changes[setting.name] = value
        origin[setting.name] = "--set"
    return changes
