"""A keyword spotter as a bundle: sounds in, words out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def test_a_picture_is_no_sound(spotter: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((49, 10), dtype=np.uint8)).save(tmp_path / "yes.png")
    with pytest.raises(DataError, match=r"yes.png.*no WAV file"):
        EarlyExitSession(spotter).predict_files([tmp_path / "yes.png"])


def test_a_sound_is_no_picture(tmp_path: Path) -> None:
    write_sound(tmp_path / "yes.wav", np.zeros(100))
    with pytest.raises(DataError, match=r"yes.wav' must be an image file"):
        load_sample(tmp_path / "yes.wav", Preprocessing(49, 10, "L", (0.5,), (0.25,)))


def test_features_of_another_size_cannot_be_made(tmp_path: Path) -> None:
    write_sound(tmp_path / "yes.wav", np.zeros(100))
    with pytest.raises(InputError, match="Features of speech are 49x10, but this network reads 1 channels of 98x10"):
        load_sample(tmp_path / "yes.wav", Preprocessing(98, 10, "L", (0.5,), (0.25,), input_kind="mfcc"))
