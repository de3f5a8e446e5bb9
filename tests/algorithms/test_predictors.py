"""Predictors: the best ranking regressor is found, deviations are honest, and the choice can be replayed."""

import subprocess
import sys

import numpy as np
import pytest

from offramp.algorithms.predictors import REGRESSORS, Features, Predictor, PredictorSeries
from offramp.errors import InputError
from offramp.testing.toys import small_space


def line(num_rows: int = 60, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Values that are a weighted sum of five features, and some noise."""
    rng = np.random.default_rng(0)
    features = rng.random((num_rows, 5))
    return features, features @ np.asarray([5.0, 3.0, 0.0, -2.0, 1.0]) + noise * rng.standard_normal(num_rows)


def test_features_hold_places_and_one_column_per_choice_of_genes_without_order() -> None:
    rows = Features((2, 4, 1))(np.asarray([[1, 3, 0], [0, 1, 0]]))
    assert rows.tolist() == [[1, 1, 0, 0, 0, 0, 1], [0, pytest.approx(1 / 3), 0, 0, 1, 0, 0]]


def test_a_linear_relation_is_ranked_best_by_a_regressor_that_is_linear() -> None:
    features, values = line()
    predictor = Predictor(features, values, 0)
    assert predictor.chosen.name in ("bayesian_ridge", "gaussian_process")
    assert predictor.chosen.kendall > 0.9 < predictor.chosen.spearman
    assert predictor.chosen.conservative == max(score.conservative for score in predictor.scores)
    assert {score.name for score in predictor.scores} == set(REGRESSORS)


def test_a_step_is_ranked_better_by_trees_than_by_a_line() -> None:
    rng = np.random.default_rng(1)
    features = rng.random((120, 6))
    values = np.where((features[:, 0] > 0.5) != (features[:, 1] > 0.5), 1.0, 0.0) + 0.01 * rng.standard_normal(120)
    predictor = Predictor(features, values, 0, ["bayesian_ridge", "extra_trees"])
    assert predictor.chosen.name == "extra_trees"


@pytest.mark.parametrize("name", list(REGRESSORS))
def test_each_regressor_predicts_in_the_units_of_the_values_with_honest_deviations(name: str) -> None:
    features, values = line(80, noise=0.3)
    fresh, truth = line(200, noise=0.3)
    predictor = Predictor(features, 1e6 * values + 7e6, 0, [name])
    found = predictor.predict(fresh[80:])
    errors = found.mean - (1e6 * truth[80:] + 7e6)
    assert np.abs(errors).mean() < 1.2e6
    # Scaled to the errors of cross-validation, a deviation means about what it says.
    assert 0.4 < np.sqrt((errors**2).mean() / (found.deviation**2).mean()) < 2.5


def test_values_that_are_all_alike_are_predicted_as_such() -> None:
    features, _ = line(20)
    found = Predictor(features, np.full(20, 3.0), 0).predict(features)
    assert found.mean == pytest.approx(3.0, abs=1e-6)
    assert np.isfinite(found.deviation).all()


def test_too_few_rows_are_refused() -> None:
    features, values = line(7)
    with pytest.raises(InputError, match="at least 8 rows, got 7"):
        Predictor(features, values, 0)


def test_a_series_answers_the_same_however_often_it_was_asked_on_the_way() -> None:
    space = small_space()
    rng = np.random.default_rng(3)
    features = Features(space.cardinalities)(np.asarray([space.encode(space.sample(rng)) for _ in range(40)]))
    values = features @ rng.random(features.shape[1])
    often, once = PredictorSeries(5), PredictorSeries(5)
    for count in (8, 11, 13, 20, 33):
        often.fitted(features[:count], values[:count])
    answers = [series.fitted(features, values) for series in (often, once)]
    assert answers[0].chosen == answers[1].chosen
    assert answers[0].predict(features).mean.tolist() == answers[1].predict(features).mean.tolist()


def test_scikit_learn_is_loaded_when_a_predictor_is_built_and_not_before() -> None:
    code = (
        "import sys, offramp.algorithms.peers.progressive, offramp.algorithms.peers.nachos; "
        "assert 'sklearn' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
