import json
from typing import Any

import pyarrow as pa
import pytest

from offramp.data.readers.parquet_columns import Columns, find_columns
from offramp.errors import DataError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
INT, TEXT, BYTES = pa.int64(), pa.string(), pa.large_binary()


def note(**features: Any) -> dict[bytes, bytes]:
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def class_label(*names: str) -> dict[str, Any]:
    return {"_type": "ClassLabel", "names": list(names)}


def find(
    fields: dict[str, Any],
    metadata: dict[bytes, bytes] | None = None,
    image: str | None = None,
    label: str | None = None,
) -> Columns:
    return find_columns(pa.schema(list(fields.items()), metadata), "x.parquet", image, label)


@pytest.mark.parametrize("image_type", [IMAGE, pa.binary(), BYTES])
@pytest.mark.parametrize("label_type", [INT, pa.uint8(), TEXT, pa.large_string(), pa.dictionary(pa.int32(), TEXT)])
def test_columns_are_told_by_their_types(image_type: Any, label_type: Any) -> None:
    columns = find({"weight": pa.float32(), "foo": image_type, "bar": label_type})
    assert columns == Columns("foo", "bar", None)


def test_class_names_come_from_the_note() -> None:
    columns = find({"img": IMAGE, "label": INT}, note(img={"_type": "Image"}, label=class_label("cat", "dog")))
    assert columns.class_names == ("cat", "dog")


def test_a_noted_or_usual_label_wins_over_other_numbers() -> None:
    assert find({"img": IMAGE, "id": INT, "kind": INT}, note(kind=class_label("a", "b"))).label == "kind"
    assert find({"img": IMAGE, "id": INT, "label": TEXT}).label == "label"
    assert find({"img": IMAGE, "id": INT, "Target": INT}).label == "Target"


def test_two_kinds_of_labels_must_be_chosen_from() -> None:
    fields = {"img": IMAGE, "fine_label": INT, "coarse_label": INT, "id": INT}
    metadata = note(fine_label=class_label("a", "b"), coarse_label=class_label("c", "d"))
    with pytest.raises(
        DataError, match=r"column of labels, .* fit: fine_label, coarse_label\. Name it with `label_column`"
    ):
        find(fields, metadata)
    assert find(fields, metadata, label="coarse_label") == Columns("img", "coarse_label", ("c", "d"))


def test_what_is_given_is_used() -> None:
    fields = {"left": IMAGE, "right": BYTES, "a": INT, "label": INT}
    with pytest.raises(DataError, match=r"fit: left, right\. Name it with `image_column`"):
        find(fields)
    assert find(fields, image="right", label="a") == Columns("right", "a", None)
    assert find({"img": IMAGE, "grade": pa.float64()}, label="grade").label == "grade"


@pytest.mark.parametrize(
    ("fields", "image", "label", "message"),
    [
        ({}, None, None, "column of images, but none fits in 'x.parquet', which has: no columns"),
        ({"label": INT}, None, None, r"column of images, .* label \(int64\).*image_column"),
        ({"img": IMAGE, "f": pa.float64()}, None, None, r"column of labels, but none fits.*f \(double\).*label_column"),
        (
            {"img": IMAGE, "label": INT},
            "image",
            None,
            r"`image_column` must name one column of 'x.parquet', got 'image'",
        ),
        ({"img": IMAGE, "label": INT}, None, "kind", r"`label_column` must name one column .* got 'kind'"),
        ({"img": IMAGE, "label": INT}, "label", None, r"'label' of 'x.parquet' must hold images as bytes.*int64"),
        (
            {"img": IMAGE, "label": pa.list_(INT)},
            None,
            "label",
            "'label' .* must hold one class number or name per row",
        ),
        ({"img": IMAGE, "label": INT}, None, "img", "'img' .* must hold one class number or name per row"),
        ({"img": pa.struct([("path", TEXT)]), "label": INT}, None, None, "column of images, but none fits"),
        ({"img": pa.struct([("bytes", TEXT)]), "label": INT}, None, None, "column of images, but none fits"),
    ],
)
def test_columns_that_are_not_there(fields: dict[str, Any], image: str | None, label: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find(fields, image=image, label=label)


def test_one_name_for_two_columns_is_refused() -> None:
    schema = pa.schema([("img", IMAGE), ("label", INT), ("label", INT)])
    with pytest.raises(DataError, match="must name one column"):
        find_columns(schema, "x.parquet", None, "label")
    with pytest.raises(DataError, match="these fit: label, label"):
        find_columns(schema, "x.parquet", None, None)


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"[]", b"null", b"{}", b'{"info": []}', b'{"info": {"features": [1]}}', b"[" * 100_000]
)
def test_a_broken_note_is_no_note(text: bytes) -> None:
    assert find({"img": IMAGE, "label": INT}, {b"huggingface": text}) == Columns("img", "label", None)


@pytest.mark.parametrize(
    "feature", [None, 3, {}, {"_type": "ClassLabel"}, {"_type": "ClassLabel", "names": []}, {"names": 1}]
)
def test_a_strange_feature_has_no_class_names(feature: Any) -> None:
    assert find({"img": IMAGE, "label": INT}, note(label=feature)).class_names is None
