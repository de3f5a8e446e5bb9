from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offramp.data.dataset_loading import load_dataset
from offramp.data.images import image_decoding
from offramp.data.raw_data import RawDataset
from offramp.data.readers.image_folder import ImageFolderReader
from offramp.errors import DataError
from tests.data.samples import encoded, options, random_images, role, write_class_folders


def read(path: Path, image_size: int | None = None, cache: Path | None = None) -> RawDataset:
    return ImageFolderReader().read(path, options(cache or path / ".cache", image_size=image_size))


def test_each_folder_is_a_class(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets", {"dog": 2, "cat": 3})
    assert ImageFolderReader().claims(root)
    dataset = read(root)
    assert dataset.name == "pets"
    assert dataset.train.labels.tolist() == ["cat"] * 3 + ["dog"] * 2
    with Image.open(root / "dog" / "001.png") as image:
        assert (dataset.train.samples[4] == np.asarray(image).transpose(2, 0, 1)).all()


def test_other_files_are_passed_over_and_deeper_folders_are_not(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets", {"dog": 2, "cat": 3})
    (root / "README.txt").write_text("about")
    (root / "cat" / "Thumbs.db").write_bytes(b"no image")
    (root / "cat" / "._001.png").write_bytes(b"left by another system")
    (root / ".git").mkdir()
    (root / "dog" / "puppies").mkdir()
    (root / "dog" / "puppies" / "1.PNG").write_bytes(encoded(random_images(1)[0]))
    assert read(root).train.labels.tolist() == ["cat"] * 3 + ["dog"] * 3


def test_what_is_not_read_is_counted_and_told(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets", {"dog": 2, "cat": 3})
    for name in ("cat/.ipynb_checkpoints/1.png", "dog/x/__MACOSX/1.png", ".trash/1.png", "cat/._1.png", "loose.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(random_images(1)[0]))
    (root / "cat" / "5.heic").write_bytes(b"a photo")
    dataset = read(root, cache=tmp_path / "cache")
    assert dataset.train.labels.tolist() == ["cat"] * 3 + ["dog"] * 2
    hidden, other, beside = dataset.notes
    assert "4 images that are hidden" in hidden
    assert "(1 .heic)" in other
    assert "1 images beside the class folders, which have no class, such as 'loose.png'" in beside


@pytest.mark.parametrize(("val", "test"), [("val", "test"), ("validation", "testing"), ("Valid", "Test")])
def test_parts_stand_above_the_classes(tmp_path: Path, val: str, test: str) -> None:
    for name, count in (("train", 3), (val, 2), (test, 1)):
        write_class_folders(tmp_path / name, {"dog": count, "cat": count})
    assert ImageFolderReader().claims(tmp_path)
    dataset = read(tmp_path)
    counts = {part.role: len(part.samples) for part in dataset.parts}
    assert counts == {"train": 6, "validation": 4, "test": 2}
    assert role(dataset, "test").source == str(tmp_path / test)


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"test": 2, "other": 2})
    assert set(read(tmp_path).train.labels.tolist()) == {"test", "other"}


def test_parts_beside_classes_are_refused(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", {"dog": 2, "cat": 2})
    write_class_folders(tmp_path, {"emu": 1})
    with pytest.raises(DataError, match="beside train there is emu"):
        read(tmp_path)


def test_two_folders_for_one_part_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        write_class_folders(tmp_path / name, {"dog": 2, "cat": 2})
    with pytest.raises(DataError, match="must have each part once"):
        read(tmp_path)


def test_a_class_folder_without_images_is_named(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, {"dog": 2, "cat": 3})
    (root / "emu").mkdir()
    (root / "emu" / "notes.txt").write_text("none yet")
    with pytest.raises(DataError, match=r"Every class must have images.*emu'.*remove the folder"):
        read(root)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, {"dog": 2, "cat": 3}, (40, 40, 3))
    file = root / "cat" / "001.png"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(DataError, match=r"Image '.*cat/001\.png' cannot be decoded.*Replace or remove"):
        read(root)


def test_a_file_too_large_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_class_folders(tmp_path, {"dog": 2, "cat": 3})
    monkeypatch.setattr(image_decoding, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match=r"cat/000\.png' must have at most 10 bytes"):
        read(root)


def test_different_sizes_need_a_common_one(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path, {"dog": 2, "cat": 3})
    write_class_folders(root / "x", {"emu": 4}, (6, 6, 3))
    with pytest.raises(DataError, match=r"4x5 \(5 images\), 6x6 \(4 images\)"):
        read(root)
    assert read(root, image_size=5).train.samples.shape == (9, 3, 5, 5)


def test_the_cache_notices_a_changed_image(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "pets", {"dog": 2, "cat": 3})
    before = read(root, cache=tmp_path / "cache").train.samples
    assert (read(root, cache=tmp_path / "cache").train.samples == before).all()
    changed = random_images(1, seed=9)[0]
    (root / "cat" / "000.png").write_bytes(encoded(changed))
    assert (read(root, cache=tmp_path / "cache").train.samples[0] == changed.transpose(2, 0, 1)).all()


def test_folders_that_are_something_else_are_not_claimed(tmp_path: Path) -> None:
    reader = ImageFolderReader()
    assert not reader.claims(tmp_path)
    (tmp_path / "1.png").write_bytes(encoded(random_images(1)[0]))
    assert not reader.claims(tmp_path)
    assert not reader.claims(tmp_path / "1.png")


def test_visual_wake_words_as_published(tmp_path: Path) -> None:
    """Two folders of 96x96 JPEGs and no lists; class 0 is non_person, as in the published labels."""
    for name, count in (("person", 5), ("non_person", 6)):
        (tmp_path / "vw_coco2014_96" / name).mkdir(parents=True)
        for index, pixels in enumerate(random_images(count, (96, 96, 3), seed=count)):
            file = tmp_path / "vw_coco2014_96" / name / f"COCO_train2014_{index:012}.jpg"
            file.write_bytes(encoded(pixels, "JPEG"))
    data = load_dataset(str(tmp_path / "vw_coco2014_96"), seed=0, cache_dir=tmp_path / "cache")
    assert (data.name, data.class_names) == ("vw_coco2014_96", ("non_person", "person"))
    assert (data.input_shape, data.input_kind) == ((3, 96, 96), "pixels")
    splits = data.splits
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [7, 2, 2]


def test_folders_of_another_system_are_the_same_classes(tmp_path: Path) -> None:
    """A Mac writes names of folders decomposed, and other systems as they were typed."""
    write_class_folders(tmp_path / "train", {"caf\xe9": 10, "tea": 10})
    write_class_folders(tmp_path / "test", {"cafe\u0301": 3, "tea": 3})
    data = load_dataset(str(tmp_path), seed=0, cache_dir=tmp_path / ".cache", duplicates="keep")
    assert data.class_names == ("caf\xe9", "tea")
    assert np.bincount(data.splits.test.labels).tolist() == [3, 3]
    assert any("they are one class" in note for note in data.notes)
