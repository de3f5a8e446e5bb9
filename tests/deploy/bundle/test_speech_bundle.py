"""A keyword spotter as a bundle: sounds in, words out."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.data.readers.speech_commands import CLASS_NAMES
from offramp.data.sound.sound_features import keyword_features
from offramp.data.sound.wav import read_wav
from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.deploy.bundle.manifest_records import Preprocessing
from offramp.deploy.runtime.sample_inputs import load_sample
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import DataError, InputError
from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.backbone import BACKBONES
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import ExitChoice
from offramp.space.early_exit_space import EarlyExitSpace
from tests.data.sounds import tone, write_sound

HEARING = Preprocessing(49, 10, "L", (0.5,), (0.25,), input_kind="mfcc")


@pytest.fixture(scope="module")
def spotter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, with one exit."""
    space = BACKBONES.get("ds-cnn").space((1, 49, 10))
    members = EarlyExitSpace(space, ("global_pool",), max_exits=1)
    rng = np.random.default_rng(0)
    architecture = replace(members.max_architecture(), exits=(ExitChoice(1, "global_pool"),))
    network = Supernet(space, ("global_pool",), (1, 49, 10), 12, seed=0).extract(architecture)
    checks = rng.normal(size=(5, 1, 49, 10)).astype(np.float32)
    record = export_bundle(
        network,
        tmp_path_factory.mktemp("speech") / "spotter",
        policy=ExitPolicy("max_probability", (0.5,)),
        class_names=CLASS_NAMES,
        mean=HEARING.mean,
        std=HEARING.std,
        checks=checks,
        name="spotter",
        seed=0,
        input_kind="mfcc",
    )
    return record.path


def test_a_sound_is_answered_as_its_features_are(spotter: Path, tmp_path: Path) -> None:
    write_sound(tmp_path / "yes.wav", tone(440.0, 0.8, np.random.default_rng(0)))
    session = EarlyExitSession(spotter)
    assert session.manifest.preprocessing.input_kind == "mfcc"
    features = keyword_features(read_wav(tmp_path / "yes.wav"))
    assert session.predict_files([tmp_path / "yes.wav"]) == session.predict(features[None, None])


def long_sound(path: Path) -> Path:
    """Three seconds with a word in the last one."""
    rng = np.random.default_rng(0)
    write_sound(path, np.concatenate([rng.normal(0.0, 0.001, 32_000), tone(440.0, 1.0, rng)]))
    return path


def test_the_loudest_second_of_a_long_sound_is_heard_and_told(spotter: Path, tmp_path: Path) -> None:
    path = long_sound(tmp_path / "late.wav")
    session = EarlyExitSession(spotter)
    (answer,) = session.predict_files([path])
    assert answer.heard is not None
    assert answer.heard.start_s == pytest.approx(2.0, abs=0.01)
    assert answer.heard.duration_s == 3.0
    start = round(answer.heard.start_s * 16_000)
    (expected,) = session.predict(keyword_features(read_wav(path)[start : start + 16_000])[None, None])
    assert replace(answer, heard=None) == expected
    shown = CliRunner().invoke(app, ["predict", str(spotter), str(path)])
    assert ", heard 2.0" in shown.output


def test_each_window_gets_an_answer_where_the_bundle_says_so(spotter: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(spotter, bundle)
    manifest = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(manifest.replace('"loudest"', '"windows"'))
    path = long_sound(tmp_path / "late.wav")
    session = EarlyExitSession(bundle)
    with pytest.raises(InputError, match=r"late\.wav' has 5 samples"):
        session.predict_files([path])
    assert [sample.heard.start_s for sample in session.samples_of(path) if sample.heard] == [0.0, 0.5, 1.0, 1.5, 2.0]
    table = tmp_path / "answers.csv"
    shown = CliRunner().invoke(app, ["predict", str(bundle), str(path), "--csv", str(table)])
    assert shown.exit_code == 0, shown.output
    rows = list(csv.DictReader(table.open(newline="")))
    assert [float(row["start_s"]) for row in rows] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert {row["file"] for row in rows} == {str(path)}


def test_a_picture_is_no_sound(spotter: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((49, 10), dtype=np.uint8)).save(tmp_path / "yes.png")
    with pytest.raises(DataError, match=r"yes.png.*no sound file"):
        EarlyExitSession(spotter).predict_files([tmp_path / "yes.png"])


def test_a_sound_is_no_picture(tmp_path: Path) -> None:
    write_sound(tmp_path / "yes.wav", np.zeros(100))
    with pytest.raises(DataError, match=r"yes.wav' cannot be decoded .no known image format"):
        load_sample(tmp_path / "yes.wav", Preprocessing(49, 10, "L", (0.5,), (0.25,)))


def test_features_of_another_size_cannot_be_made(tmp_path: Path) -> None:
    write_sound(tmp_path / "yes.wav", np.zeros(100))
    with pytest.raises(InputError, match="Features of speech are 49x10, but this network reads 1 channels of 98x10"):
        load_sample(tmp_path / "yes.wav", Preprocessing(98, 10, "L", (0.5,), (0.25,), input_kind="mfcc"))
