"""Settings from YAML or JSON files."""

import errno
from pathlib import Path

from offramp.errors import ConfigError
from offramp.files.safe_files import read_file
from offramp.files.safe_yaml import MAX_YAML_BYTES, YamlFaultError, parse_yaml
from offramp.jsonio import shortened
from offramp.settings.config import Config, build_config

CONFIG_VERSION = 1


def load_config(path: str | Path) -> Config:
    """Read a settings file.

    Args:
        path: A YAML or JSON file; settings that it leaves out keep their defaults.

    Returns:
        The settings.

    Raises:
        ConfigError: The file cannot be read, or what it holds are not settings.
    """
    file = Path(path)
    try:
        text = read_file(file, limit=MAX_YAML_BYTES)
    except OSError as exc:
        if exc.errno == errno.EFBIG:
            raise ConfigError(
                f"Settings file {str(file)!r} must be at most {MAX_YAML_BYTES // 1024} KiB; it is larger."
            ) from exc
        raise ConfigError(f"Settings file {str(file)!r} cannot be read: {exc.strerror}. Check --config.") from exc
    return config_from_text(text, origin=f"Settings file {str(file)!r}")


def config_from_text(text: str | bytes, origin: str) -> Config:
    """Read settings from text.

    Args:
        text: YAML or JSON, in UTF-8 where it is bytes.
        origin: Where the text came from, for the error message.

    Returns:
        The settings.

    Raises:
        ConfigError: The text is not YAML, has another version, gives a name twice, writes numbers in base 8 or 60, or
            holds something that is no setting.
    """
    try:
        document = parse_yaml(text)
    except YamlFaultError as exc:
        raise ConfigError(f"{origin} must be YAML text, but it cannot be parsed: {exc}.") from exc
    repeated, ambiguous = "; ".join(document.repeated), "; ".join(document.ambiguous)
    if repeated:
        raise ConfigError(f"{origin} must give every setting once, but {repeated}. Leave all but one out.")
    if ambiguous:
        raise ConfigError(f"{origin} must write numbers so that all readers agree, but {ambiguous}.")
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        raise ConfigError(f"{origin} must hold named settings, got a {type(data).__name__}.")
    version = data.get("version", CONFIG_VERSION)
    if version != CONFIG_VERSION:
        raise ConfigError(
            f"{origin} has version {shortened(repr(version))}; this offramp reads version {CONFIG_VERSION}."
        )
    return build_config(data, origin=origin)
