"""Which parquet column holds the images and which the labels, found by type and by Hugging Face's own notes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from offramp.errors import DataError

_LABEL_WORDS = ("label", "labels", "class", "target", "y")


@dataclass(frozen=True)
class Columns:
    """Names of the two columns, and the class names where the file gives them."""

    image: str
    label: str
    class_names: tuple[str, ...] | None


def find_columns(schema: Any, file: str, image_column: str | None, label_column: str | None) -> Columns:
    """Columns of a pyarrow ``schema``; a column that is given by name is used, the other one is looked for.

    Images are bytes, or a struct with a field ``bytes``; labels are whole numbers or text. Raises DataError where
    no column or more than one fits.
    """
    image = image_column or _choose([f.name for f in schema if _is_image(f.type)], "image", schema, file)
    _check_there(schema, image, "image_column", file)
    if not _is_image(schema.field(image).type):
        raise DataError(
            f"Column {image!r} of {file!r} must hold images as bytes (or a struct with `bytes`), "
            f"but its type is {schema.field(image).type}. It has: {_described(schema)}."
        )
    names_of = _class_labels(schema)
    if label_column is None:
        others = [f.name for f in schema if f.name != image and _is_label(f.type)]
        noted = [name for name in others if name in names_of]
        usual = [name for name in others if name.lower() in _LABEL_WORDS]
        label = _choose(
            next((group for group in (noted, usual) if len(group) == 1), noted or others), "label", schema, file
        )
    else:
        _check_there(schema, label_column, "label_column", file)
        label = label_column
        if not _is_label(schema.field(label).type, given=True):
            raise DataError(
                f"Column {label!r} of {file!r} must hold one class number or name per row, "
                f"but its type is {schema.field(label).type}. It has: {_described(schema)}."
            )
    return Columns(image, label, names_of.get(label))


def _choose(candidates: list[str], kind: str, schema: Any, file: str) -> str:
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        problem = f"none fits in {file!r}, which has: {_described(schema)}"
    else:
        problem = f"in {file!r} these fit: {', '.join(candidates)}"
    raise DataError(f"There must be one column of {kind}s, but {problem}. Name it with `{kind}_column`.")


def _check_there(schema: Any, column: str, setting: str, file: str) -> None:
    if schema.names.count(column) != 1:
        raise DataError(f"`{setting}` must name one column of {file!r}, got {column!r}. It has: {_described(schema)}.")


def _described(schema: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema) or "no columns"


def _value_type(kind: Any) -> Any:
    import pyarrow

    return kind.value_type if pyarrow.types.is_dictionary(kind) else kind


def _is_image(kind: Any) -> bool:
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _is_label(kind: Any, *, given: bool = False) -> bool:
    """Floats and truth values are labels only where somebody says so by name."""
    from pyarrow import types

    fits: list[Callable[[Any], bool]] = [types.is_integer, types.is_string, types.is_large_string]
    if given:
        fits += [types.is_floating, types.is_boolean]
    return any(check(_value_type(kind)) for check in fits)


def _class_labels(schema: Any) -> dict[str, tuple[str, ...]]:
    """Class names of each column that Hugging Face's note in the file calls a ClassLabel; {} without a usable note."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: tuple(str(entry) for entry in feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}
