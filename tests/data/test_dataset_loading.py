"""From files to splits: kinds of samples, short series, groups."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offramp.data.dataset_loading import load_dataset
from offramp.data.labelled_data import Dataset
from offramp.data.sound.feature_settings import SoundRequest
from offramp.errors import ConfigError, DataError
from tests.data.samples import encoded, random_images
from tests.data.sounds import write_sound

RNG = np.random.default_rng(0)
LABELS = np.tile(["walk", "run"], 20)


def load(path: Path, **changes: Any) -> Dataset:
    return load_dataset(str(path), seed=0, cache_dir=path.parent / "cache", **changes)


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "d.npz", **arrays)
    return folder / "d.npz"


def test_series_of_any_range_are_standardised_by_their_training_samples(tmp_path: Path) -> None:
    x = RNG.normal([[1000.0], [-5.0]], [[20.0], [0.1]], (40, 2, 12))
    dataset = load(saved(tmp_path, x=x, y=LABELS))
    assert (dataset.input_kind, dataset.input_shape, dataset.sample_shape) == ("series", (2, 1, 12), (2, 12))
    train = dataset.splits.train.samples.astype(np.float64)
    assert dataset.preprocessing.dtype == "float32"
    assert dataset.preprocessing.mean == pytest.approx(train.mean(axis=(0, 2, 3)).tolist())
    assert dataset.preprocessing.std == pytest.approx(train.std(axis=(0, 2, 3)).tolist())
    assert any("taken as series (samples, channels, time)" in note for note in dataset.notes)
    kept = {sample.tobytes() for sample in x.astype(np.float32)}
    for split in (dataset.splits.train, dataset.splits.validation, dataset.splits.test):
        assert {sample.tobytes() for sample in split.samples[:, :, 0]} <= kept


def test_vectors_and_feature_maps_keep_their_numbers(tmp_path: Path) -> None:
    vectors = load(saved(tmp_path, x=RNG.normal(size=(40, 5)), y=LABELS), kind="vectors")
    assert (vectors.input_shape, vectors.sample_shape) == ((5, 1, 1), (5,))
    maps = load(saved(tmp_path, x=RNG.normal(size=(40, 2, 6, 8)), y=LABELS))
    assert (maps.input_kind, maps.input_shape) == ("feature_maps", (2, 6, 8))


def test_short_series_end_with_the_mean_and_parts_get_one_length(tmp_path: Path) -> None:
    x, longer = RNG.normal(50, 2, (40, 1, 6)), RNG.normal(50, 2, (4, 1, 9))
    path = saved(
        tmp_path,
        x_train=x,
        y_train=LABELS,
        lengths_train=np.r_[3, np.full(39, 6)],
        x_test=longer,
        y_test=LABELS[:4],
        lengths_test=[9, 9, 9, 9],
    )
    dataset = load(path)
    assert dataset.padded
    assert dataset.input_shape == (1, 1, 9)
    samples = np.concatenate([dataset.splits.train.samples, dataset.splits.validation.samples])
    (row,) = np.flatnonzero((samples[:, 0, 0, :3] == x[0, 0, :3].astype(np.float32)).all(axis=1))
    assert samples[row, 0, 0, 3:] == pytest.approx(dataset.preprocessing.mean * 6)
    # Means are those of the measured steps alone.
    assert dataset.preprocessing.mean[0] == pytest.approx(50, abs=0.5)
    assert any("shorter than the longest (9 steps)" in note for note in dataset.notes)


def test_equal_series_in_two_parts_are_removed_from_training(tmp_path: Path) -> None:
    x, test = RNG.normal(size=(40, 1, 6)), RNG.normal(size=(4, 1, 6))
    test[0], x[7, 0, 2] = x[5], 0.0
    dataset = load(saved(tmp_path, x_train=x, y_train=LABELS, x_test=test, y_test=LABELS[:4]))
    assert any("1 of 40 training samples of 'd' are also in" in note for note in dataset.notes)
    assert len(dataset.splits.train) + len(dataset.splits.validation) == 39


def test_constant_channels_are_said_and_constant_data_refused(tmp_path: Path) -> None:
    x = RNG.normal(size=(40, 3, 6))
    x[:, 1] = 4.0
    notes = load(saved(tmp_path, x=x, y=LABELS)).notes
    assert any("1 of 3 channels are constant over the training samples (1)" in note for note in notes)
    with pytest.raises(DataError, match="nothing to learn"):
        load(saved(tmp_path, x=np.full((40, 3, 6), 4.0), y=LABELS), duplicates="keep")


def test_one_class_and_settings_of_images_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, x=RNG.normal(size=(40, 3, 6)), y=np.full(40, "walk"))
    with pytest.raises(DataError, match="at least 2 classes"):
        load(path)
    with pytest.raises(ConfigError, match="`image_size` resizes images, but 'd' holds series"):
        load(saved(tmp_path, x=RNG.normal(size=(40, 3, 6)), y=LABELS), image_size=8)


def test_the_same_numbers_give_the_same_fingerprint_and_others_another(tmp_path: Path) -> None:
    x = RNG.normal(size=(40, 2, 6))
    first = load(saved(tmp_path, x=x, y=LABELS)).fingerprint
    assert load(saved(tmp_path, x=x, y=LABELS)).fingerprint == first
    x[3, 1, 2] += 1e-3
    assert load(saved(tmp_path, x=x, y=LABELS)).fingerprint != first


def test_groups_of_an_array_are_in_one_split_each(tmp_path: Path) -> None:
    x = RNG.normal(size=(40, 1, 6))
    x[:, 0, 0] = np.repeat(np.arange(10), 4)
    path = saved(tmp_path, x=x, y=LABELS, patient=np.repeat(np.arange(10), 4))
    splits = load(path, group_column="patient").splits
    held = [set(split.samples[:, 0, 0, 0].tolist()) for split in (splits.train, splits.validation, splits.test)]
    assert [len(patients) for patients in held] == [6, 2, 2]
    assert len(set.union(*held)) == 10
    with pytest.raises(DataError, match=r"must hold an array 'speaker' \(or speaker_train"):
        load(path, group_column="speaker")
    with pytest.raises(ConfigError, match="no files of their own"):
        load(path, group_pattern="_(.*)_")
    with pytest.raises(ConfigError, match="give one"):
        load(path, group_column="patient", group_pattern="_(.*)_")


def test_groups_of_file_names_are_in_one_split_each_or_hinted_at(tmp_path: Path) -> None:
    speakers = ("ann", "bob", "cem", "dan", "eve")
    for digit in range(2):
        (tmp_path / "spoken" / str(digit)).mkdir(parents=True)
        for number, speaker in enumerate(speakers):
            for take, pixels in enumerate(random_images(4, (4, 4), seed=8 * number + digit)):
                pixels[0, 0] = number
                file = tmp_path / "spoken" / str(digit) / f"{digit}_{speaker}_{take}.png"
                file.write_bytes(encoded(pixels))
    dataset = load(tmp_path / "spoken", group_pattern="_(.*)_")
    splits = dataset.splits
    held = [set(split.samples[:, 0, 0, 0].tolist()) for split in (splits.train, splits.validation, splits.test)]
    assert sorted(map(len, held)) == [1, 1, 3]
    assert len(set.union(*held)) == 5
    assert any("5 groups of" in note for note in dataset.notes)
    (hint,) = [note for note in load(tmp_path / "spoken").notes if "data.group_pattern=" in note]
    assert "'ann', 'bob'" in hint
    with pytest.raises(ConfigError, match="Files are grouped by their names"):
        load(tmp_path / "spoken", group_column="speaker")


def test_a_kind_and_windows_without_effect_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'digits' holds pixels, got series"):
        load_dataset("digits", seed=0, kind="series", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"data\.label_pattern finds classes in names of sounds, but 'digits'"):
        load_dataset("digits", seed=0, label_pattern="^(.)", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"data\.id_column .* 'digits' holds no series"):
        load_dataset("digits", seed=0, id_column="id", cache_dir=tmp_path)
    for index in range(12):
        write_sound(tmp_path / "s" / "ab"[index % 2] / f"{index}.wav", RNG.normal(0, 0.1, 4000).astype(np.float32))
    request = SoundRequest(kind="raw")
    assert load(tmp_path / "s", sound=request).input_kind == "series"
    with pytest.raises(ConfigError, match=r"data\.window does not cut sounds"):
        load(tmp_path / "s", sound=request, window=100)
