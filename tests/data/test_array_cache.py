import os
from pathlib import Path

import numpy as np
import pytest

from offramp.data.array_cache import ArrayCache, content_key, default_cache_dir, listing_key
from tests.data.samples import random_images

IMAGES = random_images(2, (3, 4, 4))


class Maker:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        self.calls += 1
        return IMAGES


def test_what_was_made_once_is_not_made_again(tmp_path: Path) -> None:
    make = Maker()
    for _ in range(3):
        assert (ArrayCache(tmp_path).get("key", make) == IMAGES).all()
    ArrayCache(tmp_path).get("other", make)
    assert make.calls == 2
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("damage", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    make, cache = Maker(), ArrayCache(tmp_path)
    cache.get("key", make)
    (stored,) = tmp_path.rglob("*.npy")
    stored.write_bytes(damage)
    assert (cache.get("key", make) == IMAGES).all()
    assert (cache.get("key", make) == IMAGES).all()
    assert make.calls == 2


def test_an_entry_with_a_damaged_header_is_made_anew(tmp_path: Path) -> None:
    make, cache = Maker(), ArrayCache(tmp_path)
    cache.get("key", make)
    (stored,) = tmp_path.rglob("*.npy")
    content = stored.read_bytes()
    damaged = content.replace(b"'shape': (", b"'shape': ((")
    assert damaged != content
    stored.write_bytes(damaged)
    assert (cache.get("key", make) == IMAGES).all()
    assert make.calls == 2


def test_an_entry_cut_short_or_of_python_objects_is_made_anew(tmp_path: Path) -> None:
    make, cache = Maker(), ArrayCache(tmp_path)
    cache.get("key", make)
    (stored,) = tmp_path.rglob("*.npy")
    stored.write_bytes(stored.read_bytes()[:-1])
    assert (cache.get("key", make) == IMAGES).all()
    np.save(stored, np.array([{"not": "pixels"}], dtype=object), allow_pickle=True)
    assert (cache.get("key", make) == IMAGES).all()
    assert make.calls == 3


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    make = Maker()
    for _ in range(2):
        assert (ArrayCache(tmp_path / "file").get("key", make) == IMAGES).all()
    assert make.calls == 2


def test_a_failure_to_make_stores_nothing(tmp_path: Path) -> None:
    def fail() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ArrayCache(tmp_path).get("key", fail)
    assert not list(tmp_path.rglob("*"))


def test_content_keys_follow_the_content_and_the_settings_not_the_name(tmp_path: Path) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name).write_text(text)
    a, b, c = (content_key(tmp_path / name, "img", 32) for name in "abc")
    assert a == b != c
    assert len({a, content_key(tmp_path / "a", "img", None), content_key(tmp_path / "a", "image", 32)}) == 3


def test_listing_keys_follow_names_sizes_times_and_the_folder(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_text("one")
        os.utime(tmp_path / folder / "1.png", (1, 1))
    x, file = tmp_path / "x", tmp_path / "x" / "1.png"
    before = listing_key(x, [file])
    assert listing_key(x, [file]) == before
    assert listing_key(tmp_path / "y", [tmp_path / "y" / "1.png"]) != before
    os.utime(file, (2, 2))
    assert listing_key(x, [file]) != before


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFRAMP_CACHE", "/somewhere")
    assert default_cache_dir() == Path("/somewhere")
    monkeypatch.delenv("OFFRAMP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/xdg/offramp")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "offramp"
