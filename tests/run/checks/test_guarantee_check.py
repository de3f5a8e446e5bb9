"""A guarantee that the validation samples cannot give is refused, with the number that can."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import offramp
from offramp.data.labelled_data import Dataset
from offramp.errors import ConfigError, InputError
from offramp.progress import SilentReporter
from offramp.run.checks.guarantee_check import check_guarantee
from offramp.run.factory import build_dataset
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from tests.nn.toy_models import Toy


def settings_of(data: Path, **settings: Any) -> Config:
    return with_settings(Config(), data__source=str(data), **settings)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images, of which one in ten is of class 1."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "rare.npz"
    np.savez(path, x=rng.integers(0, 256, (300, 3, 8, 8), dtype=np.uint8), y=(np.arange(300) % 10 == 0).astype(int))
    return path


@pytest.fixture(scope="module")
def dataset(source: Path) -> Dataset:
    return build_dataset(settings_of(source), SilentReporter())


def test_one_sample_too_few_is_refused_and_the_number_needed_is_named(source: Path, dataset: Dataset) -> None:
    available = len(dataset.splits.validation)
    # ln 0.1 / ln 0.9 = 21.9: 22 tested, 43 in all. ln 0.02 / ln 0.9 = 37.1: 38 and 75.
    assert 43 <= available < 75
    check_guarantee(settings_of(source, fine_tune__guarantee="0.1@0.9"), dataset)
    with pytest.raises(ConfigError, match=rf"needs at least 75 validation samples, got {available}: half") as refused:
        check_guarantee(settings_of(source, fine_tune__guarantee="0.1@0.98"), dataset)
    # What the message suggests is accepted, and a hundredth less is not.
    assert "--guarantee 0.13@0.98 is the least here" in str(refused.value)
    check_guarantee(settings_of(source, fine_tune__guarantee="0.13@0.98"), dataset)
    with pytest.raises(ConfigError):
        check_guarantee(settings_of(source, fine_tune__guarantee="0.12@0.98"), dataset)


def test_a_guarantee_on_a_class_counts_the_samples_of_that_class(source: Path, dataset: Dataset) -> None:
    available = int((dataset.splits.validation.labels == 1).sum())
    assert 3 <= available < 43
    recall = {"fine_tune__guarantee_measure": "recall:1"}
    check_guarantee(settings_of(source, fine_tune__guarantee="0.5@0.6", **recall), dataset)
    with pytest.raises(ConfigError, match=f"43 validation samples of class '1', got {available}"):
        check_guarantee(settings_of(source, fine_tune__guarantee="0.1@0.9", **recall), dataset)
    with pytest.raises(InputError, match="must be one of the data"):
        check_guarantee(
            settings_of(source, fine_tune__guarantee="0.1@0.9", fine_tune__guarantee_measure="recall:9"), dataset
        )


def test_a_drop_of_nothing_is_refused_since_no_number_of_samples_shows_it(source: Path, dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="must allow some drop"):
        check_guarantee(settings_of(source, fine_tune__guarantee="0@0.95"), dataset)


def test_without_a_guarantee_nothing_is_asked_of_the_samples(source: Path, dataset: Dataset) -> None:
    check_guarantee(settings_of(source), dataset)


def test_a_search_refuses_it_before_a_folder_is_made(source: Path, tmp_path: Path) -> None:
    model = offramp.adopt(Toy(), torch.zeros(1, 3, 8, 8), max_taps=2)
    with pytest.raises(ConfigError, match="needs at least 597 validation samples"):
        offramp.search(
            model=model,
            data__source=str(source),
            run=tmp_path / "run",
            fine_tune__guarantee="0.01@0.95",
            space__branches=("global_pool",),
        )
    assert not (tmp_path / "run").exists()
