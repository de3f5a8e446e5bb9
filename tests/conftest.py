"""Settings that hold for all tests, and a small finished run that several of them look at."""

import functools
import gc
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

# A busy machine is no fault of the code under test.
settings.register_profile("offramp", deadline=None)
settings.load_profile("offramp")

SMALL = {
    # `exact` prices every network with exits of a backbone, some 80, before it proposes the first one.
    "search.algorithm": "random",
    "train.epochs": 2,
    "train.batch_size": 64,
    "search.evaluations": 12,
    "search.batch": 6,
    "fine_tune.epochs": 1,
    "fine_tune.picks": ("knee", "most_accurate"),
    "deploy.licence": "CC0-1.0",
}

# Changes of these settings for tests of what a search does with its networks, however good they are.
LEAST_TRAINING: dict[str, Any] = {"train__epochs": 1, "train__random_subnets": 0, "fine_tune__epochs": 0}


def small_config(**changes: object) -> Config:
    """A search that takes seconds; ``changes`` are dotted names with ``__`` for the dot."""
    return with_settings(Config(), {**SMALL, **{name.replace("__", "."): value for name, value in changes.items()}})


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither read nor write the user's caches."""
    os.environ["OFFRAMP_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_collection_finish() -> None:
    """Spend less on the search for unreachable objects: the modules of torch and its exporter stay until the end.

    With the thresholds of Python, this search takes up to a third of an export.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_runtest_setup() -> None:
    """Build two tables of torch's exporter once: they are built at every call, longer than a small graph takes.

    The table of operators is a function of the opset alone, that of decompositions a function of the namespace, and
    nobody changes them. Where torch keeps them elsewhere, nothing is done.
    """
    registry = getattr(sys.modules.get("torch.onnx._internal.exporter._registration"), "ONNXRegistry", None)
    build = getattr(registry, "from_torchlib", None)
    if build is not None and not hasattr(build, "cache_info"):
        registry.from_torchlib = staticmethod(functools.cache(build))
        gc.freeze()
    tables: Any = sys.modules.get("torch._export.utils")
    collect = getattr(tables, "_collect_all_valid_cia_ops_for_namespace", None)
    if collect is not None and not hasattr(collect, "cache_info"):
        tables._collect_all_valid_cia_ops_for_namespace = functools.cache(collect)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one process makes and every process of the test run has a copy of.

    ``make`` is given a path that does not exist yet.
    """
    ours = tmp_path_factory.mktemp("copies") / name
    if "PYTEST_XDIST_WORKER" not in os.environ:
        make(ours)
        return ours
    shared = tmp_path_factory.getbasetemp().parent / name
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            unfinished = Path(f"{shared}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            unfinished.rename(shared)
    return Path(shutil.copytree(shared, ours))


def finished_config() -> Config:
    """The settings of `finished_run`."""
    return small_config(search__algorithm="exact")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small search on the digits, with the algorithm that is the default."""
    from offramp.run.api import search

    return made_once(tmp_path_factory, "finished_run", lambda folder: search(finished_config(), run=folder))


@pytest.fixture
def quick_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage graphs by torch's older exporter, for tests of runs and commands that need a bundle, whatever wrote it."""
    from tests.deploy.quick_exports import quick_stage_graph

    monkeypatch.setattr("offramp.deploy.onnx.stage_graphs._export", quick_stage_graph)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The reference data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).parents[1].parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip("the reference data (../shared/reference) are not here")
    return folder
