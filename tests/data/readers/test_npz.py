import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.data.raw_data import RawDataset
from offramp.data.readers.npz import NpzReader
from offramp.data.signals import array_file
from offramp.errors import DataError
from tests.data.samples import options, random_images, role

LABELS = np.array([0, 1, 0])


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


def read(path: Path, **settings: Any) -> RawDataset:
    return NpzReader().read(path, options(path.parent, **settings))


@pytest.mark.parametrize(
    ("x", "y"), [("x", "y"), ("X", "Y"), ("images", "labels"), ("image", "target"), ("data", "label")]
)
def test_one_pair_is_the_training_part(tmp_path: Path, x: str, y: str) -> None:
    images = random_images(3)
    dataset = read(save(tmp_path, **{x: images, y: LABELS}))
    assert [part.role for part in dataset.parts] == ["train"]
    assert (dataset.train.samples == images.transpose(0, 3, 1, 2)).all()
    assert dataset.train.labels.tolist() == [0, 1, 0]
    assert dataset.name == "data"


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
        ("train_images", "train_labels", "valid_images", "valid_labels", "test_images", "test_labels"),
    ],
)
def test_parts_are_told_by_their_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    images = [random_images(count, (4, 4), seed=count) for count in (3, 4, 5)]
    arrays: dict[str, Any] = {}
    for number, pixels in enumerate(images):
        arrays |= {names[2 * number]: pixels, names[2 * number + 1]: np.full((len(pixels), 1), number)}
    dataset = read(save(tmp_path, **arrays))
    for number, name in enumerate(("train", "validation", "test")):
        part = role(dataset, name)
        assert (part.samples[:, 0] == images[number]).all()
        assert set(part.labels.reshape(-1).tolist()) == {number}
        assert names[2 * number] in part.source


def test_class_names_may_lie_beside(tmp_path: Path) -> None:
    assert read(save(tmp_path, x=random_images(3), y=LABELS, class_names=["cat", "dog"])).class_names == ("cat", "dog")
    assert read(save(tmp_path, x=random_images(3), y=LABELS)).class_names is None


def test_arrays_of_any_name_can_be_named(tmp_path: Path) -> None:
    path = save(tmp_path, photos_train=random_images(3), kinds_train=LABELS, x=random_images(9))
    dataset = read(path, image_column="photos", label_column="kinds")
    assert len(dataset.train.samples) == 3
    assert len(read(path, image_column="photos_train", label_column="kinds_train").train.samples) == 3


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "it holds nothing"),
    ({"x": random_images(3)}, r"in pairs; it holds x\. Name the arrays with `image_column`"),
    ({"a": random_images(3), "b": LABELS}, "it holds a, b"),
    ({"x_train": random_images(3), "y_train": LABELS, "x_test": random_images(3)}, "in pairs"),
    ({"x": random_images(3), "images": random_images(3), "y": LABELS}, "both 'images' and 'x' could be meant"),
    ({"x": random_images(3), "y": LABELS[:2]}, "3 samples and 2 labels"),
    ({"x_test": random_images(3), "y_test": LABELS}, "must have a part to train on, found only: test"),
    ({"x": random_images(3) * 2.0, "y": LABELS}, r"data\.npz' \(x\) of shape .* are not in 0\.\.255.*data\.kind"),
    ({"x": np.array([None, {}]), "y": LABELS}, "holds Python objects, which are never loaded"),
]


@pytest.mark.parametrize(("arrays", "message"), FAULTS)
def test_archives_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(save(tmp_path, **arrays))
    assert "data" in str(caught.value)


def test_a_pickle_inside_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return Path.touch, (tmp_path / "ran",)

    path = save(tmp_path, x=np.array([Bomb()], dtype=object), y=LABELS)
    with pytest.raises(DataError):
        read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Bomb()))
    with pytest.raises(DataError):
        read(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 10, 200, -1, -30])
def test_an_archive_cut_short_is_named(tmp_path: Path, keep: int) -> None:
    path = save(tmp_path, x=random_images(3), y=LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"data\.npz' must be an \.npz archive.*cut short"):
        read(path)


@pytest.mark.parametrize("header", [b"{'descr': (", b"{'descr': '<f8'", b"()", b"\xff", b"{'a': 1}", b""])
def test_a_broken_array_header_is_a_sentence(tmp_path: Path, header: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DataError, match=r"x\.npz' cannot be read.*damaged"):
        read(tmp_path / "x.npz")


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", LABELS)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with pytest.raises(DataError, match="of another kind"):
        read(tmp_path / "x.npz")


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_file, "MAX_TOTAL_BYTES", 100)
    with pytest.raises(DataError, match="must unpack to at most"):
        read(save(tmp_path, x=random_images(3), y=LABELS))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_anywhere_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "damaged.npz"
    np.savez_compressed(path, x=random_images(3), y=LABELS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        assert read(path).train.samples.dtype == np.uint8
    except DataError as exc:
        assert "damaged" in str(exc)  # noqa: PT017 - either outcome is right


def test_an_archive_that_inflates_a_thousandfold_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in ("x", "y"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                for _ in range(150):
                    stream.write(bytes(1 << 20))
    assert (tmp_path / "bomb.npz").stat().st_size < 400_000
    tracemalloc.start()
    with pytest.raises(DataError, match=r"at most 100 times its size, but it says 300 MiB"):
        NpzReader().read(tmp_path / "bomb.npz", options(tmp_path))
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
