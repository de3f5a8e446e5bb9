"""Settings from YAML or JSON files."""

from pathlib import Path

import yaml

from offramp.errors import ConfigError
from offramp.files.yaml_nodes import ambiguous_numbers, repeated_names
from offramp.jsonio import shortened
from offramp.settings.config import Config, build_config

CONFIG_VERSION = 1
MAX_CONFIG_BYTES = 1_000_000
# Values that contradict an explicit tag (`!!bool maybe`) leave PyYAML as plain Python errors.
YAML_FAULTS = (yaml.YAMLError, RecursionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


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
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(
                f"Settings file {str(file)!r} must be smaller than 1 MB, it has {file.stat().st_size} bytes."
            )
        text = file.read_bytes()
    except OSError as exc:
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
        loader = yaml.SafeLoader(text.decode("utf-8") if isinstance(text, bytes) else text)
        root = loader.get_single_node()
        repeated, ambiguous = repeated_names(root), ambiguous_numbers(root)
        data = None if root is None else loader.construct_document(root)
    except YAML_FAULTS as exc:
        reason = " ".join(str(exc).split())
        raise ConfigError(f"{origin} must be YAML text, but it cannot be parsed: {reason}.") from exc
    if repeated:
        raise ConfigError(f"{origin} must give every setting once, but {'; '.join(repeated)}. Leave all but one out.")
    if ambiguous:
        raise ConfigError(f"{origin} must write numbers so that all readers agree, but {'; '.join(ambiguous)}.")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{origin} must hold named settings, got a {type(data).__name__}.")
    version = data.get("version", CONFIG_VERSION)
    if version != CONFIG_VERSION:
        raise ConfigError(
            f"{origin} has version {shortened(repr(version))}; this offramp reads version {CONFIG_VERSION}."
        )
    return build_config(data, origin=origin)
