import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp import jsonio
from offramp.data.dataset_loading import load_dataset
from offramp.data.labelled_data import Dataset, Preprocessing, Split
from offramp.errors import ConfigError, DataError
from offramp.progress import SilentReporter
from tests.data.samples import CIFAR10, encoded, random_images, write_class_folders

needs_cifar10 = pytest.mark.skipif(not CIFAR10.is_dir(), reason="the reference data are not here")


def parts(dataset: Dataset) -> list[Split]:
    return [dataset.splits.train, dataset.splits.validation, dataset.splits.test]


def numbered(count: int, num_classes: int) -> dict[str, Any]:
    """Images that carry their own number, so that each can be found again after the split."""
    images = np.zeros((count, 2, 2), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    return {"x": images, "y": np.arange(count) % num_classes}


def numbers_of(split: Split) -> list[int]:
    return (split.samples[:, 0, 0, 0] + 256 * split.samples[:, 0, 0, 1].astype(int)).tolist()


def test_digits() -> None:
    dataset = load_dataset("digits", seed=0)
    assert (dataset.name, dataset.num_classes, dataset.input_shape) == ("digits", 10, (1, 8, 8))
    assert [len(split) for split in parts(dataset)] == [1079, 359, 359]
    assert all(split.samples.dtype == np.uint8 and split.labels.dtype == np.int64 for split in parts(dataset))
    # 0.6 of 178 images of each class, give or take rounding.
    assert {int(count) for count in np.bincount(dataset.splits.train.labels)} <= set(range(104, 112))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(12, 400), st.integers(2, 4), st.floats(0.05, 0.45), st.floats(0.05, 0.45), st.integers(0, 9999))
def test_every_image_ends_in_one_split_with_its_own_label(
    tmp_path: Path, count: int, num_classes: int, validation: float, test: float, seed: int
) -> None:
    np.savez(tmp_path / "x.npz", **numbered(count, num_classes))
    dataset = load_dataset(str(tmp_path / "x.npz"), seed=seed, validation_share=validation, test_share=test)
    found = [numbers_of(split) for split in parts(dataset)]
    assert sorted(itertools.chain(*found)) == list(range(count))
    for split, numbers in zip(parts(dataset), found, strict=True):
        assert [number % num_classes for number in numbers] == split.labels.tolist()
        assert set(split.labels.tolist()) == set(range(num_classes))


def test_a_test_part_that_is_there_is_kept_and_validation_comes_from_training(tmp_path: Path) -> None:
    train, test = numbered(100, 2), numbered(300, 2)
    np.savez(tmp_path / "x.npz", x_train=train["x"], y_train=train["y"], x_test=test["x"], y_test=test["y"])
    dataset = load_dataset(str(tmp_path / "x.npz"), seed=0, validation_share=0.3, test_share=0.9, duplicates="keep")
    assert numbers_of(dataset.splits.test) == list(range(300))
    assert sorted(numbers_of(dataset.splits.train) + numbers_of(dataset.splits.validation)) == list(range(100))
    assert len(dataset.splits.validation) == 30


def test_a_validation_part_that_is_there_is_kept_and_test_comes_from_training(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"a": 10, "b": 10})
    write_class_folders(tmp_path / "val", {"a": 3, "b": 3})
    dataset = load_dataset(str(tmp_path), seed=0, cache_dir=tmp_path / ".cache", duplicates="keep")
    assert [len(split) for split in parts(dataset)] == [16, 6, 4]
    assert dataset.class_names == ("a", "b")


def test_the_same_seed_gives_the_same_splits_and_the_fingerprint_is_that_of_the_data() -> None:
    first, again, other = (load_dataset("digits", seed=seed) for seed in (1, 1, 2))
    assert (first.splits.test.samples == again.splits.test.samples).all()
    assert not (first.splits.test.labels == other.splits.test.labels).all()
    assert first.fingerprint == again.fingerprint == other.fingerprint
    assert len(first.fingerprint) == 16


def test_the_same_splits_come_out_of_a_fresh_process(tmp_path: Path) -> None:
    code = (
        "from offramp.data.dataset_loading import load_dataset; import hashlib, sys; "
        "d = load_dataset('digits', seed=3); "
        "print(d.fingerprint, hashlib.sha256(d.splits.test.samples.tobytes()).hexdigest(), 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert load_dataset("digits", seed=3).fingerprint in runs[0]
    assert "False" in runs[0]


class Messages(SilentReporter):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def test_training_images_that_are_also_in_another_split_are_counted_told_and_removed(tmp_path: Path) -> None:
    # Test images 0..9 are training images, too; validation images 20..23 as well, one of them under another label.
    train, test = numbered(60, 2), {"x": numbered(60, 2)["x"][:10], "y": numbered(60, 2)["y"][:10]}
    validation = {"x": train["x"][20:24], "y": np.array([1, 1, 0, 1])}
    file = tmp_path / "x.npz"
    arrays = {"train": train, "validation": validation, "test": test}
    np.savez(file, **{f"{kind}_{part}": array[kind] for part, array in arrays.items() for kind in "xy"})
    reporter = Messages()
    dataset = load_dataset(str(file), seed=0, reporter=reporter)
    assert sorted(numbers_of(dataset.splits.train)) == [*range(10, 20), *range(24, 60)]
    assert [len(split) for split in parts(dataset)] == [46, 4, 10]
    (note,) = dataset.notes
    assert note.startswith("14 of 60 training images of 'x' are also in the validation or test split, equal to the bit")
    assert "(1 of them with another label)" in note
    assert reporter.said == [note]
    kept = load_dataset(str(file), seed=0, duplicates="keep")
    assert [len(split) for split in parts(kept)] == [60, 4, 10]
    assert "14 of 60" in kept.notes[0]
    assert kept.fingerprint == dataset.fingerprint


def test_validation_images_that_are_also_test_images_are_removed(tmp_path: Path) -> None:
    images, labels = numbered(60, 2)["x"], numbered(60, 2)["y"]
    arrays = {"train": slice(0, 20), "validation": slice(20, 44), "test": slice(40, 60)}
    chosen = {f"x_{part}": images[rows] for part, rows in arrays.items()}
    np.savez(tmp_path / "x.npz", **chosen, **{f"y_{part}": labels[rows] for part, rows in arrays.items()})
    dataset = load_dataset(str(tmp_path / "x.npz"), seed=0)
    assert numbers_of(dataset.splits.validation) == list(range(20, 40))
    assert "4 of 24 validation images of 'x' are also in the test split" in dataset.notes[0]


def test_a_class_that_duplicates_alone_fill_is_refused(tmp_path: Path) -> None:
    images, labels = numbered(20, 2)["x"], np.array([0] * 10 + [1] * 10)
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images[:10], y_test=labels[:10])
    with pytest.raises(DataError, match=r"class '0' has no other training images.*data\.duplicates: keep"):
        load_dataset(str(tmp_path / "x.npz"), seed=0)


def test_copies_in_a_hidden_folder_do_not_reach_two_splits(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets", {"cat": 20, "dog": 20})
    for name in ("cat", "dog"):
        (root / name / ".ipynb_checkpoints").mkdir()
        for file in sorted((root / name).glob("*.png")):
            copy = root / name / ".ipynb_checkpoints" / f"{file.stem}-checkpoint.png"
            copy.write_bytes(file.read_bytes())
    dataset = load_dataset(str(root), seed=0, cache_dir=tmp_path / "cache")
    assert sum(map(len, parts(dataset))) == 40
    assert "40 images that are hidden" in dataset.notes[0]
    assert ".ipynb_checkpoints/000-checkpoint.png" in dataset.notes[0]


def test_preprocessing_is_that_of_the_training_images_alone(tmp_path: Path) -> None:
    dark, bright = np.zeros((20, 4, 4), np.uint8), np.full((20, 4, 4), 255, np.uint8)
    dark[:, :2] = 51
    labels = np.arange(20) % 2
    np.savez(tmp_path / "x.npz", x_train=dark, y_train=labels, x_val=bright, y_val=labels, x_test=bright, y_test=labels)
    dataset = load_dataset(str(tmp_path / "x.npz"), seed=0, duplicates="keep")
    # Half the pixels are 0.2, half are 0: mean 0.1, deviation 0.1. The bright parts do not count.
    assert dataset.preprocessing.mean == pytest.approx((0.1,))
    assert dataset.preprocessing.std == pytest.approx((0.1,))
    text = jsonio.dumps(dataset.preprocessing)
    assert jsonio.loads(Preprocessing, text) == dataset.preprocessing


def test_image_size_applies_to_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **numbered(40, 2))
    assert load_dataset(str(tmp_path / "x.npz"), seed=0, image_size=6).input_shape == (1, 6, 6)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"seed": -1}, "`seed` must be 0 or more, got -1"),
        ({"validation_share": 0.0}, "`validation_share` must lie between 0 and 1"),
        ({"test_share": 1.0}, "`test_share` must lie between 0 and 1"),
        ({"test_share": float("nan")}, "`test_share` must lie between 0 and 1"),
        ({"test_share": 0.5, "validation_share": 0.6}, "sum below 1"),
        ({"image_size": 0}, "`image_size` must be 1 to 4096 pixels, got 0"),
        ({"image_size": 5000}, "`image_size` must be 1 to 4096 pixels"),
    ],
)
def test_impossible_settings(settings_: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_dataset("digits", **({"seed": 0} | settings_))


def test_a_class_too_small_to_split(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "pets", {"cat": 9, "dog": 2})
    with pytest.raises(DataError, match=r"pets' must have at least 3 samples.*class 'dog' has 2"):
        load_dataset(str(tmp_path / "pets"), seed=0, cache_dir=tmp_path / "cache")


def test_values_check_themselves() -> None:
    images, labels = np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, np.int64)
    assert len(Split(images, labels)) == 2
    for broken in (images.astype(np.float64), images[0]):
        with pytest.raises(ValueError, match="`samples` must be uint8 or float32 of 4 axes"):
            Split(broken, labels)
    for wrong in (labels[:1], labels.astype(np.int32), labels[:, None]):
        with pytest.raises(ValueError, match=r"`labels` must be int64, one per sample \(2\)"):
            Split(images, wrong)
    for mean, std in (((), ()), ((0.5,), (0.1, 0.1)), ((0.5,), (0.0,)), ((float("nan"),), (1.0,))):
        with pytest.raises(ValueError, match="`mean` and `std` must"):
            Preprocessing(mean, std)


@needs_cifar10
def test_a_part_of_cifar10(tmp_path: Path) -> None:
    for name, rows in (("train", 400), ("test", 100)):
        (file,) = CIFAR10.glob(f"{name}*.parquet")
        with pq.ParquetFile(file) as parquet:
            table = pa.Table.from_batches([next(parquet.iter_batches(rows))])
        pq.write_table(table, tmp_path / f"{name}.parquet")
    dataset = load_dataset(str(tmp_path), seed=0, cache_dir=tmp_path / "cache")
    assert dataset.input_shape == (3, 32, 32)
    assert dataset.class_names[3] == "cat"
    assert [len(split) for split in parts(dataset)][2] == 100
    assert len(dataset.splits.train) + len(dataset.splits.validation) == 400


@needs_cifar10
@pytest.mark.slow
def test_the_whole_of_cifar10(tmp_path: Path) -> None:
    dataset = load_dataset(str(CIFAR10), seed=0, cache_dir=tmp_path)
    assert [len(split) for split in parts(dataset)] == [40_000, 10_000, 10_000]
    assert all((np.bincount(split.labels) == len(split) // 10).all() for split in parts(dataset))
    # Published channel means of the training images; JPEG coding and leaving out a fifth hardly move them.
    assert dataset.preprocessing.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.002)
    again = load_dataset(str(CIFAR10), seed=0, cache_dir=tmp_path)
    assert again.fingerprint == dataset.fingerprint


def test_parquet_with_its_own_class_names_end_to_end(tmp_path: Path) -> None:
    images = [encoded(pixels) for pixels in random_images(30, (6, 6, 3))]
    note = b'{"info": {"features": {"kind": {"_type": "ClassLabel", "names": ["x", "y", "z"]}}}}'
    schema = pa.schema([("pic", pa.binary()), ("kind", pa.int64()), ("id", pa.int64())], {b"huggingface": note})
    file = tmp_path / "set.parquet"
    pq.write_table(pa.table([images, [0, 1, 2] * 10, list(range(30))], schema=schema), file)
    dataset = load_dataset(str(file), seed=0, cache_dir=tmp_path / "cache")
    assert dataset.class_names == ("x", "y", "z")
    pq.write_table(pa.table([images, [0, 1] * 15, list(range(30))], schema=schema), file)
    with pytest.raises(DataError, match=r"set\.parquet' has none of class 2 \('z'\)"):
        load_dataset(str(file), seed=0, cache_dir=tmp_path / "cache")
    pq.write_table(pa.table([images, [0, 1, 9] * 10, list(range(30))], schema=schema), file)
    with pytest.raises(DataError, match=r"set\.parquet' must lie in 0\.\.2 .*got 9 for sample 2"):
        load_dataset(str(file), seed=0, cache_dir=tmp_path / "cache")


def test_subset_rows_are_those_of_the_subset() -> None:
    images = np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2)
    split = Split(images, np.arange(10))
    rows = split.subset_rows(4, seed=3)
    assert len(set(rows.tolist())) == 4
    np.testing.assert_array_equal(split.subset(4, seed=3).labels, rows)
    assert split.subset_rows(10, seed=3).tolist() == list(range(10))
    assert split.subset(11, seed=3) is split
