from pathlib import Path

import pytest

from offramp.data.file_listing import is_leftover, list_files


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", "._1.png", ".DS_Store", "__MACOSX", "@eaDir", "Thumbs.db", "~$1.png", "lost+found"]
)
def test_leftovers_of_editors_and_systems_are_known(name: str) -> None:
    assert is_leftover(name)


@pytest.mark.parametrize("name", ["cat", "_cat", "1.png", "eadir", "no.hidden", "#1"])
def test_names_of_users_are_no_leftovers(name: str) -> None:
    assert not is_leftover(name)


def test_hidden_files_and_folders_are_ignored_at_every_depth(tmp_path: Path) -> None:
    root = tmp_path / ".hidden" / "root"  # the folder that the user names may be hidden
    write(root, "b/1.png", "a/deep/er/2.PNG", "a/.x/3.png", "a/.x/y/4.png", "a/._5.png", "a/y/__MACOSX/6.png", "n.txt")
    listing = list_files(root, {".png"})
    assert [str(file.relative_to(root)) for file in listing.files] == ["a/deep/er/2.PNG", "b/1.png"]
    assert len(listing.leftovers) == 4
    assert listing.other_suffixes == {".txt": 1}


def test_what_is_ignored_is_counted_in_a_sentence(tmp_path: Path) -> None:
    write(tmp_path, "1.png", ".2.png", "a.heic", "b.heic", "c")
    hidden, others = list_files(tmp_path, {".png"}).notes(tmp_path, "images")
    assert "1 images that are hidden" in hidden
    assert "'.2.png'" in hidden
    assert "(2 .heic, 1 without suffix)" in others
    assert list_files(tmp_path, {".png", ".heic", ""}).notes(tmp_path, "images") == (hidden,)


def test_links_that_lead_nowhere_or_in_a_circle_are_no_files(tmp_path: Path) -> None:
    write(tmp_path, "a/1.png")
    (tmp_path / "a" / "2.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert list_files(tmp_path, {".png"}).files == (tmp_path / "a" / "1.png",)
