"""Files are opened without following links into a foreign folder's traps, and written beside and renamed."""

import os
import stat
from pathlib import Path

import pytest

from offramp.files.safe_files import (
    check_replaceable,
    irregular_entries,
    new_folder,
    open_to_update,
    read_file,
    remove,
    replacing,
    write_atomically,
)


def test_content_and_name_are_on_the_disk_before_writing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content must be there before the file gets its name, and the name before the caller goes on."""
    file = tmp_path / "record.json"
    synced: list[tuple[str, bool]] = []

    def record_sync(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"{os.fstat(handle).st_size} bytes"
        synced.append((kind, file.exists()))

    monkeypatch.setattr(os, "fsync", record_sync)
    write_atomically(file, "new")
    assert synced == [("3 bytes", False), ("folder", True)]


def test_writing_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    write_atomically(file, "a" * 1000)
    write_atomically(file, b"short")
    assert file.read_bytes() == b"short"
    assert [item.name for item in tmp_path.iterdir()] == ["record.json"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "record.json"
    write_atomically(file, "old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["record.json"]


def test_a_pipe_is_refused_at_once_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="'pipe' is a pipe, where only a regular file may be"):
        read_file(tmp_path / "pipe")
    with pytest.raises(OSError, match="'pipe' is a pipe"):
        open_to_update(tmp_path / "pipe")
    with pytest.raises(OSError, match="'pipe' is a pipe"):
        write_atomically(tmp_path / "pipe", "text")


def test_a_device_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    for path in (Path("/dev/null"), Path("/dev/zero")):
        with pytest.raises(OSError, match="is a device"):
            read_file(path)
        with pytest.raises(OSError, match="is a device"):
            check_replaceable(path)


def test_a_link_is_followed_only_where_the_user_named_it(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("content")
    (tmp_path / "link").symlink_to("target")
    assert read_file(tmp_path / "link") == b"content"
    with pytest.raises(OSError, match="'link' is a link"):
        read_file(tmp_path / "link", follow_links=False)


def test_what_a_link_points_to_is_never_written(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("absent")
    (tmp_path / "second_name").hardlink_to(tmp_path / "target")
    for name in ("link", "dangling"):
        with pytest.raises(OSError, match="is a link"):
            write_atomically(tmp_path / name, "x")
        with pytest.raises(OSError, match="is a link"):
            open_to_update(tmp_path / name)
    with pytest.raises(OSError, match="second name"):
        open_to_update(tmp_path / "second_name")
    write_atomically(tmp_path / "second_name", "new")  # renamed into place: the other name keeps its content
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "absent").exists()


def test_a_file_beyond_its_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", limit=5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_file(tmp_path / "file", limit=4)


def test_a_body_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def fail_in_the_middle() -> None:
        with replacing(tmp_path / "file") as stream:
            stream.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_in_the_middle()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_removal_of_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (tmp_path / "link").symlink_to("kept")
    remove(tmp_path / "link")
    remove(tmp_path / "absent")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "kept"]
    remove(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_every_entry_that_is_no_file_or_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").touch()
    (tmp_path / "a/b/link").symlink_to("/")
    os.mkfifo(tmp_path / "pipe")
    assert irregular_entries(tmp_path) == ["a/b/link (a link)", "pipe (a pipe)"]


def test_a_folder_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("page", "empty"):
        with new_folder(tmp_path / name) as draft:
            (draft / "index.html").write_text("x")
            assert not (tmp_path / name / "index.html").exists()
        assert (tmp_path / name / "index.html").read_text() == "x"
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o755
    with pytest.raises(OSError, match="not empty"), new_folder(tmp_path / "page") as draft:
        (draft / "other").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "index.html", "index.html", "page"]
