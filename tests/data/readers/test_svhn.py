from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from offramp.data.raw_data import RawDataset
from offramp.data.readers.svhn import SvhnReader
from offramp.errors import DataError
from tests.data.samples import options, random_images, role

IMAGES = random_images(12, (32, 32, 3))
LABELS = np.array([10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1], dtype=np.uint8)


def save(path: Path, images: Any = IMAGES, labels: Any = LABELS) -> Path:
    savemat(path, {"X": np.moveaxis(images, 0, -1), "y": labels[:, None], "unused": [1]})
    return path


def read(path: Path) -> RawDataset:
    return SvhnReader().read(path, options(path.parent))


def test_images_lie_along_the_last_axis_and_ten_is_zero(tmp_path: Path) -> None:
    dataset = read(save(tmp_path / "train_32x32.mat"))
    assert (dataset.train.samples == IMAGES.transpose(0, 3, 1, 2)).all()
    assert dataset.train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert dataset.class_names == tuple("0123456789")


def test_a_folder_keeps_its_test_file_and_leaves_the_extra_one(tmp_path: Path) -> None:
    save(tmp_path / "train_32x32.mat")
    save(tmp_path / "test_32x32.mat", IMAGES[:4], LABELS[:4])
    save(tmp_path / "extra_32x32.mat", IMAGES[:1], LABELS[:1])
    assert SvhnReader().claims(tmp_path)
    dataset = read(tmp_path)
    assert [part.role for part in dataset.parts] == ["train", "test"]
    assert len(role(dataset, "test").samples) == 4


def test_a_folder_without_the_training_file(tmp_path: Path) -> None:
    save(tmp_path / "test_32x32.mat")
    with pytest.raises(DataError, match=r"must hold train_32x32\.mat"):
        read(tmp_path)


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    savemat(path, {"X": np.zeros((32, 32, 3, 2), np.uint8)})
    with pytest.raises(DataError, match=r"x\.mat' must hold the arrays X and y, but y is missing"):
        read(path)
    savemat(path, {"X": np.zeros((32, 32), np.uint8), "y": [[1]]})
    with pytest.raises(DataError, match=r"X in .*x\.mat' must have 4 axes.*\(32, 32\)"):
        read(path)
    with pytest.raises(DataError, match="12 samples and 3 labels"):
        read(save(path, labels=LABELS[:3]))
    with pytest.raises(DataError, match=r"must lie in 0\.\.255"):
        read(save(path, IMAGES - 300.0))


@pytest.mark.parametrize(
    "content", [b"", b"text", b"MATLAB 5.0 MAT-file" + b" " * 200, b"\x89HDF\r\n\x1a\n" + b"\0" * 600]
)
def test_what_is_no_matlab_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.mat' cannot be read"):
        read(tmp_path / "x.mat")


def test_version_7_3_says_what_to_do(tmp_path: Path) -> None:
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "x.mat").write_bytes(header + b"\0" * 400)
    with pytest.raises(DataError, match=r"version 7\.3 \(HDF5\)\. Save it with -v7"):
        read(tmp_path / "x.mat")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 36_000))
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, keep: int) -> None:
    content = save(tmp_path / "whole.mat").read_bytes()
    (tmp_path / "cut.mat").write_bytes(content[:keep])
    with pytest.raises(DataError, match=r"cut\.mat"):
        read(tmp_path / "cut.mat")
