"""Columns of images and labels in a parquet file, found by type and by the metadata of Hugging Face."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from offramp.errors import DataError

_LABEL_WORDS = ("label", "labels", "class", "target", "y")


@dataclass(frozen=True)
class Columns:
    """The columns of a parquet file.

    Attributes:
        image: Name of the column with images.
        label: Name of the column with labels.
        class_names: Names of the classes; None if the file does not state them.
    """

    image: str
    label: str
    class_names: tuple[str, ...] | None


def find_columns(schema: Any, file: str, image_column: str | None, label_column: str | None) -> Columns:
    """Find the columns of images and labels.

    Images are bytes, or a struct with a field ``bytes``; labels are integers or text.

    Args:
        schema: Schema of pyarrow.
        file: Name of the file in messages.
        image_column: Column of the images; None: the only one that fits.
        label_column: Column of the labels; None: the only one that fits. A column that is declared as labels or has a
            usual name comes first.

    Returns:
        The columns.

    Raises:
        DataError: No column fits, several fit, or a given column is missing or of another type.
    """
    image = image_column or _choose([f.name for f in schema if is_image(f.type)], "image", schema, file)
    _check_there(schema, image, "image_column", file)
    if not is_image(schema.field(image).type):
        raise DataError(
            f"Column {image!r} of {file!r} must hold images as bytes (or a struct with `bytes`), "
            f"but its type is {schema.field(image).type}. It has: {_described(schema)}."
        )
    names_of = _class_labels(schema)
    if label_column is None:
        others = [f.name for f in schema if f.name != image and _is_label(f.type)]
        declared = [name for name in others if name in names_of]
        conventional = [name for name in others if name.lower() in _LABEL_WORDS]
        label = _choose(
            next((group for group in (declared, conventional) if len(group) == 1), declared or others),
            "label",
            schema,
            file,
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


def is_image(kind: Any) -> bool:
    """Check whether a column may hold encoded images.

    Args:
        kind: Type of the column, of pyarrow.

    Returns:
        True for bytes, and for structs with a field ``bytes``.
    """
    import pyarrow

    if pyarrow.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))


def _is_label(kind: Any, *, given: bool = False) -> bool:
    """Whether a type can hold labels; floats and booleans only if the user names the column."""
    from pyarrow import types

    fits: list[Callable[[Any], bool]] = [types.is_integer, types.is_string, types.is_large_string]
    if given:
        fits += [types.is_floating, types.is_boolean]
    return any(check(_value_type(kind)) for check in fits)


def _class_labels(schema: Any) -> dict[str, tuple[str, ...]]:
    """Class names of each column that the metadata of Hugging Face declares as ClassLabel; {} without it."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: tuple(str(entry) for entry in feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}
