"""Samples on disk stand for arrays, and a data set that is larger than memory is read as one that fits."""

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from offramp.data.array_cache import ArrayCache
from offramp.data.dataset_file import read_dataset, save_dataset
from offramp.data.dataset_loading import load_dataset
from offramp.data.labelled_data import Dataset, Split
from offramp.data.mini_batches import batches
from offramp.data.stored_samples import SampleWriter, StoragePlace, StoredSamples
from offramp.errors import DataError

RNG = np.random.default_rng(0)


def stored(path: Path, array: np.ndarray) -> StoredSamples:
    np.save(path, array)
    return StoredSamples(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_are_those_of_the_array(tmp_path: Path, dtype: type) -> None:
    array = RNG.integers(0, 255, (20, 3, 4, 5)).astype(dtype)
    samples = stored(tmp_path / "a.npy", array)
    assert (samples.shape, samples.dtype, len(samples), samples.nbytes) == (array.shape, dtype, 20, array.nbytes)
    for key in (slice(3, 9), slice(None), slice(2, 15, 4), slice(5, 5), 7, -1, [3, 1, 1], np.arange(20) % 3 == 0):
        assert np.array_equal(samples[key], array[key])
    taken = samples.take(np.array([5, 2, 9])).take(np.array([2, 0]))
    assert np.array_equal(taken[:], array[[9, 5]])
    assert np.array_equal(np.stack(list(taken)), array[[9, 5]])
    with pytest.raises(IndexError):
        samples[20]
    with pytest.raises(TypeError, match="never all at once"):
        np.asarray(samples)


@pytest.mark.parametrize("damage", ["cut", "longer", "axes", "dtype", "no array", "open bracket"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npy"
    np.save(
        path, np.zeros((4, 1, 2) if damage == "axes" else (4, 1, 2, 2), np.int32 if damage == "dtype" else np.uint8)
    )
    content = path.read_bytes()
    damaged = {
        "cut": content[:-1],
        "longer": content + b"x",
        "no array": b"no",
        "open bracket": content.replace(b"(4, 1, 2, 2)", b"(4, 1, 2, 2("),
    }
    path.write_bytes(damaged.get(damage, content))
    with pytest.raises(ValueError, match=r"must hold|must be an array saved by numpy\.save, but its header is damaged"):
        StoredSamples(path)


def test_a_writer_goes_to_disk_above_the_limit_and_may_end_early(tmp_path: Path) -> None:
    array = RNG.integers(0, 255, (10, 1, 3, 3)).astype(np.uint8)
    for limit, kind in ((90, np.ndarray), (89, StoredSamples)):
        writer = SampleWriter(10, (1, 3, 3), np.uint8, StoragePlace(tmp_path / "new", limit))
        writer.add(array[:4])
        writer.add(array[4:7])
        found = writer.finish()
        assert isinstance(found, kind)
        assert np.array_equal(found[:], array[:7])


def test_a_folder_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"data\.memory_mib .*cannot be written to"):
        SampleWriter(10, (1, 3, 3), np.uint8, StoragePlace(tmp_path / "file", 1))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5))
    with pytest.raises(DataError, match=r"has 0\.0 GiB left"):
        SampleWriter(10, (1, 3, 3), np.uint8, StoragePlace(tmp_path / "new", 1))


def test_a_damaged_file_in_the_cache_is_made_again(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, most_bytes_in_memory=10)
    array = RNG.integers(0, 255, (10, 1, 3, 3)).astype(np.uint8)

    def make() -> StoredSamples:
        writer = SampleWriter(10, (1, 3, 3), np.uint8, cache.place)
        writer.add(array)
        found = writer.finish()
        assert isinstance(found, StoredSamples)
        return found

    assert np.array_equal(cache.get_bytes("key", make)[:], array)
    (file,) = (tmp_path / "decoded").iterdir()
    content = file.read_bytes()
    for damaged in (content[:-5], content.replace(b"(10, 1, 3, 3)", b"(10, 1, 3, 3(")):
        assert damaged != content
        file.write_bytes(damaged)
        assert np.array_equal(cache.get_bytes("key", make)[:], array)
        assert file.read_bytes() == content
    assert [path.name for path in (tmp_path / "decoded").iterdir()] == ["key.npy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey images of 100x100, then some of colour, 3.4 MB when they are decoded."""
    root = tmp_path_factory.mktemp("large") / "set"
    for name, mode, count in (("a", "L", 60), ("b", "RGB", 55)):
        (root / name).mkdir(parents=True)
        for index in range(count):
            shape = (100, 100) if mode == "L" else (100, 100, 3)
            Image.fromarray(RNG.integers(0, 255, shape).astype(np.uint8)).save(root / name / f"{index:03}.png")
    return root


def of(folder: Path, memory_mib: int) -> Dataset:
    return load_dataset(str(folder), seed=3, memory_mib=memory_mib, cache_dir=folder.parent / f"cache{memory_mib}")


def test_a_set_on_disk_is_the_same_as_in_memory(folder: Path) -> None:
    large, small = of(folder, 1), of(folder, 1024)
    assert isinstance(large.splits.train.samples, StoredSamples)
    assert isinstance(small.splits.train.samples, np.ndarray)
    for field in fields(Dataset):
        if field.name != "splits":
            assert getattr(large, field.name) == getattr(small, field.name), field.name
    for name in ("train", "validation", "test"):
        own, other = getattr(large.splits, name), getattr(small.splits, name)
        assert np.array_equal(own.samples[:], other.samples)
        assert np.array_equal(own.labels, other.labels)


def test_batches_of_a_set_on_disk_are_those_in_memory(folder: Path) -> None:
    def epoch(split: Split, dataset: Dataset) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        found = batches(split, dataset.preprocessing, batch_size=16, shuffle=True, generator=generator)
        return [batch.inputs for batch in found]

    large, small = of(folder, 1), of(folder, 1024)
    pairs = zip(epoch(large.splits.train, large), epoch(small.splits.train, small), strict=True)
    assert all(torch.equal(own, other) for own, other in pairs)


def test_workers_read_the_file_and_are_not_sent_the_set(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offramp.data.dataset_file._MOST_BYTES_COPIED", 1000)
    dataset = of(folder, 1)
    save_dataset(dataset, tmp_path / "data.safetensors")
    assert (tmp_path / "data.safetensors").stat().st_size < 10_000
    found = read_dataset(tmp_path / "data.safetensors")
    assert isinstance(found.splits.test.samples, StoredSamples)
    assert np.array_equal(found.splits.test.samples[:], dataset.splits.test.samples[:])
    monkeypatch.setattr(StoredSamples, "__init__", lambda *_: (_ for _ in ()).throw(FileNotFoundError("gone")))
    with pytest.raises(DataError, match=r"workers on other machines must find them too.*OFFRAMP_CACHE"):
        read_dataset(tmp_path / "data.safetensors")
