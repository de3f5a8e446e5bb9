"""Reading an accelerator file: safe YAML first, then field by field, with every fault noted and none fatal."""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from offramp.errors import AcceleratorError
from offramp.jsonio import shortened

MAX_FILE_BYTES = 256 * 1024
MAX_NODES = 50_000
MAX_INTEGER = 2**62
# Values that contradict an explicit tag (`!!int ''`, `!!bool maybe`) leave PyYAML as plain Python errors.
_YAML_FAULTS = (yaml.YAMLError, RecursionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_LONGEST_FAULT = 400


@dataclass(frozen=True)
class YamlFile:
    """The mapping that a file holds, and the keys that it gives twice (YAML itself keeps the last)."""

    data: dict[str, Any]
    repeated_keys: tuple[str, ...]


def read_yaml(path: Path) -> YamlFile:
    """Read one mapping from a YAML file of at most 256 KiB; anything else is an AcceleratorError that says why."""
    text = _read_text(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            raise AcceleratorError(f"Accelerator file '{path}' must describe an accelerator, but it is empty.")
        repeated: list[str] = []
        if _count_nodes(root, {}, repeated) > MAX_NODES:
            raise AcceleratorError(
                f"Accelerator file '{path}' must stay below {MAX_NODES} YAML values once its aliases are written out; "
                "it has more. Remove the nested aliases."
            )
        data = yaml.safe_load(text)
    except _YAML_FAULTS as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
        raise AcceleratorError(f"Accelerator file '{path}' must be YAML, but it cannot be read: {reason}.") from exc
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise AcceleratorError(
            f"Accelerator file '{path}' must hold a mapping such as `name: ...`, but it holds {_shown(data)}."
        )
    return YamlFile(data, tuple(repeated))


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


def _count_nodes(node: yaml.Node, known: dict[int, int], repeated: list[str]) -> int:
    """Values in the tree with every alias written out; a self-reference counts as too many."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_NODES + 1
    total = 1
    if isinstance(node, yaml.SequenceNode):
        total += sum(_count_nodes(item, known, repeated) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    repeated.append(f"line {key.start_mark.line + 1}: key {key.value!r} is given twice")
                seen.add(key.value)
            total += _count_nodes(key, known, repeated) + _count_nodes(value, known, repeated)
    known[id(node)] = min(total, MAX_NODES + 1)
    return known[id(node)]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass
class Faults:
    """Everything that is wrong with one accelerator file."""

    items: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        text = shortened(f"{where}: {what}" if where else what, _LONGEST_FAULT)
        if text not in self.items:
            self.items.append(text)

    def raise_if_any(self, name: str) -> None:
        if self.items:
            count = len(self.items)
            noun = "fault" if count == 1 else "faults"
            raise AcceleratorError(f"Accelerator '{name}' has {count} {noun}: {'; '.join(self.items)}.")


class Section:
    """One mapping of the file. A reader that meets a fault notes it and goes on with a stand-in: all are found."""

    def __init__(self, data: Any, where: str, faults: Faults) -> None:
        self.where = where
        self.faults = faults
        self.data: dict[str, Any] = {}
        self._asked: list[str] = []
        if isinstance(data, dict):
            self.data = {str(key): value for key, value in data.items()}
        else:
            self.fault(f"must be a mapping, got {_shown(data)}")
            self.faults = Faults()  # that its keys are missing follows, and is not worth saying

    def fault(self, what: str) -> None:
        self.faults.add(self.where, what)

    def __contains__(self, key: str) -> bool:
        return self.data.get(key) is not None

    def _get(self, key: str, required: bool) -> Any:
        self._asked.append(key)
        value = self.data.get(key)
        if value is None and required:
            self.fault(f"`{key}` is missing")
        return value

    def integer(self, key: str, *, minimum: int, default: int | None = None) -> int:
        """A whole number >= ``minimum``; required when there is no ``default``."""
        value = self._get(key, required=default is None)
        stand_in = minimum if default is None else default
        return stand_in if value is None else self.checked_integer(key, value, minimum, stand_in)

    def checked_integer(self, key: str, value: Any, minimum: int, stand_in: int) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(f"`{key}` must be a whole number, got {_shown(value)}")
            return stand_in
        if not minimum <= value <= MAX_INTEGER:
            bound = f">= {minimum}" if value < minimum else f"<= {MAX_INTEGER}"
            self.fault(f"`{key}` must be {bound}, got {_shown(value)}")
            return stand_in
        return value

    def number(self, key: str, *, default: float | None = None, positive: bool = False) -> float:
        """A finite number >= 0 (> 0 when ``positive``)."""
        value = self._get(key, required=default is None)
        stand_in = 1.0 if default is None else default
        if value is None:
            return stand_in
        if isinstance(value, str) and re.fullmatch(r"\d+(\.\d*)?[eE][+-]?\d+", value):
            value = float(value)  # YAML 1.1 reads 1e9 as text
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault(f"`{key}` must be a number, got {_shown(value)}")
            return stand_in
        if not math.isfinite(value) or value < 0 or value > MAX_INTEGER or (positive and value == 0):
            self.fault(f"`{key}` must be a finite number {'> 0' if positive else '>= 0'}, got {_shown(value)}")
            return stand_in
        return float(value)

    def flag(self, key: str) -> bool:
        value = self._get(key, required=False)
        if value is None:
            return False
        if not isinstance(value, bool):
            self.fault(f"`{key}` must be true or false, got {_shown(value)}")
        return value is True

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self._get(key, required=default is None)
        if value is None:
            return default or ""
        if not isinstance(value, str) or not value.strip():
            self.fault(f"`{key}` must be text, got {_shown(value)}")
            return default or ""
        return " ".join(value.split())

    def choice(self, key: str, options: Sequence[str], *, default: str | None = None) -> str:
        value = self.text(key, default=default)
        if value and value not in options:
            self.fault(f"`{key}` must be one of {', '.join(options)}, got {_shown(value)}")
        return value if value in options else options[0]

    def values(self, key: str, *, required: bool = True) -> list[Any]:
        """A list of anything."""
        value = self._get(key, required)
        if value is None:
            return []
        if not isinstance(value, list):
            self.fault(f"`{key}` must be a list, got {_shown(value)}")
            return []
        return value

    def words(self, key: str, *, required: bool = True) -> list[str]:
        """A list of distinct names."""
        values = self.values(key, required=required)
        words = [value for value in values if isinstance(value, str)]
        for value in values:
            if not isinstance(value, str):
                self.fault(f"`{key}` must hold names, got {_shown(value)}")
        for word in sorted({word for word in words if words.count(word) > 1}):
            self.fault(f"`{key}` names {word!r} twice")
        return list(dict.fromkeys(words))

    def repeated_words(self, key: str) -> list[str]:
        """A list of names that may occur more than once."""
        values = self.values(key)
        for value in values:
            if not isinstance(value, str):
                self.fault(f"`{key}` must hold names, got {_shown(value)}")
        return [value for value in values if isinstance(value, str)]

    def section(self, key: str) -> "Section":
        value = self._get(key, required=True)
        where = f"{self.where}.{key}" if self.where else key
        return Section({}, where, Faults()) if value is None else Section(value, where, self.faults)

    def done(self, also: Sequence[str] = ()) -> None:
        """Note every key that nobody asked for; ``also`` names keys that may be there but mean nothing here."""
        allowed = [*self._asked, *also]
        for key in self.data:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1)
                hint = f", did you mean `{near[0]}`?" if near else ""
                self.fault(f"unknown key `{_shown(key)[1:-1]}`{hint}")
