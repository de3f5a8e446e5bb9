"""Data given in Python. `datasets` of Hugging Face is not needed: what is used of it is written out here."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from offramp.data.dataset_loading import load_dataset
from offramp.data.labelled_data import Dataset as Loaded
from offramp.data.python_data import raw_from_python
from offramp.data.raw_data import RawDataset
from offramp.errors import DataError
from tests.data.samples import options, random_images, role

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 3, 20)).astype(np.float32), np.tile(np.arange(3), 10)


class Table:
    """A data set of Hugging Face, as far as it is used: rows by number, column names and features."""

    def __init__(self, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
        self.rows, self.features, self.column_names = rows, features, list(features)
        self.shape = (len(rows), len(features))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


class Pairs(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def raw(data: object, **changes: Any) -> RawDataset:
    return raw_from_python(data, options(Path("unused"), **changes))


def load(data: object, tmp_path: Path, **changes: Any) -> Loaded:
    return load_dataset(data, seed=0, cache_dir=tmp_path, **changes)


def test_arrays_are_one_part_that_is_split(tmp_path: Path) -> None:
    dataset = load((X, Y), tmp_path)
    assert (dataset.name, dataset.input_kind, dataset.sample_shape) == ("data", "series", (3, 20))
    assert [len(part) for part in (dataset.splits.train, dataset.splits.validation, dataset.splits.test)] == [18, 6, 6]
    assert load((torch.from_numpy(X), torch.from_numpy(Y)), tmp_path).fingerprint == dataset.fingerprint
    assert load([X.tolist(), Y.tolist()], tmp_path).fingerprint == dataset.fingerprint
    assert load({"x": X, "y": Y}, tmp_path).fingerprint == dataset.fingerprint
    assert load((X + 1, Y), tmp_path).fingerprint != dataset.fingerprint


@pytest.mark.parametrize("word", ["validation", "val", "dev"])
def test_a_dict_of_splits_keeps_them(tmp_path: Path, word: str) -> None:
    given = {"train": (X[:18], Y[:18]), word: (X[18:24], Y[18:24]), "test": (X[24:], Y[24:])}
    splits = load(given, tmp_path).splits
    assert (np.sort(splits.train.samples, axis=0)[:, :, 0] == np.sort(X[:18], axis=0)).all()
    assert (splits.validation.samples[:, :, 0] == X[18:24]).all()
    assert (splits.test.samples[:, :, 0] == X[24:]).all()
    assert splits.test.labels.tolist() == Y[24:].tolist()


def test_named_arrays_are_read_as_those_of_an_archive(tmp_path: Path) -> None:
    dataset = load({"x_train": X[:24], "y_train": Y[:24], "x_test": X[24:], "y_test": Y[24:]}, tmp_path)
    assert len(dataset.splits.test) == 6
    people = np.repeat(np.arange(10), 3)
    grouped = load({"x": X, "y": Y, "person": people}, tmp_path, group_column="person")
    assert any("10 groups" in note for note in grouped.notes)


def test_torch_data_sets_become_splits_in_the_order_train_validation_test() -> None:
    parts = [
        TensorDataset(torch.from_numpy(X[a:b]), torch.from_numpy(Y[a:b])) for a, b in ((0, 18), (18, 24), (24, 30))
    ]
    found = raw(parts)
    assert [part.role for part in found.parts] == ["test", "train", "validation"]
    assert (role(found, "train").samples[:, :, 0] == X[:18]).all()
    assert (role(found, "validation").samples[:, :, 0] == X[18:24]).all()
    assert [part.role for part in raw(parts[:2]).parts] == ["test", "train"]
    assert (role(raw(parts[0]), "train").labels == Y[:18]).all()


def test_images_of_torch_are_pixels_and_class_names_of_torchvision_are_kept() -> None:
    images = random_images(6, (5, 6, 3))
    data = Pairs([(Image.fromarray(image), index % 2) for index, image in enumerate(images)])
    data.classes = ["cat", "dog"]  # type: ignore[attr-defined]
    found = raw(data)
    assert found.input_kind == "pixels"
    assert found.class_names == ("cat", "dog")
    assert (found.train.samples == images.transpose(0, 3, 1, 2)).all()
    # As `ToTensor` gives them: channels first, 0..1.
    tensors = Pairs([(torch.from_numpy(image).permute(2, 0, 1) / 255, index % 2) for index, image in enumerate(images)])
    assert (raw(tensors).train.samples == found.train.samples).all()


def test_a_dataset_dict_of_hugging_face_keeps_splits_and_class_names(tmp_path: Path) -> None:
    features = {"image": SimpleNamespace(), "label": SimpleNamespace(names=["a", "b", "c"])}
    images = random_images(30, (4, 5))
    rows = [{"image": Image.fromarray(image), "label": int(label)} for image, label in zip(images, Y, strict=True)]
    found = raw({"train": Table(rows[:20], features), "test": Table(rows[20:], features)})
    assert found.class_names == ("a", "b", "c")
    assert (role(found, "train").samples[:, 0] == images[:20]).all()
    assert load(Table(rows, features), tmp_path).class_names == ("a", "b", "c")


def test_columns_and_groups_of_rows_are_taken_by_name(tmp_path: Path) -> None:
    rows = [{"signal": x, "what": ("up", "down")[i % 2], "who": f"p{i // 3}", "id": i} for i, x in enumerate(X)]
    data = Table(rows, {"signal": None, "what": None, "who": None, "id": None})
    dataset = load(data, tmp_path, image_column="signal", label_column="what", group_column="who")
    assert dataset.class_names == ("down", "up")
    assert any("10 groups" in note for note in dataset.notes)
    with pytest.raises(DataError, match=r"one entry that is the sample, but of 'signal', .* none has a usual name"):
        raw(data)


def test_series_of_different_lengths_are_padded(tmp_path: Path) -> None:
    items = [(x[:, : 20 - index % 4], int(y)) for index, (x, y) in enumerate(zip(X, Y, strict=True))]
    dataset = load(Pairs(items), tmp_path)
    assert dataset.padded
    assert dataset.sample_shape == (3, 20)
    assert load(([x for x, _ in items], Y), tmp_path).padded


def test_random_transforms_are_said() -> None:
    class Noisy(Pairs):
        def __getitem__(self, index: int) -> Any:
            return RNG.normal(size=(3, 20)), index % 2

    assert any("random transforms" in note for note in raw(Noisy(list(range(6)))).notes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X, "must be arrays .*got ndarray without labels"),
        ((X, Y, Y), "must be arrays .*got tuple"),
        ({}, "dict with the keys"),
        ({1: X}, "dict with the keys 1"),
        ({"train": (X, Y), "training": (X, Y)}, "each split once"),
        ({"train": X}, "must be arrays .*got ndarray"),
        (iter([(X[0], 1)]), "has no length"),
        ((X, Y[:5]), "one label per sample"),
        ((np.full_like(X, np.nan), Y), "NaN"),
        (Pairs([]), "has none"),
        (Pairs([1, 2]), "pair .sample, label. or a dict"),
        (Pairs([(np.zeros((3, 4)), 0), (np.zeros((2, 4)), 1)]), "one shape.*2x4 and 3x4"),
        (Pairs([({"bytes": b"x"}, 0)]), "Encoded images and sounds"),
        (Pairs([("text", 0)]), "an array of numbers"),
        (Pairs([(X[0], [1, 0])]), "one number or name"),
        (([object()], [1]), "Python objects such as object"),
    ],
)
def test_what_is_no_data_set_ends_in_a_sentence(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        raw(data)


def test_an_item_that_raises_is_named() -> None:
    class Broken(Pairs):
        def __getitem__(self, index: int) -> Any:
            if index == 2:
                raise ValueError("no such file")
            return X[index], 0

    with pytest.raises(DataError, match="Sample 2 of the train split cannot be read: ValueError: no such file"):
        raw(Broken(list(range(4))))


class Named(Pairs):
    def __init__(self, items: list[Any], classes: list[str]) -> None:
        super().__init__(items)
        self.classes = classes


def test_splits_that_number_their_classes_differently_are_refused() -> None:
    items = list(zip(X, Y.tolist(), strict=True))
    train, test = Named(items, ["a", "b", "c"]), Named(items, ["c", "b", "a"])
    with pytest.raises(DataError, match=r"train split has a, b, c \(3\) and the test split c, b, a \(3\)"):
        raw((train, test))
    assert raw((train, Named(items, ["a", "b", "c"]))).class_names == ("a", "b", "c")
    assert raw((train, Pairs(items))).class_names == ("a", "b", "c")


def test_a_group_that_is_a_float_in_one_split_is_found_in_both() -> None:
    parts = {"train": {"x": X, "y": Y, "who": np.arange(30)}, "test": {"x": X + 1, "y": Y, "who": np.arange(30.0)}}
    with pytest.raises(DataError, match="Group '0' must be in one part"):
        load_dataset(parts, seed=0, group_column="who")


def test_rows_without_a_group_are_refused() -> None:
    items = [{"x": x, "y": int(y), "who": None if y == 1 else "a"} for x, y in zip(X, Y, strict=True)]
    with pytest.raises(DataError, match="Sample 1 of the train split must have a group in 'who'"):
        raw(Pairs(items), group_column="who")


def test_bfloat16_keeps_its_values_and_sparse_tensors_are_refused() -> None:
    values = torch.tensor([[1.5, -2.0, 3.0]] * 3, dtype=torch.bfloat16)
    found = raw((values, [0, 1, 0]))
    assert found.train.samples[:, 0, 0].tolist() == values.float().tolist()
    with pytest.raises(DataError, match="must be a dense tensor of plain numbers"):
        raw((values.float().to_sparse(), [0, 1, 0]))
    with pytest.raises(DataError, match="no data"):
        raw((torch.empty(3, 3, device="meta"), [0, 1, 0]))
