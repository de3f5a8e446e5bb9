"""The one reader of YAML: text from elsewhere becomes plain data within bounds, or a sentence."""

from dataclasses import dataclass
from typing import Any

import yaml

from offramp.files.yaml_nodes import ambiguous_numbers, repeated_names

MAX_YAML_BYTES = 256 * 1024
"""The largest file of YAML that is read. Parsing it takes up to about ten seconds."""
MAX_NODES = 50_000
"""The most values that a document may have once its aliases and merges (``<<``) are written out."""
# Values that contradict an explicit tag (`!!int ''`, `!!bool maybe`) leave PyYAML as plain Python errors.
_FAULTS = (yaml.YAMLError, RecursionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


MAX_DEPTH = 100
"""The deepest nesting of lists and mappings. PyYAML takes a time that grows with its square."""


_MAX_DIGITS = 1000


class YamlFaultError(ValueError):
    """The text is not YAML, or its aliases are too many; the message is a clause that says why."""


@dataclass(frozen=True)
class YamlDocument:
    """What a text holds.

    Attributes:
        data: Plain Python data; None for an empty text.
        repeated: One clause for each name that a mapping gives twice, of which YAML keeps the last value.
        ambiguous: One clause for each number in base 8 or 60.
    """

    data: Any
    repeated: tuple[str, ...]
    ambiguous: tuple[str, ...]


def _too_many() -> YamlFaultError:
    return YamlFaultError(
        f"it must stay below {MAX_NODES} YAML values once its aliases are written out, but it has more; remove the "
        "nested aliases and merges"
    )


class _Bounds:
    """Stops a loader at a limit while it reads, so that no text takes long."""

    flow_level: int
    indents: list[int]
    _nodes = 0

    def fetch_more_tokens(self) -> Any:
        if max(self.flow_level, len(self.indents)) > MAX_DEPTH:
            raise YamlFaultError(f"its lists and mappings must be nested at most {MAX_DEPTH} deep, but they are deeper")
        return super().fetch_more_tokens()  # type: ignore[misc]

    def compose_node(self, parent: yaml.Node | None, index: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _too_many()
        return super().compose_node(parent, index)  # type: ignore[misc]


class _SafeLoader(_Bounds, yaml.SafeLoader):
    """Numbers, truth values and dates become Python's."""

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        # Python refuses to write a whole number of more than 4,300 digits, also in a message.
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > _MAX_DIGITS:
            raise YamlFaultError(f"its numbers must have at most {_MAX_DIGITS} digits, but one has {len(node.value):,}")
        return super().construct_scalar(node)


class _BaseLoader(_Bounds, yaml.BaseLoader):
    """Every scalar stays text."""


def parse_yaml(text: str | bytes, *, only_text: bool = False) -> YamlDocument:
    """Parse one document of safe YAML.

    Args:
        text: The text, in UTF-8 where it is bytes.
        only_text: Whether every scalar stays text, also numbers and truth values.

    Returns:
        Its data, and what is doubtful in it.

    Raises:
        YamlFaultError: The text cannot be parsed, is longer than `MAX_YAML_BYTES`, is nested deeper than `MAX_DEPTH`,
            or has more than `MAX_NODES` values once its aliases are written out.
    """
    if len(text) > MAX_YAML_BYTES:
        raise YamlFaultError(f"it must have at most {MAX_YAML_BYTES // 1024} KiB, but it has {len(text):,} bytes")
    try:
        loader = (_BaseLoader if only_text else _SafeLoader)(text.decode("utf-8") if isinstance(text, bytes) else text)
        root = loader.get_single_node()
        if root is not None and _count_nodes(root, {}) > MAX_NODES:
            raise _too_many()
        repeated, ambiguous = repeated_names(root), ambiguous_numbers(root)
        data = None if root is None else loader.construct_document(root)
    except YamlFaultError:
        raise
    except _FAULTS as exc:
        raise YamlFaultError(" ".join(str(exc).split()) or type(exc).__name__) from exc
    return YamlDocument(data, repeated, ambiguous)


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
