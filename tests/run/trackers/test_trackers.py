"""Figures that are logged elsewhere too."""

import struct
import sys
from pathlib import Path

import pytest

from offramp.errors import InputError, UnknownNameError
from offramp.run.trackers.tracker import NoTracker, build_tracker


def records(path: Path) -> list[bytes]:
    """The payloads of an event file: length (8 bytes), its checksum (4), payload, checksum (4)."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(data[12 : 12 + length])
        data = data[16 + length :]
    return found


def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    tracker = build_tracker("tensorboard", tmp_path)
    tracker.log(1, {"search/accuracy": 0.5, "search/failed": 0.0})
    tracker.log(2, {"search/accuracy": 0.75})
    tracker.close()
    files = list((tmp_path / "tensorboard").iterdir())
    assert len(files) == 1
    written = records(files[0])
    assert sum(b"search/accuracy" in record for record in written) == 2
    assert any(b"search/accuracy" in record and struct.pack("<f", 0.75) in record for record in written)


def test_none_and_unknown(tmp_path: Path) -> None:
    assert isinstance(build_tracker(None, tmp_path), NoTracker)
    with pytest.raises(UnknownNameError, match="Did you mean 'tensorboard'"):
        build_tracker("tensorbord", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"offramp\[tensorboard\]"):
        build_tracker("tensorboard", tmp_path)
