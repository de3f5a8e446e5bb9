"""Settings by name: ``cost.accelerator`` in text, ``cost__accelerator`` as a keyword of a call."""

import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, Unpack, get_args, get_origin

from offramp.errors import ConfigError
from offramp.files.safe_yaml import YamlFaultError, parse_yaml
from offramp.jsonio import shortened
from offramp.settings.config import Config, build_config
from offramp.settings.keywords import KeywordSettings
from offramp.settings.section import Section

ValueKind = Literal["text", "whole number", "number", "flag", "list", "mapping", "section"]

_KINDS: dict[type, ValueKind] = {
    bool: "flag",
    int: "whole number",
    float: "number",
    str: "text",
    tuple: "list",
    dict: "mapping",
}


@dataclass(frozen=True)
class Setting:
    """One setting, or one section, as its field declares it.

    Attributes:
        name: Its name with dots, such as ``cost.accelerator``.
        description: One sentence on what it means.
        default: The value that it has unless it is set.
        kind: What sort of value it takes.
        choices: All values that it may have, where they are fixed; otherwise empty.
        optional: Whether None is a value.
    """

    name: str
    description: str
    default: Any
    kind: ValueKind
    choices: tuple[str, ...]
    optional: bool


def _setting(name: str, section: type[Section], field: str) -> Setting:
    info = section.model_fields[field]
    members = _members(info.annotation)
    present = [member for member in members if member is not types.NoneType]
    choices = tuple(str(value) for member in present if get_origin(member) is Literal for value in get_args(member))
    bases = [str if get_origin(member) is Literal else get_origin(member) or member for member in present]
    kind = "section" if isinstance(info.default, Section) else _KINDS[bases[0]]
    return Setting(name, info.description or "", info.default, kind, choices, len(present) < len(members))


def _members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type, without what `Annotated` adds."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for part in get_args(annotation) for member in _members(part))
    return (annotation,)


SECTIONS: dict[str, type[Section]] = {
    name: type(field.default) for name, field in Config.model_fields.items() if isinstance(field.default, Section)
}
"""The sections of the settings by name."""

SETTINGS: dict[str, Setting] = {
    "seed": _setting("seed", Config, "seed"),
    **{
        f"{section}.{field}": _setting(f"{section}.{field}", kind, field)
        for section, kind in SECTIONS.items()
        for field in kind.model_fields
    },
}
"""All settings by their names with dots."""


def find_setting(name: str) -> Setting:
    """Find a setting or a section.

    Args:
        name: Its name with dots.

    Returns:
        What its field declares.

    Raises:
        ConfigError: There is none of that name; the message has the nearest name.
    """
    if name in SETTINGS:
        return SETTINGS[name]
    if name in SECTIONS:
        return _setting(name, Config, name)
    section, _, last = name.partition(".")
    if section in SECTIONS:
        fields = list(SECTIONS[section].model_fields)
        near = difflib.get_close_matches(last, fields, n=1)
        hint = f" Did you mean {f'{section}.{near[0]}'!r}?" if near else ""
        raise ConfigError(f"There is no setting {name!r}.{hint} Settings of {section}: {', '.join(fields)}.")
    same = [known for known in SETTINGS if known.rpartition(".")[2] == name.rpartition(".")[2]]
    near = same or difflib.get_close_matches(name, [*SETTINGS, *SECTIONS], n=1)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ConfigError(f"There is no setting {shortened(name)!r}.{hint} Sections: {', '.join(SECTIONS)}.")


def with_settings(
    config: Config, changes: Mapping[str, object] | None = None, /, **settings: Unpack[KeywordSettings]
) -> Config:
    """Copy settings with some of them changed.

    Sections are replaced first; single settings then change what the sections hold.

    Args:
        config: The settings to start from.
        changes: Values by name with dots, for example ``{"cost.accelerator": "edge-tpu-quad"}``.
        settings: The same as keywords, with two underscores for the dot: ``cost__accelerator="edge-tpu-quad"``.

    Returns:
        The changed copy.

    Raises:
        ConfigError: A name is unknown, or a value is not allowed.
    """
    # Defaults are left out: some of them depend on other settings.
    data = config.model_dump(mode="python", exclude_unset=True)
    every = {**(changes or {}), **dotted(settings)}
    for name, value in sorted(every.items(), key=lambda item: "." in item[0]):
        find_setting(name)
        section, _, field = name.rpartition(".")
        if name not in SECTIONS:
            (data.setdefault(section, {}) if section else data)[field] = value
        elif isinstance(value, SECTIONS[name]):
            data[name] = value.model_dump(mode="python", exclude_unset=True)
        else:
            kind = SECTIONS[name].__name__
            raise ConfigError(f"{name!r} must be a {kind}, such as {name}={kind}(...), got {shortened(repr(value))}.")
    return build_config(data)


def dotted(settings: KeywordSettings) -> dict[str, object]:
    """Give keywords their names with dots.

    Args:
        settings: Settings by keyword, such as ``cost__accelerator``.

    Returns:
        The same values by name, such as ``cost.accelerator``.
    """
    return {name.replace("__", "."): value for name, value in settings.items()}


def parse_assignment(text: str) -> tuple[Setting, object]:
    """Read a setting and its value from text.

    Args:
        text: ``NAME=VALUE``, with the value as YAML. A list may also be written with commas alone: ``a,b``.

    Returns:
        The setting and the value, which is checked only when it is set.

    Raises:
        ConfigError: There is no such setting, or the value is not YAML.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(
            f"A setting must be given as NAME=VALUE, such as fine_tune.drop_exits=true, got {shortened(text)!r}."
        )
    setting = find_setting(name.strip())
    if setting.kind == "section":
        raise ConfigError(
            f"{setting.name!r} is a section of the settings; set one of its settings: {setting.name}.NAME."
        )
    return setting, _parse_value(setting, value.strip())


def _parse_value(setting: Setting, text: str) -> object:
    try:
        # The entries of a list stay text, which the setting's own check converts: the pick 0 is text, too.
        document = parse_yaml(text, only_text=setting.kind == "list")
    except YamlFaultError as exc:
        if setting.kind == "text":
            return text
        raise ConfigError(f"The value of {setting.name} must be YAML, got {shortened(text)!r}: {exc}.") from exc
    value = document.data
    faults = () if setting.kind == "text" else (*document.repeated, *document.ambiguous)
    if faults:
        raise ConfigError(f"The value of {setting.name} must be plain, got {shortened(text)!r}: {'; '.join(faults)}.")
    if setting.kind == "text":
        # A name such as 2024 or yes is text here, whatever it is in YAML.
        return value if isinstance(value, str) or (value is None and setting.optional) else text
    if setting.kind == "list" and not isinstance(value, list):
        return split_list(setting, [text])
    return value


def split_list(setting: Setting, texts: list[str]) -> list[str]:
    """Split the values of a list at commas.

    Args:
        setting: The setting that is given. Picks are not split: one of them may be several bounds with commas.
        texts: What was given, each one value or several with commas.

    Returns:
        One value each.
    """
    if setting.name == "fine_tune.picks":
        return texts
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]
