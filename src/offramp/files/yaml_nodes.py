"""What a YAML parser decides without a word: the last of two equal names, and numbers that are not decimal."""

import re
from collections.abc import Iterator

import yaml

_LONGEST_QUOTE = 100
# Of YAML 1.1, which PyYAML reads; YAML 1.2 and most people read these otherwise.
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_NUMBER_TAGS = frozenset(("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"))


def repeated_names(root: yaml.Node | None) -> tuple[str, ...]:
    """Find names that a mapping gives twice; YAML itself keeps the last value.

    Args:
        root: The document, as its parser composed it; None for an empty one.

    Returns:
        One clause for each.
    """
    clauses = []
    for node in _nodes(root):
        if not isinstance(node, yaml.MappingNode):
            continue
        seen: set[str] = set()
        for key, _ in node.value:
            # Several merges of other mappings (<<) are allowed.
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    clauses.append(f"{_quoted(key.value)} stands a second time in line {_line(key)}")
                seen.add(key.value)
    return tuple(clauses)


def ambiguous_numbers(root: yaml.Node | None) -> tuple[str, ...]:
    """Find numbers that YAML 1.1 reads as octal (``010`` is 8) or sexagesimal (``1:30`` is 90).

    Args:
        root: The document, as its parser composed it; None for an empty one.

    Returns:
        One clause for each, with what to write.
    """
    clauses = []
    for node in _nodes(root):
        if not isinstance(node, yaml.ScalarNode) or node.style is not None or node.tag not in _NUMBER_TAGS:
            continue
        digits = node.value.replace("_", "").lstrip("+-0")
        octal = bool(_OCTAL.fullmatch(node.value)) and len(digits) > 1
        if octal or ":" in node.value:
            kind = "base 8" if octal else "base 60"
            clauses.append(
                f"{_quoted(node.value)} in line {_line(node)} is a number in {kind} for YAML; write it without leading "
                "zeros and colons, or in quotes if it is text"
            )
    return tuple(clauses)


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """All nodes in the order of the text, each once, however many aliases lead to it."""
    visited: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in visited:
            continue
        visited.add(id(node))
        yield node
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            waiting.extend(part for pair in reversed(node.value) for part in reversed(pair))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}...")
