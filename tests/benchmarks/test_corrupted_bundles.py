"""A short run over damaged bundles, in a child that may die: refused with a sentence, or harmless."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.corrupted_bundles import Outcome, run, run_case, tally
from benchmarks.corruptions import DAMAGES

from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.deploy.runtime.session import EarlyExitSession
from tests.deploy import toys
from tests.deploy.conftest import POLICY


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    export_bundle(
        toys.network(),
        folder / "toy",
        policy=POLICY,
        class_names=toys.CLASSES,
        mean=toys.MEAN,
        std=toys.STD,
        checks=toys.samples(50),
        name="toy",
        seed=0,
    )
    return folder


def test_damaged_bundles_are_refused_or_harmless(base: Path) -> None:
    outcomes = run(50, base, seed=7)
    assert [item for item in outcomes if item.outcome not in ("refused", "harmless")] == []
    counts = tally(outcomes)
    assert set(counts) == {damage.__name__ for damage in DAMAGES}
    for damage in ("flipped_bytes", "cut_file", "path_escape"):
        assert counts[damage] == {"refused": 5}
    assert all(item.words for item in outcomes if item.outcome == "refused")


def test_a_child_that_dies_is_counted_and_replaced(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Case 1 kills the process, through a module that Python loads at its start."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'benchmarks.corrupted_bundles' in sys.orig_argv:\n"
        "    import numpy as np\n"
        "    import benchmarks.corruptions as c\n"
        "    c.DAMAGES = (c.DAMAGES[0], lambda bundle, rng: os._exit(139), c.DAMAGES[2])\n"
    )
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}/src:{root}")
    outcomes = run(3, base, seed=0)
    assert [item.outcome for item in outcomes][1] == "crashed"
    assert len(outcomes) == 3
    assert outcomes[0].outcome == "refused"


def test_what_writes_or_starts_something_is_noticed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spill(bundle: Path) -> None:
        EarlyExitSession(bundle)
        (bundle.parent / "executed").write_text("x")

    monkeypatch.setattr("benchmarks.corrupted_bundles.use", spill)
    monkeypatch.setattr("benchmarks.corrupted_bundles.DAMAGES", (lambda bundle, rng: bundle,))
    assert run_case(0, base, 0).outcome == "acted"
    monkeypatch.setattr("benchmarks.corrupted_bundles.use", lambda bundle: np.zeros(2)[5])
    found = run_case(0, base, 0)
    assert isinstance(found, Outcome)
    assert found.outcome == "error"
    assert "IndexError" in found.words
