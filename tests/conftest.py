"""Settings that hold for all tests, and a small finished run that several of them look at."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

# A busy machine is no fault of the code under test.
settings.register_profile("offramp", deadline=None)
settings.load_profile("offramp")

SMALL = {
    "train.epochs": 2,
    "train.batch_size": 64,
    "search.evaluations": 12,
    "search.batch": 6,
    "fine_tune.epochs": 1,
    "fine_tune.picks": ("knee", "most_accurate"),
    "deploy.licence": "CC0-1.0",
}


def small_config(**changes: object) -> Config:
    """A search that takes seconds; ``changes`` are dotted names with ``__`` for the dot."""
    return with_settings(Config(), {**SMALL, **{name.replace("__", "."): value for name, value in changes.items()}})


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither read nor write the user's caches."""
    os.environ["OFFRAMP_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small search on the digits."""
    from offramp.run.api import search

    folder = tmp_path_factory.mktemp("runs") / "small"
    search(small_config(), run=folder)
    return folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """The reference data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).parents[1].parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip("the reference data (../shared/reference) are not here")
    return folder
