from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from offramp.data.class_labels import EncodedLabels, encode_labels
from offramp.data.raw_data import RawPart, Role
from offramp.errors import DataError


def part(labels: Any, role: Role = "train") -> RawPart:
    array = np.asarray(labels)
    return RawPart(role, f"{role}.file", np.zeros((max(array.shape[:1], default=1), 1, 2, 2), np.uint8), array)


def encode(labels: Any, names: tuple[str, ...] | None = None, test: Any = None) -> EncodedLabels:
    parts = [part(labels)] + ([part(test, "test")] if test is not None else [])
    return encode_labels(parts, names)


def test_numbers_keep_their_value_and_are_their_own_names() -> None:
    encoded = encode([2, 0, 1, 1], test=[1])
    assert encoded.class_names == ("0", "1", "2")
    assert [labels.tolist() for labels in encoded.labels] == [[2, 0, 1, 1], [1]]
    assert all(labels.dtype == np.int64 for labels in encoded.labels)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u8", "f4", "f8", ">i4"])
def test_any_number_type_will_do(dtype: str) -> None:
    assert encode(np.array([1, 0, 1], dtype=dtype)).labels[0].tolist() == [1, 0, 1]


def test_truth_values_are_two_classes() -> None:
    assert encode([True, False]).class_names == ("0", "1")


def test_a_column_of_labels_is_as_good_as_a_row() -> None:
    assert encode([[1], [0]]).labels[0].tolist() == [1, 0]


def test_names_are_numbered_in_order_and_numbers_among_names_by_value() -> None:
    assert encode(["dog", "cat", "dog"]).class_names == ("cat", "dog")
    encoded = encode(["10", "9", "2"], test=["9"])
    assert encoded.class_names == ("2", "9", "10")
    assert [labels.tolist() for labels in encoded.labels] == [[2, 1, 0], [1]]


def test_names_as_bytes_are_names() -> None:
    assert encode(np.array([b"b", b"a"])).class_names == ("a", "b")
    assert len(encode(np.array([b"\xff", b"a"])).class_names) == 2


COMPOSED, DECOMPOSED = "caf\xe9", "cafe\u0301"


def test_composed_and_decomposed_names_are_one_class_and_that_is_told() -> None:
    encoded = encode([DECOMPOSED, "tea", COMPOSED], test=[COMPOSED, DECOMPOSED])
    assert encoded.class_names == (COMPOSED, "tea")
    assert [labels.tolist() for labels in encoded.labels] == [[0, 1, 0], [0, 0]]
    (note,) = encoded.notes
    assert "is written in 2 ways ('caf\\xe9' and 'cafe\\u0301'); they are one class" in note
    assert encode([DECOMPOSED, "tea"]).class_names == (COMPOSED, "tea")
    assert encode([0, 1], (DECOMPOSED, "tea")).class_names == (COMPOSED, "tea")


def test_given_names_that_look_alike_are_told_apart() -> None:
    with pytest.raises(DataError, match=r"twice: caf\xe9 \('caf\\xe9' and 'cafe\\u0301'\)"):
        encode([0, 1], (COMPOSED, DECOMPOSED))


@pytest.mark.parametrize(("first", "second"), [("cat", "Cat"), ("cat", "cat "), ("cat", "c\u200bat"), ("x", "\uff58")])
def test_names_that_only_look_alike_stay_two_classes_and_are_told_apart(first: str, second: str) -> None:
    encoded = encode([first, second])
    assert len(encoded.class_names) == 2
    (note,) = encoded.notes
    assert ascii(first) in note
    assert ascii(second) in note
    with pytest.raises(DataError, match="which looks like"):
        encode([first, "dog"], test=[second])


FAULTS = [
    ([0, 1, 3, 3], None, r"train\.file.*none of class 2 \('2'\)"),
    ([0, 1], ("a", "b", "c"), r"none of class 2 \('c'\)"),
    ([0, 1, 2], ("a", "b"), r"must lie in 0\.\.1 \(2 classes\), got 2 for sample 2 \(1 such"),
    ([0, -1, 1], None, r"got -1 for sample 1"),
    ([-1, -1], None, r"hidden"),
    ([0.0, float("nan")], None, r"1 are not a number \(NaN\).*sample 1"),
    ([0.0, float("inf")], None, r"infinite"),
    ([0.0, 0.5], None, r"whole numbers, got 0\.5 for sample 1"),
    ([0, 10**9], None, r"highest is 1000000000 and there are only 2 samples.*label_column"),
    (np.array([0, 2**64 - 1], dtype=np.uint64), None, r"highest is"),
    ([0.0, 1e300], None, r"highest is"),
    ([[1, 0], [0, 1]], None, r"shape \(2, 2\).*argmax"),
    ([["a", "b"], ["c", "d"]], None, r"one class name per sample.*\(2, 2\)"),
    (3, None, r"shape \(\)"),
    ([0, 0, 0], None, r"at least 2 classes, got 1: 0"),
    (["a", "a"], None, r"at least 2 classes, got 1: a"),
    ([0j, 1j], None, r"numbers or names, got values of type complex128"),
    ([0, 1], ("a", "a"), r"names .* must differ.*twice: a"),
]


@pytest.mark.parametrize(("labels", "names", "message"), FAULTS)
def test_broken_labels_are_named(labels: Any, names: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        encode(labels, names)


def test_every_fault_of_the_test_part_names_the_test_file() -> None:
    with pytest.raises(DataError, match=r"test\.file.*hidden.*cut from the training part"):
        encode([0, 1], test=[-1, -1])
    with pytest.raises(DataError, match=r"test\.file.*'emu'"):
        encode(["cat", "dog"], test=["dog", "emu"])
    with pytest.raises(DataError, match=r"test\.file.*one class name per sample"):
        encode(["cat", "dog"], test=[0, 1])
    with pytest.raises(DataError, match=r"test\.file.*numbers or names"):
        encode([0, 1], test=["cat", "dog"])


def test_a_class_only_in_the_test_part_has_no_training_images() -> None:
    with pytest.raises(DataError, match=r"train\.file.*none of class 2"):
        encode([0, 1, 1], test=[2])


def test_a_test_part_may_lack_a_class() -> None:
    assert encode([0, 1, 2], test=[0]).labels[1].tolist() == [0]


def test_more_missing_classes_than_fit_are_counted() -> None:
    with pytest.raises(DataError, match=r"1 \('1'\), 2 \('2'\), 3 \('3'\), 4 \('4'\), 5 \('5'\) and 3 more"):
        encode([0, 9] * 5)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(st.one_of(hnp.scalar_dtypes(), hnp.unicode_string_dtypes()), hnp.array_shapes(max_dims=2, max_side=6))
)
def test_any_array_is_encoded_or_refused(labels: Any) -> None:
    try:
        encoded = encode(labels)
    except DataError:
        return
    assert set(encoded.labels[0].tolist()) == set(range(len(encoded.class_names)))


def test_counts_of_images_and_labels_must_agree() -> None:
    with pytest.raises(DataError, match=r"'x'.*3 samples and 2 labels"):
        RawPart("train", "x", np.zeros((3, 1, 2, 2), np.uint8), np.array([0, 1]))


@pytest.mark.parametrize("labels", [["a", "", "b"], ["a", "  ", "b"], [b"a", b"", b"b"]])
def test_samples_without_a_label_are_no_class_of_their_own(labels: list[Any]) -> None:
    with pytest.raises(DataError, match="must have a label, but 1 have none, the first is sample 1"):
        encode(np.array(labels))
