from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from offramp.data.sound.wav import read_wav
from offramp.errors import DataError


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([-32768, 0, 16384], dtype=np.int16), [-1.0, 0.0, 0.5]),
        (np.array([0, 128, 192], dtype=np.uint8), [-1.0, 0.0, 0.5]),
        (np.array([-(2**31), 0, 2**30], dtype=np.int32), [-1.0, 0.0, 0.5]),
        (np.array([-1.0, 0.0, 0.5], dtype=np.float32), [-1.0, 0.0, 0.5]),
    ],
)
def test_every_kind_of_sample_is_scaled_to_one(tmp_path: Path, stored: np.ndarray, expected: list[float]) -> None:
    wavfile.write(tmp_path / "a.wav", 16_000, stored)
    samples = read_wav(tmp_path / "a.wav")
    assert samples.dtype == np.float32
    assert samples.tolist() == expected


def damaged(path: Path, kind: str) -> Path:
    whole = np.zeros(1000, dtype=np.int16)
    wavfile.write(path, 16_000, whole)
    data = path.read_bytes()
    contents = {"no wav": b"RIFX nothing", "empty file": b"", "cut": data[:-500], "header only": data[:20]}
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "rate":
        wavfile.write(path, 8_000, whole)
    elif kind == "stereo":
        wavfile.write(path, 16_000, np.zeros((100, 2), dtype=np.int16))
    elif kind == "no samples":
        wavfile.write(path, 16_000, whole[:0])
    elif kind == "nan":
        wavfile.write(path, 16_000, np.array([0.0, np.nan], dtype=np.float32))
    else:
        path.unlink()
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no wav", "damaged, cut short or no sound"),
        ("empty file", "damaged, cut short or no sound"),
        ("cut", "damaged, cut short or no sound"),
        ("header only", "damaged, cut short or no sound"),
        ("rate", "must have 16000 samples a second, got 8000"),
        ("stereo", "must have one channel, got 2"),
        ("no samples", "empty"),
        ("nan", "finite"),
        ("absent", "does not exist"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, kind: str, message: str) -> None:
    path = damaged(tmp_path / "x.wav", kind)
    with pytest.raises(DataError, match=message) as raised:
        read_wav(path)
    assert "x.wav" in str(raised.value)


def test_floats_that_are_unscaled_integers_are_refused(tmp_path: Path) -> None:
    tone = np.sin(np.arange(100, dtype=np.float32))
    wavfile.write(tmp_path / "loud.wav", 16_000, (tone * 1.5).astype(np.float32))
    assert np.abs(read_wav(tmp_path / "loud.wav")).max() == pytest.approx(1.5, rel=1e-3)
    wavfile.write(tmp_path / "raw.wav", 16_000, (tone * 32768).astype(np.float32))
    with pytest.raises(DataError, match=r"raw\.wav' must have floats from -1 to 1, got 327"):
        read_wav(tmp_path / "raw.wav")
