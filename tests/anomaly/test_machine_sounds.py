"""Machine sounds in the published layout, made by the test."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from offramp.anomaly import machine_sounds
from offramp.anomaly.machine_sounds import MachineSounds, load_machine_sounds, windows
from offramp.anomaly.reconstruction import training_windows
from offramp.data.dataset_loading import load_dataset
from offramp.data.labelled_data import Preprocessing
from offramp.data.sound.sound_features import machine_features
from offramp.data.sound.wav import read_wav
from offramp.errors import ConfigError, DataError
from tests.data.sounds import write_machine_sounds, write_sound


@pytest.fixture(scope="module")
def toy_car(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_machine_sounds(tmp_path_factory.mktemp("dev_data") / "ToyCar", num_train=3, num_labelled=4)


@pytest.fixture
def broken(toy_car: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_car, tmp_path / "ToyCar"))


def load(path: Path, validation_share: float = 0.5) -> MachineSounds:
    return load_machine_sounds(path, seed=0, validation_share=validation_share, cache_dir=path.parent / "cache")


def test_normal_sounds_to_train_and_both_kinds_in_both_other_parts(toy_car: Path) -> None:
    sounds = load(toy_car)
    assert (sounds.name, sounds.train.shape) == ("ToyCar", (6, 1, 200, 128))
    for part in (sounds.validation, sounds.test):
        kinds = list(zip(part.machines.tolist(), part.anomalous.tolist(), strict=True))
        assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(
            [(1, True), (1, False), (2, True), (2, False)], 2
        )
    both = np.concatenate([sounds.validation.features, sounds.test.features]).reshape(16, -1)
    assert len(np.unique(both, axis=0)) == 16  # no sound is in both
    first = machine_features(read_wav(toy_car / "train" / "normal_id_01_00000000.wav"), "")
    assert np.array_equal(sounds.train[0, 0], first)


def test_the_seed_decides_the_parts_and_the_cache_is_used(toy_car: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(toy_car)

    def never(samples: object, where: str) -> None:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(machine_sounds, "machine_features", never)
    assert np.array_equal(load(toy_car).test.features, first.test.features)
    other = load_machine_sounds(toy_car, seed=1, cache_dir=toy_car.parent / "cache")
    assert not np.array_equal(other.test.features, first.test.features)


def test_the_folder_above_will_do_where_it_holds_one_machine(toy_car: Path, tmp_path: Path) -> None:
    assert load(toy_car.parent).name == "ToyCar"
    for name in ("ToyCar", "ToyConveyor"):
        (tmp_path / name / "train").mkdir(parents=True)
        (tmp_path / name / "test").mkdir()
    with pytest.raises(DataError, match="it holds several: ToyCar, ToyConveyor"):
        load(tmp_path)
    with pytest.raises(DataError, match="but there is none"):
        load(tmp_path / "nowhere")


def test_windows_are_five_frames_after_one_another() -> None:
    features = np.arange(2 * 7 * 3, dtype=np.uint8).reshape(2, 1, 7, 3)
    found = windows(features)
    assert found.shape == (6, 1, 5, 3)
    for row in range(6):
        sound, start = divmod(row, 3)
        assert np.array_equal(found[row, 0], features[sound, 0, start : start + 5])


def test_training_windows_are_drawn_from_every_sound() -> None:
    features = np.arange(200, dtype=np.uint8).repeat(128).reshape(1, 1, 200, 128)
    split = training_windows(np.concatenate([features, features + 1]), 20, np.random.default_rng(0))
    assert split.samples.shape == (40, 1, 5, 128)
    starts = split.samples[:20, 0, 0, 0]
    assert len(set(starts.tolist())) == 20
    assert (split.samples[:20, 0, :, 0] == starts[:, None] + np.arange(5)).all()
    assert len(training_windows(features, 1000, np.random.default_rng(0))) == 196


def test_statistics_are_of_all_bands_together() -> None:
    features = np.zeros((1, 1, 200, 128), dtype=np.uint8)
    features[:, :, 100:] = 255
    found = Preprocessing.of(features)
    assert found.mean == pytest.approx((0.5,))
    assert found.std == pytest.approx((0.5,))


def test_faults_of_the_layout_are_explained(broken: Path) -> None:
    good = broken / "train" / "normal_id_01_00000000.wav"
    shutil.copy(good, broken / "train" / "anomaly_id_01_00000000.wav")
    with pytest.raises(DataError, match=r"must be normal, but anomaly_id_01_00000000.wav is not"):
        load(broken)
    (broken / "train" / "anomaly_id_01_00000000.wav").rename(broken / "train" / "car1.wav")
    with pytest.raises(DataError, match=r"must be named as in .*car1.wav"):
        load(broken)
    (broken / "train" / "car1.wav").unlink()
    for path in (broken / "test").glob("anomaly_id_02_*"):
        path.unlink()
    with pytest.raises(DataError, match="have one kind only: id_02"):
        load(broken)
    for path in (broken / "test").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"test' must hold \.wav files"):
        load(broken)
    with pytest.raises(ConfigError, match="`validation_share`"):
        load(broken, validation_share=1.0)


def test_sounds_that_cannot_be_used_are_named(broken: Path) -> None:
    bad = broken / "train" / "normal_id_02_00000001.wav"
    write_sound(bad, np.zeros(16_000))
    with pytest.raises(DataError, match=r"normal_id_02_00000001.wav' must last at least 7.97 s, got 1.00 s"):
        load(broken)
    write_sound(bad, np.zeros(200_000), rate_hz=22_050)
    with pytest.raises(DataError, match="16000 samples a second, got 22050"):
        load(broken)


def test_a_search_says_what_to_do_with_them(toy_car: Path) -> None:
    with pytest.raises(DataError, match="Use `offramp detect"):
        load_dataset(str(toy_car), seed=0)


def test_training_sounds_that_are_also_labelled_sounds_are_left_out(broken: Path) -> None:
    normal = sorted((broken / "test").glob("normal_*.wav"))[0]
    first, *others = sorted((broken / "train").glob("*.wav"))
    first.write_bytes(normal.read_bytes())
    assert len(load(broken).train) == 5
    for other in others:
        other.write_bytes(normal.read_bytes())
    with pytest.raises(DataError, match=r"6 of 6 training sounds of '.*' are also in test/.*none would be left"):
        load(broken)
