"""Folders of sounds in every layout, as a search reads them."""

import json
from pathlib import Path

import numpy as np
import pytest

from offramp.data.array_cache import ArrayCache
from offramp.data.dataset_loading import load_dataset
from offramp.data.raw_data import RawDataset, ReadOptions, read_raw
from offramp.data.readers import sound_clips
from offramp.data.sound.feature_settings import SoundRequest
from offramp.data.sound.sound_decoding import EncodedSound
from offramp.data.sound.sound_samples import sound_samples
from offramp.errors import ConfigError, DataError
from offramp.progress import SilentReporter
from tests.data.sounds import tone, write_sound

RNG = np.random.default_rng(0)
PITCH_HZ = {"high": 1500.0, "low": 300.0}


def write(path: Path, kind: str, seconds: float = 0.5, rate_hz: int = 16_000) -> None:
    write_sound(path, tone(PITCH_HZ[kind] * 16_000 / rate_hz, seconds * rate_hz / 16_000, RNG), rate_hz)


def read(path: Path, **changes: object) -> RawDataset:
    options = {
        "image_column": None,
        "label_column": None,
        "image_size": None,
        "cache": ArrayCache(path.parent / "cache"),
        "reporter": SilentReporter(),
        **changes,
    }
    return read_raw(str(path), ReadOptions(**options))  # type: ignore[arg-type]


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for kind in PITCH_HZ:
        for index in range(5):
            write(tmp_path / "set" / kind / f"{index}.wav", kind, seconds=0.4 + 0.02 * index)
    return tmp_path / "set"


def test_a_folder_per_class_becomes_feature_maps_that_predict_would_compute(classes: Path) -> None:
    found = read(classes)
    assert found.sound is not None
    assert found.input_kind == "feature_maps"
    assert found.train.samples.dtype == np.float32
    # 0.48 s fits all; hop 10 ms, frame 30 ms: 1 + (7680 - 480) // 160 frames of 40 bands.
    assert found.train.samples.shape == (10, 1, 46, 40)
    assert found.train.labels.tolist() == ["high"] * 5 + ["low"] * 5
    (own,) = sound_samples(EncodedSound.of_file(classes / "low" / "0.wav"), found.sound, "loudest")
    assert np.array_equal(found.train.samples[5], own.values)
    assert any("8 of 10 sounds are shorter than the window: they are padded" in note for note in found.notes)


def test_the_pitch_decides_which_band_is_loudest(classes: Path) -> None:
    samples = read(classes).train.samples
    loudest = samples[:, 0, 5].argmax(axis=1)
    assert loudest[:5].min() > loudest[5:].max()


def test_a_search_splits_them_into_three_parts(classes: Path) -> None:
    dataset = load_dataset(str(classes), seed=0, cache_dir=classes.parent / "cache")
    assert dataset.class_names == ("high", "low")
    assert [len(s) for s in (dataset.splits.train, dataset.splits.validation, dataset.splits.test)] == [6, 2, 2]
    assert dataset.sound is not None
    assert dataset.sound.shape == dataset.input_shape


def test_parts_above_the_classes_are_kept(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for kind in PITCH_HZ:
            for index in range(count):
                write(tmp_path / "set" / part / kind / f"{index}.wav", kind)
    found = read(tmp_path / "set")
    assert {part.role: len(part.labels) for part in found.parts} == {"train": 6, "validation": 4, "test": 2}


def test_folders_of_common_words_are_no_speech_commands(tmp_path: Path) -> None:
    for kind, word in (("high", "yes"), ("low", "no")):
        write(tmp_path / "set" / word / "1.wav", kind)
    assert sorted(read(tmp_path / "set").train.labels.tolist()) == ["no", "yes"]


def test_a_flat_folder_is_labelled_by_a_rule_on_names(tmp_path: Path) -> None:
    for kind in PITCH_HZ:
        for index in range(2):
            write(tmp_path / "set" / f"{kind}_{index}.wav", kind)
    with pytest.raises(DataError, match=r"without class folders, such as 'high_0\.wav'.*data\.label_pattern"):
        read(tmp_path / "set")
    assert read(tmp_path / "set", label_pattern="^([^_]+)_").train.labels.tolist() == ["high", "high", "low", "low"]
    with pytest.raises(
        DataError, match=r"must fit data\.label_pattern '\^\(high\)', but 'low_0\.wav', 'low_1\.wav' do"
    ):
        read(tmp_path / "set", label_pattern="^(high)")
    with pytest.raises(ConfigError, match=r"one group .*with 0"):
        read(tmp_path / "set", label_pattern="high")
    with pytest.raises(ConfigError, match="must be a regular expression"):
        read(tmp_path / "set", label_pattern="(")


def test_a_rule_on_names_keeps_the_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for kind in PITCH_HZ:
            write(tmp_path / "set" / part / f"{kind}_1.wav", kind)
    found = read(tmp_path / "set", label_pattern="^([^_]+)_")
    assert [(part.role, part.labels.tolist()) for part in found.parts] == [
        ("test", ["high", "low"]),
        ("train", ["high", "low"]),
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_list_of_labels_as_hugging_face_has_it(tmp_path: Path, form: str) -> None:
    root = tmp_path / "set"
    rows = []
    for part in ("train", "test"):
        for kind in PITCH_HZ:
            write(root / part / f"{kind}.wav", kind)
            rows.append({"file_name": f"{part}/{kind}.wav", "label": kind, "speaker": "anna"})
    lines = [json.dumps(row) for row in rows] if form == "jsonl" else ["file_name,label,speaker"]
    lines += [",".join(row.values()) for row in rows] if form == "csv" else []
    (root / f"metadata.{form}").write_text("\n".join(lines) + "\n")
    found = read(root)
    assert {part.role: part.labels.tolist() for part in found.parts} == {
        "train": ["high", "low"],
        "test": ["high", "low"],
    }
    assert read(root, label_column="speaker").train.labels.tolist() == ["anna", "anna"]
    groups = read(root, group_column="speaker").train.groups
    assert groups is not None
    assert groups.tolist() == ["anna", "anna"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("name,label\na.wav,x\n", "must have a column file_name, got name, label"),
        ("file_name,speaker,room\na.wav,x,y\n", "one column of labels, got speaker, room"),
        ("file_name,label\nb.wav,x\n", r"names 'b\.wav', but there is no such file of sounds"),
        ("file_name,label\n../a.wav,x\n", "in its own folder"),
        ("file_name,label\na.wav,\n", "Row 1 .* one is empty"),
        ("file_name,label\na.wav\n", "Row 1 .* one is empty"),
        ("\xff\xfe", "UTF-8"),
        ("[" * 100_000 + "\nx\n", r"column file_name, got \[{20}"),
        ("file_name,label\n" + "a" * 5000 + ",x\n", "no such file of sounds"),
    ],
)
def test_faults_of_a_list_are_explained(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path / "set" / "a.wav", "low")
    (tmp_path / "set" / "metadata.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        read(tmp_path / "set")


def test_raw_sounds_are_series(classes: Path) -> None:
    found = read(classes, sound=SoundRequest(kind="raw", window_s=0.1, frame_ms=30.0))
    assert (found.input_kind, found.train.samples.shape) == ("series", (10, 1, 1, 1600))


def test_windows_of_a_longer_sound_all_have_its_label(tmp_path: Path) -> None:
    write(tmp_path / "set" / "low" / "1.wav", "low", seconds=1.0)
    write(tmp_path / "set" / "high" / "1.wav", "high", seconds=0.5)
    found = read(tmp_path / "set", sound=SoundRequest(window_s=0.5), long_sounds="windows")
    assert found.train.labels.tolist() == ["high", "low", "low", "low"]
    assert found.train.names == ("1.wav",) * 4
    assert found.train.groups is not None
    assert len(set(found.train.groups[1:])) == 1
    assert found.train.groups[0] != found.train.groups[1]
    assert any("1 of 2 sounds are longer" in note and "all with its label" in note for note in found.notes)


def test_rates_and_channels_are_brought_together_and_said(tmp_path: Path) -> None:
    pytest.importorskip("soxr")
    for index in range(3):
        write(tmp_path / "set" / "low" / f"{index}.wav", "low")
    write(tmp_path / "set" / "high" / "1.wav", "high", rate_hz=44_100)
    stereo = np.stack([tone(300.0, 0.5, RNG)] * 2, axis=1)
    write_sound(tmp_path / "set" / "low" / "3.wav", stereo)
    found = read(tmp_path / "set")
    assert found.sound is not None
    assert found.sound.rate_hz == 16_000
    assert any("1 of 5 sounds have another rate (1 at 44100 Hz)" in note for note in found.notes)
    assert any("1 of 5 sounds have several channels" in note for note in found.notes)


def test_features_are_computed_once(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(classes)

    def never(*_: object) -> None:
        raise AssertionError("a sound was decoded again")

    monkeypatch.setattr(sound_clips, "decode_sound", never)
    monkeypatch.setattr(sound_clips, "sound_samples", never)
    assert np.array_equal(read(classes).train.samples, first.train.samples)
    with pytest.raises(AssertionError, match="decoded again"):
        read(classes, sound=SoundRequest(bands=20))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no sound", bytes(1000)])
def test_a_broken_sound_is_named(classes: Path, content: bytes) -> None:
    (classes / "low" / "2.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"2\.wav' cannot be read"):
        read(classes)


def test_sounds_are_not_resized_as_images_are(classes: Path) -> None:
    with pytest.raises(DataError, match="Leave out `image_size`"):
        read(classes, image_size=32)
    with pytest.raises(ConfigError, match=r"do not fit.*fewer bands"):
        read(classes, sound=SoundRequest(bands=300))


def wav(path: Path, kind: str) -> bytes:
    write(path, kind)
    return path.read_bytes()


def test_parquet_of_hugging_face_sounds_is_read_as_its_files_are(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (tmp_path / "set").mkdir()
    for part, count in (("train", 5), ("test", 2)):
        rows = [{"bytes": wav(tmp_path / f"{part}{i}.wav", ("high", "low")[i % 2]), "path": "x"} for i in range(count)]
        table = pa.table({"audio": pa.array(rows, kind), "label": [("high", "low")[i % 2] for i in range(count)]})
        pq.write_table(table, tmp_path / "set" / f"{part}-0.parquet", row_group_size=2)
    found = read(tmp_path / "set")
    assert found.sound is not None
    assert found.train.labels.tolist() == ["high", "low", "high", "low", "high"]
    expected = [
        sound_samples(EncodedSound.of_file(tmp_path / f"train{i}.wav"), found.sound, "loudest")[0].values
        for i in range(5)
    ]
    assert np.array_equal(found.train.samples[:], expected)


def test_a_sound_that_is_missing_or_broken_in_parquet_is_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    good = wav(tmp_path / "a.wav", "low")
    for second, message in ((None, "must be stored in the file as bytes"), (good[:100], "cannot be read")):
        pq.write_table(pa.table({"audio": [good, second], "label": ["a", "b"]}), tmp_path / "x.parquet")
        with pytest.raises(DataError, match=rf"Sound in row 1 of row group 0 of .*x\.parquet' .*{message}"):
            read(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,label\n0.wav,a\n1.wav,b\n./0.wav,b\n", "'0.wav' is in rows 1 and 3"),
        ("file_name,label\n0.wav,a\n1.wav,b,c\n", "Row 2 .* more values than columns"),
        ("file_name,label,split\n0.wav,a,train\n1.wav,b,test\n", "'split' .* seems to name the part"),
        ("file_name,label\n0.wav,a\n1.wav,  \n", "Row 2 .* but one is empty"),
    ],
)
def test_lists_that_contradict_themselves_are_refused(tmp_path: Path, text: str, message: str) -> None:
    for index in range(2):
        write(tmp_path / "set" / f"{index}.wav", "low")
    (tmp_path / "set" / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "set")


def test_spaces_around_values_of_a_list_make_no_other_class_or_group(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / "set" / f"{index}.wav", "low")
    (tmp_path / "set" / "metadata.csv").write_text("file_name,label,who\n0.wav, a,p\n1.wav,a , p\n2.wav,b,q\n")
    found = read(tmp_path / "set", group_column="who").train
    assert found.groups is not None
    assert (found.labels.tolist(), found.groups.tolist()) == (["a", "a", "b"], ["p", "p", "q"])
