"""Ways to damage a file: as bytes, as text, and as YAML or JSON data."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml

# Those in C are ten times as fast; they are there where PyYAML was built with libyaml.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

Mutation = Callable[[bytes, np.random.Generator], bytes]

_NUMBERS = ("0", "-1", "1e400", "-1e400", ".nan", "NaN", "1e-320", "999999999999999999999", "0x41", "1_000", "3.5")
_WORDS = (
    "null",
    "true",
    "[]",
    "{}",
    '""',
    "../../etc/passwd",
    "/dev/zero",
    "\x00",
    "é" * 300,
    "!!python/name:os",
    "a:b",
)
_VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e308, float("inf"), float("nan"), True, None, "", "x" * 5000),
    *("../../../etc/passwd", "con", [], {}, [[]], {"": {}}, [None], ["a", "a"], {"0": 1}),
)


def flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if changed:
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def remove(data: bytes, rng: np.random.Generator) -> bytes:
    start, length = _span(data, rng)
    return data[:start] + data[start + length :]


def repeat(data: bytes, rng: np.random.Generator) -> bytes:
    start, length = _span(data, rng)
    return data[: start + length] + data[start : start + length] * int(rng.integers(1, 5)) + data[start + length :]


def insert(data: bytes, rng: np.random.Generator) -> bytes:
    start, length = _span(data, rng)
    return data[:start] + rng.bytes(length) + data[start:]


def extreme_integers(data: bytes, rng: np.random.Generator) -> bytes:
    """Overwrite a place with a number that is likely to be taken for a size."""
    width = int(rng.choice([1, 2, 4, 8]))
    if len(data) < width:
        return data
    start = int(rng.integers(len(data) - width + 1))
    value = (0, 1, 255, 2 ** (8 * width - 1) - 1, 2 ** (8 * width) - 1)[int(rng.integers(5))]
    order = "little" if rng.random() < 0.5 else "big"
    return data[:start] + value.to_bytes(width, order) + data[start + width :]  # type: ignore[arg-type]


def change_token(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace a word or a number of a text."""
    text = data.decode("utf-8", "replace")
    tokens = list(re.finditer(r"-?\d+(?:\.\d+)?|\w+", text))
    if not tokens:
        return data
    token = tokens[int(rng.integers(len(tokens)))]
    new = str(rng.choice(_NUMBERS if token[0].lstrip("-")[:1].isdigit() and rng.random() < 0.7 else _WORDS))
    return (text[: token.start()] + new + text[token.end() :]).encode("utf-8", "replace")


def shuffle_lines(data: bytes, rng: np.random.Generator) -> bytes:
    """Drop, repeat, move or indent lines."""
    lines = data.split(b"\n")
    for _ in range(int(rng.integers(1, 4))):
        place, other = (int(value) for value in rng.integers(len(lines), size=2))
        kind = int(rng.integers(4))
        if kind == 0 and len(lines) > 1:
            del lines[place]
        elif kind == 1:
            lines.insert(other, lines[place])
        elif kind == 2:
            lines[place], lines[other] = lines[other], lines[place]
        else:
            lines[place] = b"  " * int(rng.integers(1, 4)) + lines[place]
    return b"\n".join(lines)


def nest(data: bytes, rng: np.random.Generator) -> bytes:
    """Brackets deeper than a parser's stack, or references that multiply."""
    kind = int(rng.integers(3))
    if kind == 0:
        return b"[" * 100_000 + data
    if kind == 1:
        return b'{"a":' * 50_000 + data
    levels = [b"a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)]
    return b"\n".join([*levels, data])


def change_value(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace, drop, add or rename something in a tree of data; what cannot be parsed is changed as text."""
    as_json = data.lstrip()[:1] in (b"{", b"[")
    try:
        tree = json.loads(data) if as_json else yaml.load(data, _LOADER)
    except (yaml.YAMLError, ValueError, RecursionError):
        return change_token(data, rng)
    for _ in range(int(rng.integers(1, 4))):
        tree = _changed(tree, rng)
    try:
        text = json.dumps(tree) if as_json else yaml.dump(tree, Dumper=_DUMPER, sort_keys=False)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return change_token(data, rng)
    return text.encode("utf-8", "replace")


def _changed(tree: Any, rng: np.random.Generator) -> Any:
    """One change at a random place, found by going down from the root."""
    descends = isinstance(tree, dict | list) and len(tree) > 0 and rng.random() < 0.85
    if not descends:
        if isinstance(tree, int | float) and rng.random() < 0.6:
            return [tree + 1, tree * 2, tree // 2, tree - 1, tree * 1000, tree * 0.75][int(rng.integers(6))]
        return copy.deepcopy(_VALUES[int(rng.integers(len(_VALUES)))])
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = keys[int(rng.integers(len(keys)))]
    fate = rng.random()
    if fate < 0.1:
        del tree[key]
    elif fate < 0.2 and isinstance(tree, dict):
        tree[str(key) + "x"] = tree.pop(key)
    elif fate < 0.25 and isinstance(tree, list):
        tree.extend([tree[key]] * int(rng.integers(1, 50)))
    else:
        tree[key] = _changed(tree[key], rng)
    return tree


def _span(data: bytes, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(len(data) + 1)), int(2 ** rng.uniform(0, 10))


BYTES: tuple[Mutation, ...] = (flip_bits, flip_bits, cut, remove, repeat, insert, extreme_integers, extreme_integers)
TEXT: tuple[Mutation, ...] = (change_value,) * 6 + (change_token,) * 3 + (shuffle_lines, nest, flip_bits, cut, remove)


def mutate(data: bytes, is_text: bool, rng: np.random.Generator) -> bytes:
    """One to three kinds of damage, one after the other."""
    kinds = TEXT if is_text else BYTES
    for _ in range(int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))):
        data = kinds[int(rng.integers(len(kinds)))](data, rng)
    return data
