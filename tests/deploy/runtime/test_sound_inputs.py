"""A bundle of sounds computes from a file what training computed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offramp.data.sound.feature_settings import SoundFeatures
from offramp.data.sound.sound_decoding import EncodedSound
from offramp.data.sound.sound_samples import sound_samples
from offramp.deploy.bundle.manifest_records import Preprocessing
from offramp.deploy.runtime.sample_inputs import load_sample, load_samples
from offramp.errors import DataError, InputError
from offramp.jsonio import from_data, to_data
from tests.data.sounds import RATE_HZ, tone, write_sound

LOG_MEL = SoundFeatures("log-mel", rate_hz=RATE_HZ, window=8000, frame=480, hop=160, bands=40, coefficients=13)
HEARING = Preprocessing(
    48, 40, None, (-5.0,), (6.0,), "bilinear", "feature_maps", "loudest", "float32", 1.0, (1, 48, 40), sound=LOG_MEL
)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """1.2 s, the loudest half second of which is the last."""
    rng = np.random.default_rng(0)
    path = tmp_path / "word.wav"
    write_sound(path, np.concatenate([rng.normal(0.0, 0.001, 11_200), tone(440.0, 0.5, rng)]))
    return path


def test_a_file_becomes_the_features_of_training(sound: Path) -> None:
    loaded = load_sample(sound, HEARING)
    (expected,) = sound_samples(EncodedSound.of_file(sound), LOG_MEL, "loudest")
    assert np.array_equal(loaded.values, expected.values)
    assert loaded.heard is not None
    assert loaded.heard.start_s == pytest.approx(0.7, abs=0.01)


def test_every_window_gets_an_answer_where_training_took_them(sound: Path) -> None:
    found = load_samples(sound, replace(HEARING, long_sounds="windows"))
    assert [sample.heard.start_s for sample in found if sample.heard] == [0.0, 0.25, 0.5, 0.7]
    with pytest.raises(InputError, match="has 4 samples"):
        load_sample(sound, replace(HEARING, long_sounds="windows"))


def test_raw_sounds_have_the_shape_of_series(sound: Path) -> None:
    raw = replace(HEARING, input_kind="series", shape=(1, 8000), sound=replace(LOG_MEL, kind="raw"))
    assert load_sample(sound, raw).values.shape == (1, 8000)


def test_a_sound_of_another_rate_is_resampled_and_a_stereo_one_is_mixed(tmp_path: Path, sound: Path) -> None:
    pytest.importorskip("soxr")
    times_s = np.arange(22_050) / 44_100
    stereo = np.stack([0.5 * np.sin(2 * np.pi * 440.0 * times_s)] * 2, axis=1)
    write_sound(tmp_path / "other.wav", stereo, 44_100)
    write_sound(tmp_path / "own.wav", 0.5 * np.sin(2 * np.pi * 440.0 * np.arange(8000) / RATE_HZ))
    other, own = (load_sample(tmp_path / name, HEARING).values[0, 10:40] for name in ("other.wav", "own.wav"))
    loud = own > own.max() - 3.0
    assert np.abs(other - own)[loud].max() < 0.05


def test_arrays_of_features_are_still_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 1, 48, 40), dtype=np.float32))
    assert len(load_samples(tmp_path / "a.npy", HEARING)) == 2


def test_what_is_no_sound_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"x\.png' cannot be read"):
        load_samples(tmp_path / "x.png", HEARING)


def test_the_settings_survive_a_manifest_and_damaged_ones_are_refused() -> None:
    data = json.loads(json.dumps(to_data(HEARING)))
    assert from_data(Preprocessing, data) == HEARING
    for name, value in (("hop", 0), ("frame", 10**9), ("bands", 5000), ("kind", "loud")):
        with pytest.raises(InputError):
            from_data(Preprocessing, {**data, "sound": {**data["sound"], name: value}})
