"""Words in the published layout, made by the test."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from offramp.data.dataset_loading import load_dataset
from offramp.data.raw_data import RawDataset
from offramp.data.readers import speech_commands
from offramp.data.readers.speech_commands import CLASS_NAMES, WORDS, SpeechCommandsReader
from offramp.data.sound.sound_features import keyword_features
from offramp.data.sound.wav import read_wav
from offramp.errors import DataError
from tests.data.samples import options, role
from tests.data.sounds import RATE_HZ, tone, write_sound, write_speech_commands

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech_commands(tmp_path_factory.mktemp("words") / "speech_commands_v0.02")


@pytest.fixture
def broken(published: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(published, tmp_path / "words"))


def read(path: Path, **changes: object) -> RawDataset:
    return SpeechCommandsReader().read(path, options(path.parent / "cache", **changes))


def test_the_lists_are_the_splits_and_unknown_words_are_as_many_as_one_word(published: Path) -> None:
    data = load_dataset(str(published), seed=0)
    assert data.class_names == CLASS_NAMES
    assert (data.input_shape, data.input_kind) == ((1, 49, 10), "mfcc")
    for split, seconds in ((data.splits.train, 2 * 16), (data.splits.validation, 2), (data.splits.test, 2)):
        # One of three sounds of each word; noises of 11 s: 8.8 s are 16 half-overlapping seconds, 1.1 s are one.
        assert np.bincount(split.labels, minlength=12).tolist() == [1] * 10 + [seconds, 1]


def test_a_sound_is_in_the_part_that_its_list_says(published: Path) -> None:
    data = read(published)
    for part, index in (("train", 0), ("validation", 1), ("test", 2)):
        features = keyword_features(read_wav(published / "yes" / f"{index:08x}_nohash_0.wav"))
        found = role(data, part)
        assert (found.samples[found.labels == WORDS.index("yes"), 0] == features).all()


def test_no_part_hears_the_noise_of_another(published: Path) -> None:
    intervals: dict[str, list[tuple[int, int]]] = {}
    for name in speech_commands._ROLES:
        clips = speech_commands._silence(published, name)
        intervals[name] = [(c.start, c.start + RATE_HZ) for c in clips if c.path.name == "pink_noise.wav"]
    assert max(end for _, end in intervals["train"]) <= min(start for start, _ in intervals["validation"])
    assert max(end for _, end in intervals["validation"]) <= min(start for start, _ in intervals["test"])
    assert max(end for _, end in intervals["test"]) <= 11 * RATE_HZ


def test_features_are_made_once(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(broken)

    def never(samples: object) -> None:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(speech_commands, "keyword_features", never)
    again = read(broken)
    assert all((a.samples == b.samples).all() for a, b in zip(first.parts, again.parts, strict=True))
    write_sound(broken / "yes" / "00000000_nohash_0.wav", tone(900.0, 1.0, RNG))
    with pytest.raises(AssertionError, match="the cache was not used"):
        read(broken)


@pytest.mark.parametrize(("how", "start"), [("loudest", 2.0), ("start", 0.0)])
def test_a_long_sound_is_cut_as_the_settings_say_and_that_is_told(broken: Path, how: str, start: float) -> None:
    long = np.concatenate([np.zeros(2 * RATE_HZ), tone(440.0, 1.0, RNG, noise=0.0)])
    write_sound(broken / "yes" / "00000000_nohash_0.wav", long)
    dataset = read(broken, long_sounds=how)
    found = role(dataset, "train")
    first = round(start * RATE_HZ)
    samples = read_wav(broken / "yes" / "00000000_nohash_0.wav")[first : first + RATE_HZ]
    # The tone fades in nowhere, so that the loudest second is the last one to the sample.
    assert (found.samples[found.labels == WORDS.index("yes"), 0] == keyword_features(samples)).all()
    (note,) = dataset.notes
    assert note.startswith("1 of 36 sounds of")
    assert note.endswith(f"(data.long_sounds: {how}).")


def test_every_window_of_a_long_sound_may_be_a_sample(broken: Path) -> None:
    write_sound(broken / "yes" / "00000000_nohash_0.wav", tone(440.0, 3.2, RNG))
    found = role(read(broken, long_sounds="windows"), "train")
    # From 0, 0.5, ..., 2.0 s, and the last second.
    assert (found.labels == WORDS.index("yes")).sum() == 6


@pytest.mark.parametrize("missing", ["validation_list.txt", "testing_list.txt"])
def test_a_missing_list(broken: Path, missing: str) -> None:
    (broken / missing).unlink()
    assert SpeechCommandsReader().claims(broken)
    with pytest.raises(DataError, match=f"must hold {missing}, which names the sounds"):
        read(broken)


def test_faults_of_the_layout_are_explained(broken: Path) -> None:
    (broken / "testing_list.txt").write_text("yes/nobody.wav\n" + (broken / "testing_list.txt").read_text())
    with pytest.raises(DataError, match=r"these are not: yes/nobody.wav\. Unpack"):
        read(broken)
    (broken / "testing_list.txt").write_text((broken / "validation_list.txt").read_text())
    with pytest.raises(DataError, match="may be in both lists, but 'bed/00000001_nohash_0"):
        read(broken)
    (broken / "testing_list.txt").write_text("\n")
    with pytest.raises(DataError, match="name at least one sound"):
        read(broken)
    (broken / "testing_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="must be text"):
        read(broken)
    with pytest.raises(DataError, match="Leave out `image_size`"):
        read(broken, image_size=32)


def test_missing_words_and_noises(broken: Path) -> None:
    (broken / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty' must hold \.wav files"):
        read(broken)
    (broken / "empty").rmdir()
    for word in ("yes", "bed", "cat"):
        shutil.rmtree(broken / word)
    with pytest.raises(DataError, match="none for: unknown, yes"):
        read(broken)


def test_silence_needs_noises_of_some_length(broken: Path) -> None:
    for noise in (broken / "_background_noise_").glob("*.wav"):
        write_sound(noise, RNG.normal(0.0, 0.1, 5 * RATE_HZ))
    with pytest.raises(DataError, match="at least one of 10 s"):
        read(broken)
    shutil.rmtree(broken / "_background_noise_")
    with pytest.raises(DataError, match="of which silence is made"):
        read(broken)


@pytest.mark.parametrize("folder", ["yes", "_background_noise_"])
def test_a_broken_sound_is_named(broken: Path, folder: str) -> None:
    bad = sorted((broken / folder).glob("*.wav"))[0]
    bad.write_bytes(bad.read_bytes()[:1000])
    with pytest.raises(DataError, match=bad.name):
        read(broken)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    write_sound(tmp_path / "dogs" / "1.wav", np.zeros(100))
    assert not SpeechCommandsReader().claims(tmp_path)
    assert not SpeechCommandsReader().claims(tmp_path / "dogs" / "1.wav")
    write_sound(tmp_path / "yes" / "1.wav", np.zeros(100))
    assert not SpeechCommandsReader().claims(tmp_path)
    write_sound(tmp_path / "_background_noise_" / "1.wav", np.zeros(100))
    assert SpeechCommandsReader().claims(tmp_path)
