from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offramp.data.dataset_loading import load_dataset
from offramp.data.labelled_data import Dataset
from offramp.data.signals.recordings import Windows, WindowSize, cut_windows
from offramp.errors import ConfigError, DataError


def cut(values: Any, labels: Any, steps: int, hop: int, **changes: Any) -> Windows:
    samples = np.asarray(values, dtype=np.float32)[:, :, None]
    return cut_windows(samples, np.asarray(labels), WindowSize(steps, hop), role="train", where="r.npz", **changes)


def test_windows_worked_out_by_hand() -> None:
    """Twelve recordings are split whole: windows of 4 every 3 of 8 steps begin at 0 and 3."""
    values = 100 * np.arange(12)[:, None, None] + np.stack([np.arange(8), np.arange(8) + 50])
    found = cut(values, np.arange(12), 4, 3)
    assert found.samples.shape == (24, 2, 1, 4)
    assert found.samples[0, :, 0].tolist() == [[0, 1, 2, 3], [50, 51, 52, 53]]
    assert found.samples[3, :, 0].tolist() == [[103, 104, 105, 106], [153, 154, 155, 156]]
    assert found.labels.tolist() == np.repeat(np.arange(12), 2).tolist()
    assert found.groups[:3].tolist() == ["train recording 0", "train recording 0", "train recording 1"]


def test_the_label_of_most_steps_counts_and_mixed_windows_are_said() -> None:
    labels = np.array([["a", "a", "a", "b", "b", "b", "b", "b"]] * 12)
    found = cut(np.zeros((12, 1, 8)) + np.arange(8), labels, 4, 2)
    assert found.labels[:3].tolist() == ["a", "b", "b"]
    assert any("24 of 36 windows of r.npz hold several labels" in note for note in found.notes)


def test_padding_is_in_no_window() -> None:
    values = np.zeros((12, 1, 8)) + np.arange(8)
    values[0, :, 5:] = np.nan
    found = cut(values, np.arange(12), 4, 1)
    assert not np.isnan(found.samples).any()
    assert (found.labels == 0).sum() == 2


def test_windows_of_different_blocks_share_no_time_step() -> None:
    found = cut(np.arange(400)[None, None], np.zeros(400)[None], 5, 2)
    held: dict[str, set[float]] = {}
    for window, group in zip(found.samples[:, 0, 0], found.groups.tolist(), strict=True):
        held.setdefault(group, set()).update(window.tolist())
    assert len(held) > 20
    assert sum(map(len, held.values())) == len(set.union(*held.values()))


def test_groups_of_recordings_are_kept() -> None:
    found = cut(np.zeros((2, 1, 8)) + np.arange(8), [0, 1], 4, 4, groups=np.array(["ann", "bob"]))
    assert found.groups.tolist() == ["ann", "ann", "bob", "bob"]


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"at most the length of a recording of r\.npz \(8 steps\), got 9"):
        cut(np.zeros((2, 1, 8)), [0, 1], 9, 1)
    with pytest.raises(DataError, match=r"one per recording \(2\) or one per time step \(2, 8\), got shape \(3,\)"):
        cut(np.zeros((2, 1, 8)), [0, 1, 2], 4, 1)


def load(path: Path, **changes: Any) -> Dataset:
    return load_dataset(str(path), seed=0, cache_dir=path.parent / "cache", **changes)


def test_one_long_recording_becomes_splits_without_a_common_time_step(tmp_path: Path) -> None:
    """A counter as signal: no value of a window may be in a window of another split."""
    labels = (np.arange(3000) // 50) % 2
    for shape in ("array", "table"):
        if shape == "array":
            path = tmp_path / "r.npz"
            np.savez(path, x=np.arange(3000.0), y=labels)
        else:
            path = tmp_path / "r.csv"
            rows = [f"{step},{label}" for step, label in enumerate(labels.tolist())]
            path.write_text("\n".join(["signal,label", *rows]) + "\n")
        dataset = load(path, window=10, hop=5)
        assert dataset.sample_shape == (1, 10)
        splits = (dataset.splits.train, dataset.splits.validation, dataset.splits.test)
        steps = [set(split.samples.reshape(-1).tolist()) for split in splits]
        assert not steps[0] & steps[1]
        assert not steps[0] & steps[2]
        assert not steps[1] & steps[2]
        assert all(set(split.labels.tolist()) == {0, 1} for split in splits)
        for split in splits:
            middle = split.samples[:, 0, 0, 4:6].mean(axis=1).astype(int)
            mixed = labels[split.samples[:, 0, 0, 0].astype(int)] != labels[split.samples[:, 0, 0, -1].astype(int)]
            assert (labels[middle] == split.labels)[~mixed].all()
        assert any("no time step is in two" in note for note in dataset.notes)


def test_windows_of_ambiguous_arrays_and_of_images_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).normal(size=(40, 3)), y=np.arange(40) % 2)
    with pytest.raises(DataError, match=r"may be series with a label each, or one recording \(time, channels\)"):
        load(tmp_path / "a.npz", window=2)
    np.savez(tmp_path / "i.npz", x=np.zeros((40, 8, 9), np.uint8), y=np.arange(40) % 2)
    with pytest.raises(ConfigError, match=r"data\.window cuts series, but 'i' holds pixels"):
        load(tmp_path / "i.npz", window=2)
    with pytest.raises(ConfigError, match="a hop needs a window"):
        load(tmp_path / "i.npz", hop=2)
