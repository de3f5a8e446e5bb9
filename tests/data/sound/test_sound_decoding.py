import io
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from offramp.data.sound.sound_decoding import Clip, EncodedSound, decode_sound
from offramp.errors import DataError


def written(path: Path, values: np.ndarray, rate_hz: int = 8000) -> EncodedSound:
    wavfile.write(path, rate_hz, values)
    return EncodedSound.of_file(path)


def test_channels_are_mixed_down_to_their_mean_and_counted(tmp_path: Path) -> None:
    stereo = np.array([[16384, 0], [-32768, 16384]], dtype=np.int16)
    clip = decode_sound(written(tmp_path / "a.wav", stereo))
    assert clip.samples.tolist() == [0.25, -0.25]
    assert (clip.rate_hz, clip.channels) == (8000, 2)


def test_bytes_are_decoded_as_files_are(tmp_path: Path) -> None:
    sound = written(tmp_path / "a.wav", np.arange(100, dtype=np.int16))
    data = (tmp_path / "a.wav").read_bytes()
    assert np.array_equal(decode_sound(EncodedSound("row 3", data)).samples, decode_sound(sound).samples)


@pytest.mark.parametrize("rate_hz", [0, 999, 1_000_000])
def test_a_rate_that_no_sound_has_is_refused(rate_hz: int) -> None:
    stream = io.BytesIO()
    wavfile.write(stream, rate_hz, np.zeros(10, dtype=np.int16))
    with pytest.raises(DataError, match=f"1000 to 768000 samples a second, got {rate_hz}"):
        decode_sound(EncodedSound("'x'", stream.getvalue()))


@pytest.mark.parametrize(("form", "subtype"), [("FLAC", "PCM_16"), ("WAV", "PCM_24"), ("AIFF", "PCM_16")])
def test_lossless_formats_hold_the_very_samples(form: str, subtype: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    samples = np.array([0.0, 0.5, -0.25, -1.0], dtype=np.float32)
    stream = io.BytesIO()
    soundfile.write(stream, samples, 11_025, format=form, subtype=subtype)
    clip = decode_sound(EncodedSound("'x'", stream.getvalue()))
    assert clip.samples.tolist() == samples.tolist()
    assert clip.rate_hz == 11_025


def ogg(seconds: float = 1.0) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    stream = io.BytesIO()
    tone = 0.5 * np.sin(2 * np.pi * 500.0 * np.arange(round(seconds * 16_000)) / 16_000)
    soundfile.write(stream, tone.astype(np.float32), 16_000, format="OGG", subtype="VORBIS")
    return stream.getvalue()


def test_ogg_is_read_nearly_as_it_was_written() -> None:
    clip = decode_sound(EncodedSound("'x'", ogg()))
    spectrum = np.abs(np.fft.rfft(clip.samples))
    assert (len(clip.samples), int(spectrum.argmax())) == (16_000, 500)


@pytest.mark.parametrize("form", ["OGG", "FLAC"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_sound_that_is_cut_short_is_refused(form: str, share: float) -> None:
    soundfile = pytest.importorskip("soundfile")
    data = ogg(3.0)
    if form == "FLAC":
        stream = io.BytesIO()
        soundfile.write(stream, np.random.default_rng(0).normal(0, 0.1, 20_000), 16_000, format="FLAC")
        data = stream.getvalue()
    with pytest.raises(DataError, match=r"'x' cannot be read .*damaged, cut short or no sound file"):
        decode_sound(EncodedSound("'x'", data[: round(share * len(data))]))


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setitem(sys.modules, "soxr", None)
    (tmp_path / "a.flac").write_bytes(b"fLaC" + bytes(100))
    with pytest.raises(DataError, match=r"a\.flac' is no plain WAV file.*soundfile: pip install \"offramp\[sound\]\""):
        decode_sound(EncodedSound.of_file(tmp_path / "a.flac"))
    with pytest.raises(DataError, match=r"'a' has 8000 samples a second, where 16000 are needed.*soxr"):
        Clip(np.zeros(10, dtype=np.float32), 8000).at_rate(16_000, "'a'")


def test_resampling_keeps_a_tone_and_the_duration() -> None:
    pytest.importorskip("soxr")
    tone = np.sin(2 * np.pi * 440.0 * np.arange(44_100) / 44_100).astype(np.float32)
    samples = Clip(tone, 44_100).at_rate(8000, "'a'")
    middle = np.sin(2 * np.pi * 440.0 * np.arange(8000) / 8000)[1000:7000]
    assert len(samples) == 8000
    assert np.abs(samples[1000:7000] - middle).max() < 1e-3
    assert np.array_equal(Clip(tone, 44_100).at_rate(44_100, "'a'"), tone)


def test_a_sound_of_one_sample_survives_a_lower_rate() -> None:
    pytest.importorskip("soxr")
    assert len(Clip(np.ones(1, dtype=np.float32), 48_000).at_rate(8000, "'a'")) >= 1
