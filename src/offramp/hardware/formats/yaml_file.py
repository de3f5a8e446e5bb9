"""Safe YAML from an untrusted file: limits of size and nesting, doubtful values found, every failure one sentence."""

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offramp.errors import AcceleratorError
from offramp.files.safe_files import read_file
from offramp.files.safe_yaml import MAX_YAML_BYTES, YamlFaultError, parse_yaml
from offramp.hardware.field_types import shown


@dataclass(frozen=True)
class YamlFile:
    """The mapping that a file holds.

    Attributes:
        data: The mapping, as plain Python data.
        doubtful: One clause for each key that the file gives twice, of which YAML itself keeps the last value, and for
            each number in base 8 or 60.
    """

    data: dict[str, Any]
    doubtful: tuple[str, ...]


def read_yaml(path: Path) -> YamlFile:
    """Read one mapping from a YAML file of at most 256 KiB.

    Args:
        path: A regular file in UTF-8. Aliases may be used, up to 50,000 values once they are written out.

    Returns:
        The mapping, and what is doubtful in it.

    Raises:
        AcceleratorError: The file cannot be read, is too large, is not safe YAML, or holds no mapping.
    """
    text = _read_text(path)
    try:
        document = parse_yaml(text)
    except YamlFaultError as exc:
        raise AcceleratorError(f"Accelerator file '{path}' must be YAML, but it cannot be read: {exc}.") from exc
    data = document.data
    if data is None:
        raise AcceleratorError(f"Accelerator file '{path}' must describe an accelerator, but it is empty.")
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise AcceleratorError(
            f"Accelerator file '{path}' must hold a mapping such as `name: ...`, but it holds {shown(data)}."
        )
    return YamlFile(data, (*document.repeated, *document.ambiguous))


def _read_text(path: Path) -> str:
    try:
        content = read_file(path, limit=MAX_YAML_BYTES)
    except IsADirectoryError as exc:
        raise AcceleratorError(f"'{path}' is a folder; give the accelerator's YAML file in it.") from exc
    except (OSError, ValueError) as exc:
        if getattr(exc, "errno", None) == errno.EFBIG:
            raise AcceleratorError(
                f"Accelerator file '{path}' must be at most {MAX_YAML_BYTES // 1024} KiB; it is larger."
            ) from exc
        reason = getattr(exc, "strerror", None) or exc
        raise AcceleratorError(f"Accelerator file '{path}' cannot be read: {reason}.") from exc
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise AcceleratorError(
            f"Accelerator file '{path}' must be UTF-8 text in YAML, but it is a binary file."
        ) from exc
