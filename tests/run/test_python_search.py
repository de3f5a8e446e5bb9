"""Searches on data that are given in Python: series, from arrays to a bundle that reads such arrays."""

from pathlib import Path

import numpy as np
import pytest

import offramp
from offramp.errors import ConfigError, InputError, RunError
from tests.conftest import LEAST_TRAINING

pytestmark = pytest.mark.usefixtures("quick_exporter")

RNG = np.random.default_rng(0)
LABELS = np.tile(["flat", "steep"], 40)
SERIES = 1000 + 20 * RNG.normal(size=(80, 2, 24)) + (LABELS == "steep")[:, None, None] * np.linspace(0, 300, 24)
SETTINGS = {
    **LEAST_TRAINING,
    "space__backbone": "tc-resnet",
    "space__branches": ["global_pool"],
    "search__algorithm": "random",
    "search__evaluations": 2,
    "fine_tune__picks": ["most_accurate"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("python") / "run"
    offramp.search(data=(SERIES, LABELS), run=run, **SETTINGS)
    return run


def test_a_bundle_of_series_reads_them_as_they_were_given(finished: Path, tmp_path: Path) -> None:
    bundle = next(finished.glob("chosen/most_accurate*/bundle"))
    session = offramp.EarlyExitSession(bundle)
    form = session.manifest.preprocessing
    assert (form.input_kind, form.dtype, form.scale, form.shape) == ("series", "float32", 1.0, (2, 24))
    assert session.manifest.input_shape == (2, 1, 24)
    assert session.manifest.schema == 4
    answers = session.predict(SERIES)
    # By hand: standardised per channel, with an axis for the height.
    mean, std = (np.asarray(values)[:, None] for values in (form.mean, form.std))
    by_hand = session.predict(((SERIES - mean) / std)[:, :, None].astype(np.float32), normalised=True)
    assert [answer.label for answer in answers] == [answer.label for answer in by_hand]
    assert form.mean == pytest.approx((1075, 1075), abs=15)
    with pytest.raises(InputError, match=r"shape \(N, 2, 24\), \(samples, channels, time\), got \(80, 24, 2\)"):
        session.predict(SERIES.transpose(0, 2, 1))
    np.savez(tmp_path / "some.npz", x=SERIES[:3])
    np.save(tmp_path / "one.npy", SERIES[0])
    assert list(session.stream(session.samples_of(tmp_path / "some.npz"))) == list(answers[:3])
    assert session.predict_files([tmp_path / "one.npy"]) == answers[:1]


def test_a_run_is_resumed_with_the_same_data_alone(finished: Path) -> None:
    assert offramp.search(data=(SERIES, LABELS), run=finished, resume=True).finished
    with pytest.raises(ConfigError, match=r"were given in Python. Give them again"):
        offramp.search(run=finished, resume=True)
    with pytest.raises(RunError, match="begun with another data"):
        offramp.search(data=(SERIES + 1, LABELS), run=finished, resume=True)


def test_names_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data__source='digits'"):
        offramp.search(data="digits", run=tmp_path / "run")
    with pytest.raises(ConfigError, match="give one"):
        offramp.search(data=(SERIES, LABELS), data__source="digits", run=tmp_path / "run")
