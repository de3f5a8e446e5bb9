"""A data set comes back from its file as it was, features of sounds and statistics of larger splits included."""

from pathlib import Path

import numpy as np
import pytest

from offramp.data.dataset_file import read_dataset, save_dataset
from offramp.data.labelled_data import Dataset, Preprocessing, Split, Splits


def split_of(count: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (count, 2, 3, 4), dtype=np.uint8), rng.integers(0, 2, count))


@pytest.mark.parametrize("input_kind", ["pixels", "mfcc"])
def test_every_field_comes_back(tmp_path: Path, input_kind: str) -> None:
    # Statistics that are not those of the arrays: the training split of which they are has more samples.
    dataset = Dataset(
        name="words",
        class_names=("no", "yes"),
        splits=Splits(split_of(5, 0), split_of(3, 1), split_of(0, 2)),
        preprocessing=Preprocessing((0.5, 0.25), (0.125, 1 / 3)),
        fingerprint="0123456789abcdef",
        input_kind=input_kind,
    )
    save_dataset(dataset, tmp_path / "data.safetensors")
    again = read_dataset(tmp_path / "data.safetensors")
    for name in ("name", "class_names", "preprocessing", "fingerprint", "input_kind"):
        assert getattr(again, name) == getattr(dataset, name)
    for name in ("train", "validation", "test"):
        kept, given = getattr(again.splits, name), getattr(dataset.splits, name)
        np.testing.assert_array_equal(kept.samples, given.samples)
        np.testing.assert_array_equal(kept.labels, given.labels)
