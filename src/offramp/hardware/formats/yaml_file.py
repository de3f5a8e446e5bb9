"""Safe YAML from an untrusted file: limits of size and nesting, doubtful values found, every failure one sentence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from offramp.errors import AcceleratorError
from offramp.files.yaml_nodes import ambiguous_numbers, repeated_names
from offramp.hardware.field_types import shown

MAX_FILE_BYTES = 256 * 1024
MAX_NODES = 50_000
# Values that contradict an explicit tag (`!!int ''`, `!!bool maybe`) leave PyYAML as plain Python errors.
_YAML_FAULTS = (yaml.YAMLError, RecursionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


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
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            raise AcceleratorError(f"Accelerator file '{path}' must describe an accelerator, but it is empty.")
        if _count_nodes(root, {}) > MAX_NODES:
            raise AcceleratorError(
                f"Accelerator file '{path}' must stay below {MAX_NODES} YAML values once its aliases are written out; "
                "it has more. Remove the nested aliases."
            )
        doubtful = (*repeated_names(root), *ambiguous_numbers(root))
        data = loader.construct_document(root)
    except _YAML_FAULTS as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise AcceleratorError(f"Accelerator file '{path}' must be YAML, but it cannot be read: {reason}.") from exc
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise AcceleratorError(
            f"Accelerator file '{path}' must hold a mapping such as `name: ...`, but it holds {shown(data)}."
        )
    return YamlFile(data, doubtful)


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise AcceleratorError(f"'{path}' is a folder; give the accelerator's YAML file in it.")
        if path.exists() and not path.is_file():
            raise AcceleratorError(f"'{path}' is not a regular file; give an accelerator's YAML file.")
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise AcceleratorError(f"Accelerator file '{path}' cannot be read: {reason}.") from exc
    if len(content) > MAX_FILE_BYTES:
        raise AcceleratorError(f"Accelerator file '{path}' must be at most {MAX_FILE_BYTES // 1024} KiB; it is larger.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise AcceleratorError(
            f"Accelerator file '{path}' must be UTF-8 text in YAML, but it is a binary file."
        ) from exc


def _count_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Values in the tree with every alias written out; a self-reference counts as too many."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_NODES + 1
    total = 1
    if isinstance(node, yaml.SequenceNode):
        total += sum(_count_nodes(item, known) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        total += sum(_count_nodes(key, known) + _count_nodes(value, known) for key, value in node.value)
    known[id(node)] = min(total, MAX_NODES + 1)
    return known[id(node)]
