"""A search with a rare class: objectives, bounds, weights of classes and the report name what each class gets."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import offramp
from offramp.algorithms.algorithm import ALGORITHMS
from offramp.algorithms.exact.backbone_solver import BackboneSolver
from offramp.algorithms.exact.exact import Exact
from offramp.errors import ConfigError, InputError
from offramp.exits.quality.class_profiles import ClassProfile, ClassProfiles
from offramp.objectives.parse import parse_constraints, parse_objectives
from offramp.records import read_run
from offramp.records.run_summary import load_summary
from offramp.report.wording import guarantee_sentence
from offramp.run.checks.settings_checks import check_settings
from offramp.run.report_notes import worse_classes
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.testing.toys import small_space
from tests.nn.toy_models import Toy

pytestmark = pytest.mark.usefixtures("quick_exporter")

QUICK: dict[str, Any] = {
    "train__epochs": 1,
    "train__batch_size": 16,
    "train__random_subnets": 0,
    "space__branches": ("global_pool",),
    "search__evaluations": 3,
    "search__batch": 3,
    "search__algorithm": "random",
    "fine_tune__epochs": 1,
    "fine_tune__picks": ("knee",),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Dark images, and one in ten bright, of class 1."""
    rng = np.random.default_rng(0)
    labels = (np.arange(300) % 10 == 0).astype(np.int64)
    images = (rng.normal(0, 20, (300, 3, 8, 8)) + 60 * labels[:, None, None, None] + 90).clip(0, 255)
    path = tmp_path_factory.mktemp("data") / "rare.npz"
    np.savez(path, x=images.astype(np.uint8), y=labels)
    return str(path)


def adopted() -> Any:
    torch.manual_seed(0)
    return offramp.adopt(Toy(), torch.zeros(1, 3, 8, 8), max_taps=2)


def test_a_search_for_a_rare_class_measures_and_reports_it(data: str, tmp_path: Path) -> None:
    result = offramp.search(
        model=adopted(),
        data__source=data,
        run=tmp_path / "run",
        search__objectives=("balanced_accuracy", "recall:1", "macs"),
        search__constraints=("recall:1>=0.01",),
        train__class_weights="balanced",
        fine_tune__guarantee="0.5@0.6",
        fine_tune__guarantee_measure="recall:1",
        **QUICK,
    )
    for evaluation in read_run(result.folder).evaluations():
        assert {"accuracy", "balanced_accuracy", "macro_f1", "recall:1"} <= evaluation.values.keys()
    (chosen,) = result.chosen
    assert chosen.classes is not None
    assert chosen.guarantee is not None
    assert chosen.guarantee.measure == "recall:1"
    assert chosen.test is not None
    counts = np.asarray(chosen.classes.confusion)
    assert np.trace(counts) / counts.sum() == pytest.approx(chosen.test.top1)
    for label, profile in enumerate(chosen.classes.classes):
        assert profile.num_samples == counts[label].sum()
        assert profile.recall == pytest.approx(counts[label, label] / counts[label].sum())
        assert sum(profile.rates) == pytest.approx(1.0)
    rates = np.asarray([profile.rates for profile in chosen.classes.classes])
    shares = counts.sum(1) / counts.sum()
    assert shares @ rates == pytest.approx(chosen.test.rates)
    again = load_summary(result.folder / "summary.json")
    assert again.chosen[0].classes == chosen.classes
    assert len(again.static_reference.recalls_test) == 2
    page = result.report()
    assert "Confusion matrix" in page
    assert "balanced accuracy" in page
    # A network without early exits loses nothing that could be promised.
    assert (guarantee_sentence(chosen) == "") == (chosen.num_exits == 1)


def test_unknown_and_missing_classes_are_refused_before_a_run_is_made(data: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be one of the data, got 'cat'"):
        offramp.search(
            model=adopted(), data__source=data, run=tmp_path / "run", search__objectives=("recall:cat", "macs"), **QUICK
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fine_tune.guarantee_measure": "recall:1"}, "needs a guarantee"),
        (
            {
                "fine_tune.guarantee_measure": "recall:1",
                "fine_tune.guarantee": "0.01@0.95",
                "search.calibrate_confidences": True,
            },
            "of one class alone",
        ),
        ({"fine_tune.guarantee_measure": "macro_f1", "fine_tune.guarantee": "0.01@0.95"}, "defined for a mean"),
        ({"fine_tune.guarantee_measure": "precision", "fine_tune.guarantee": "0.01@0.95"}, "accuracy or recall:NAME"),
    ],
)
def test_measures_that_something_cannot_use_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_settings(with_settings(Config(), settings))


def profiles(*classes: ClassProfile) -> ClassProfiles:
    return ClassProfiles(classes, 0.5, 0.5)


GOOD = ClassProfile(100, 0.95, 0.9, 0.9, (0.5, 0.5), (0.95, 0.95), (0.9, 0.95))


def test_an_early_exit_that_serves_a_class_much_worse_is_named() -> None:
    # 40 of 50 samples of class b leave first, a quarter of them right; the reference has 80 %.
    bad = ClassProfile(50, 0.36, 0.9, 0.5, (0.8, 0.2), (0.25, 0.8), (0.3, 0.8))
    notes = worse_classes("knee", profiles(GOOD, bad), (0.96, 0.8), ("a", "b"), 0.9)
    assert len(notes) == 2
    assert "early exit 1 answers 40 of the 50 test samples of class “b”, 25.0% of them right" in notes[0]
    assert "reference has a recall of 80.0%" in notes[0]
    assert "the recall of class “b” is 36.0%, that of the reference 80.0%" in notes[1]


def test_differences_that_chance_explains_are_not_named() -> None:
    few = ClassProfile(5, 0.6, 0.9, 0.5, (0.8, 0.2), (0.5, 1.0), (0.5, 0.8))
    assert worse_classes("knee", profiles(GOOD, few), (0.96, 0.8), ("a", "b"), 0.9) == ()


def test_a_class_that_even_the_reference_never_recognises_is_named() -> None:
    lost = ClassProfile(20, 0.0, None, 0.0, (1.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    (note,) = worse_classes("knee", profiles(GOOD, lost), (0.96, 0.0), ("a", "b"), 0.954)
    assert "the recall of class “b” is 0.0%, far below the accuracy of 95.4%" in note


@pytest.mark.parametrize(
    "settings", [{"search.objectives": ("macro_f1", "macs")}, {"search.constraints": ("recall:1>=0.5",)}]
)
def test_exact_leaves_other_measures_than_accuracy_to_nsga2_and_says_so(settings: dict[str, Any]) -> None:
    config = with_settings(Config(), {"search.algorithm": "exact", **settings})
    objectives, constraints = parse_objectives(config.search.objectives), parse_constraints(config.search.constraints)
    ours, theirs = (ALGORITHMS.get(name)(small_space(), objectives, constraints, 0) for name in ("exact", "nsga2"))
    assert isinstance(ours, Exact)
    ours.use_solver(cast(BackboneSolver, object()))
    (remark,) = ours.remarks
    assert remark.startswith("exact solves for accuracy alone, and this search goes by ")
    assert ours.ask(20) == theirs.ask(20)
