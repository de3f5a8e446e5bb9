import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat

from offramp.data.images import mat_file
from offramp.data.images.mat_file import load_mat
from offramp.errors import DataError
from tests.data.samples import random_images

NUMBERS = st.one_of(
    hnp.integer_dtypes(endianness="="),
    hnp.unsigned_integer_dtypes(endianness="="),
    hnp.floating_dtypes(endianness="=", sizes=(32, 64)),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)), st.booleans())
def test_arrays_are_what_scipy_wrote_and_reads(tmp_path: Path, values: Any, compressed: bool) -> None:
    path = tmp_path / "x.mat"
    savemat(path, {"first": np.eye(3), "X": values, "words": "text", "cells": [[1], "a"]}, do_compression=compressed)
    read = load_mat(path, ("X", "not_there"))
    assert list(read) == ["X"]
    expected = loadmat(path)["X"]
    np.testing.assert_array_equal(read["X"], expected)
    assert read["X"].dtype == expected.dtype


def big_endian(values: np.ndarray[Any, Any], stored_kind: int, stored: str, array_class: int) -> bytes:
    """A file as another computer writes it, put together from the format's description."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    shape = struct.pack(f">{values.ndim}i", *values.shape)
    body = element(6, struct.pack(">II", array_class, 0)) + element(5, shape)
    body += struct.pack(">HH4s", 1, 1, b"X")
    body += element(stored_kind, values.astype(stored).tobytes(order="F"))
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + element(14, body)


def test_the_other_byte_order_and_numbers_stored_in_a_smaller_type(tmp_path: Path) -> None:
    values = np.array([[1.0, 2.0, 300.0], [4.0, 5.0, 6.0]])
    (tmp_path / "x.mat").write_bytes(big_endian(values, 4, ">u2", 6))
    read = load_mat(tmp_path / "x.mat", ("X",))["X"]
    assert read.tolist() == values.tolist()
    assert read.dtype == np.float64


@pytest.mark.parametrize("values", [np.array([[1j]]), "text", [[1], "a"], {"field": 1}])
def test_what_is_not_an_array_of_real_numbers(tmp_path: Path, values: Any) -> None:
    savemat(tmp_path / "x.mat", {"X": values})
    with pytest.raises(DataError, match=r"Array 'X' in .*x\.mat' must hold plain real numbers"):
        load_mat(tmp_path / "x.mat", ("X",))


def test_shapes_and_types_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    good = big_endian(np.ones((2, 3)), 2, ">u1", 9)
    path.write_bytes(good)
    assert load_mat(path, ("X",))["X"].shape == (2, 3)
    shape = struct.pack(">2i", 2, 3)
    for change, message in (
        (struct.pack(">2i", 2, 4), r"shape \(2, 4\) has 6 values"),
        (struct.pack(">2i", -2, -3), "impossible"),
    ):
        path.write_bytes(good.replace(shape, change))
        with pytest.raises(DataError, match=message):
            load_mat(path, ("X",))
    path.write_bytes(big_endian(np.ones((2, 3)), 8, ">u1", 9))
    with pytest.raises(DataError, match="unknown type 8"):
        load_mat(path, ("X",))
    path.write_bytes(big_endian(np.ones((1, 3)), 4, ">u1", 9))
    with pytest.raises(DataError, match="3 bytes are no whole number of values of 2 bytes"):
        load_mat(path, ("X",))


def test_a_compressed_array_cannot_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    savemat(tmp_path / "x.mat", {"X": np.zeros((100, 100))}, do_compression=True)
    monkeypatch.setattr(mat_file, "_MAX_ARRAY_BYTES", 1000)
    with pytest.raises(DataError, match="cut short or too large"):
        load_mat(tmp_path / "x.mat", ("X",))


@pytest.mark.parametrize("compressed", [False, True])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_is_read_or_refused(tmp_path: Path, compressed: bool, data: st.DataObject) -> None:
    path = tmp_path / "x.mat"
    savemat(path, {"X": random_images(3), "y": [[1], [2], [3]]}, do_compression=compressed)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(100, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))
    try:
        assert all(isinstance(array, np.ndarray) for array in load_mat(path, ("X", "y")).values())
    except DataError as exc:
        assert "x.mat" in str(exc)  # noqa: PT017 - either outcome is right
