from pathlib import Path

import numpy as np
import pytest

from offramp.data.raw_data import DATA_SETS, READERS, RawDataset, RawPart, read_raw
from offramp.errors import DataError
from tests.data.samples import encoded, options, random_images, write_class_folders


def npz(path: Path) -> Path:
    np.savez(path, x=random_images(3), y=[0, 1, 0])
    return path


def test_every_reader_is_found_and_describes_itself() -> None:
    assert list(READERS) == [
        "cifar",
        "csv",
        "image_folder",
        "machine_sounds",
        "npy",
        "npz",
        "parquet",
        "sound_folder",
        "speech_commands",
        "svhn",
        "ts",
    ]
    assert list(DATA_SETS) == ["digits"]
    assert all(READERS.get(name).description for name in READERS)


def test_a_name_is_a_built_in_data_set_and_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_class_folders(tmp_path / "digits", {"a": 1, "b": 1})
    assert len(read_raw("digits", options(tmp_path)).train.samples) == 1797
    assert len(read_raw("./digits", options(tmp_path)).train.samples) == 2


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    npz(tmp_path / "data.npz")
    assert len(read_raw("~/data.npz", options(tmp_path)).train.samples) == 3


@pytest.mark.parametrize("source", ["digts", "", "  ", "/no/such/folder", "a\0b", "~nobody_of_that_name/x", "x" * 5000])
def test_what_is_not_there(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError, match=r"digits|cannot be read"):
        read_raw(source, options(tmp_path))


def test_a_near_name_is_offered(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Unknown data set 'digts'\. Did you mean 'digits'\?.*no file or folder"):
        read_raw("digts", options(tmp_path))


def test_a_folder_or_file_of_no_known_format_lists_the_formats(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"folder holds no data in a format that offramp reads.*CIFAR.*\.npz.*parquet.*SVHN"
    ):
        read_raw(str(tmp_path), options(tmp_path))
    (tmp_path / "data.txt").write_text("1,2")
    with pytest.raises(DataError, match=r"data\.txt': this file is not in a format"):
        read_raw(str(tmp_path / "data.txt"), options(tmp_path))
    (tmp_path / "cat.png").write_bytes(encoded(random_images(1)[0]))
    with pytest.raises(DataError, match="folder of images per class"):
        read_raw(str(tmp_path), options(tmp_path))


def test_a_folder_of_two_formats_is_ambiguous(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "train.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="looks like image_folder and like parquet"):
        read_raw(str(tmp_path), options(tmp_path))


def test_what_the_system_refuses_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_class_folders(tmp_path / "pets", {"a": 1, "b": 1})

    def refuse(path: Path, **_: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("offramp.data.images.image_decoding.read_file", refuse)
    with pytest.raises(DataError, match=r"Image '.*/pets/a/000\.png' cannot be read: Permission denied"):
        read_raw(str(root), options(tmp_path / "cache"))


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DataError):
        read_raw(str(tmp_path / "a"), options(tmp_path))


def test_parts_must_hold_images_and_one_must_be_trained_on() -> None:
    with pytest.raises(DataError, match="'f' must hold samples, but it has none"):
        RawPart("train", "f", np.zeros((0, 1, 2, 2), np.uint8), np.zeros(0))
    part = RawPart("test", "f", np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1))
    with pytest.raises(DataError, match=r"'x' must have a part to train on, found only: test \('f'\)"):
        RawDataset("x", (part,))
