from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offramp.deploy.bundle.manifest_records import Preprocessing
from offramp.deploy.runtime.array_files import read_samples
from offramp.errors import DataError, InputError

RNG = np.random.default_rng(0)


def form(kind: Any, shape: tuple[int, ...], *, padded: bool = False) -> Preprocessing:
    channels, *_ = shape
    height, width = (1, shape[1]) if kind == "series" else (1, 1) if kind == "vectors" else shape[1:]
    return Preprocessing(
        height,
        width,
        None,
        (0.0,) * channels,
        (1.0,) * channels,
        input_kind=kind,
        dtype="float32",
        scale=1.0,
        shape=shape,
        padded=padded,
    )


def npy(folder: Path, array: Any) -> Path:
    np.save(folder / "a.npy", array)
    return folder / "a.npy"


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


@pytest.mark.parametrize(
    ("kind", "shape", "given", "count"),
    [
        ("series", (2, 9), (2, 9), 1),
        ("series", (2, 9), (5, 2, 9), 5),
        ("series", (1, 9), (9,), 1),
        ("series", (1, 9), (5, 9), 5),
        ("series", (1, 9), (5, 1, 9), 5),
        ("vectors", (4,), (4,), 1),
        ("vectors", (4,), (5, 4), 5),
        ("feature_maps", (2, 6, 7), (3, 2, 6, 7), 3),
    ],
)
def test_one_sample_or_several_are_read(
    tmp_path: Path, kind: str, shape: tuple[int, ...], given: tuple[int, ...], count: int
) -> None:
    array = RNG.integers(-9, 9, given)
    samples = read_samples(npy(tmp_path, array), form(kind, shape))
    assert [sample.shape for sample in samples] == [shape] * count
    assert np.stack(samples).reshape(-1).tolist() == array.reshape(-1).tolist()


def test_the_test_part_of_an_archive_comes_first_and_lengths_cut(tmp_path: Path) -> None:
    x = RNG.normal(size=(3, 2, 9))
    path = npz(tmp_path, x_train=x + 1, y_train=[0, 1, 2], x_test=x, lengths_test=[9, 4, 1])
    samples = read_samples(path, form("series", (2, 9), padded=True))
    assert [sample.shape for sample in samples] == [(2, 9), (2, 4), (2, 1)]
    assert (samples[1] == x[1, :, :4].astype(np.float32)).all()
    with pytest.raises(InputError, match="this network reads series of one length only"):
        read_samples(path, form("series", (2, 9)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: npy(folder, np.zeros((3, 9, 2))), r"must have shape \(2, 9\).*got \(3, 9, 2\)"),
        (lambda folder: npy(folder, np.array(["a"])), "must be numbers"),
        (lambda folder: npz(folder, a=np.zeros(2), b=np.zeros(2)), "x_test, x, samples or data.*it holds a, b"),
        (lambda folder: npz(folder, x=np.zeros((1, 2, 9)), lengths=[0]), "above 0"),
        (lambda folder: npz(folder, x=np.zeros((1, 2, 9)), lengths=[10]), r"at most the steps .* \(9\), got 10"),
        (lambda folder: folder / "a.txt", "from .npy and .npz files"),
    ],
)
def test_other_files_end_in_a_sentence(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_samples(make(tmp_path), form("series", (2, 9), padded=True))


def test_damaged_files_end_in_a_sentence(tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz"):
        (tmp_path / name).write_bytes(b"\x93NUMPY nothing")
        with pytest.raises(DataError, match=name):
            read_samples(tmp_path / name, form("series", (2, 9)))
