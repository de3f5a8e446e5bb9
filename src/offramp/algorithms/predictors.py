"""Predictors of objectives from genes, with their uncertainty.

Several regressors compete; the one that ranks held-out candidates best is used. Predictions decide what is evaluated
next; they are never reported as results.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.registry import CALLABLE, Registry

MIN_ROWS = 8
"""Smallest number of evaluations for a choice among regressors."""

_FOLDS = 4
_GROWTH = 1.5


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted values with their uncertainty.

    Attributes:
        mean: Predicted values, (rows,).
        deviation: Standard deviations of the predictions, (rows,).
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


class Regressor(Protocol):
    """Learns values from features."""

    def fit(self, features: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Learn from examples.

        Args:
            features: Features, (rows, features).
            values: Values with mean 0 and variance 1, (rows,).
        """
        ...

    def predict(self, features: NDArray[np.float64]) -> Prediction:
        """Predict the values of further rows.

        Args:
            features: Features, (rows, features).

        Returns:
            One prediction per row.
        """
        ...


REGRESSORS: Registry[Callable[[int], Regressor]] = Registry("regressor", expects=CALLABLE)
"""Builds a regressor from a seed."""


@dataclass(frozen=True)
class RankScore:
    """How well a regressor ranked held-out candidates: rank correlations over the folds, -1 to 1.

    Attributes:
        name: Registered name of the regressor.
        kendall: Mean of Kendall's tau.
        kendall_deviation: Standard deviation of Kendall's tau.
        spearman: Mean of Spearman's rho.
    """

    name: str
    kendall: float
    kendall_deviation: float
    spearman: float

    @property
    def conservative(self) -> float:
        """Mean minus deviation of Kendall's tau, by which regressors are chosen.

        Source: Lu et al. 2020, "MSuNAS", adaptive switching.
        """
        return self.kendall - self.kendall_deviation


class Features:
    """Converts genes to features.

    Features are the position of each gene from 0 to 1 and, for genes with three or more choices, one column per choice:
    choices such as branch types have no order.
    """

    def __init__(self, cardinalities: Sequence[int]) -> None:
        """Prepare for genes of one space.

        Args:
            cardinalities: Number of choices of each gene.
        """
        self._cardinalities = np.asarray(cardinalities)
        self._one_hot = np.flatnonzero(self._cardinalities >= 3)

    def __call__(self, genes: NDArray[np.integer]) -> NDArray[np.float64]:
        rows = np.asarray(genes)
        places = rows / np.maximum(self._cardinalities - 1, 1)
        chosen = [rows[:, [i]] == np.arange(self._cardinalities[i]) for i in self._one_hot]
        return np.concatenate([places, *chosen], axis=1).astype(np.float64)


class Predictor:
    """The regressor with the best rank correlation in cross-validation, fitted on all rows.

    Its deviations are scaled to agree with the errors made in cross-validation.

    Attributes:
        scores: Scores of all compared regressors.
        chosen: Score of the chosen regressor.
    """

    def __init__(
        self,
        features: NDArray[np.float64],
        values: NDArray[np.float64],
        seed: int,
        names: Sequence[str] | None = None,
        *,
        num_compared: int | None = None,
    ) -> None:
        """Compare regressors and fit the best one.

        Args:
            features: Features, (rows, features), at least `MIN_ROWS` rows.
            values: Values, (rows,).
            seed: Seed of the folds and the regressors.
            names: Registered names of the regressors to compare; None: all.
            num_compared: Number of rows on which they are compared, the first ones; None: all rows.

        Raises:
            InputError: There are too few rows, or their number is not that of the values.
        """
        if len(values) < MIN_ROWS or len(features) != len(values):
            raise InputError(
                f"a predictor needs at least {MIN_ROWS} rows, got {len(features)} and {len(values)} values."
            )
        rows = slice(None, num_compared)
        trials = [_cross_validate(name, features[rows], _Scale(values[rows]), seed) for name in names or REGRESSORS]
        best = max(trials, key=lambda trial: trial.score.conservative)
        self.scores = tuple(trial.score for trial in trials)
        self.chosen = best.score
        self._trial = best
        self._fit(features, values, seed)

    def _fit(self, features: NDArray[np.float64], values: NDArray[np.float64], seed: int) -> None:
        self._scale = _Scale(values)
        self._regressor = _fitted(self.chosen.name, features, self._scale.scaled, seed)

    def refitted(self, features: NDArray[np.float64], values: NDArray[np.float64], seed: int) -> "Predictor":
        """Fit the chosen kind of regressor on other rows, without a new comparison.

        Args:
            features: Features, (rows, features).
            values: Values, (rows,).
            seed: Seed of the regressor.

        Returns:
            The new predictor.
        """
        copied = copy.copy(self)
        copied._fit(features, values, seed)
        return copied

    def predict(self, features: NDArray[np.float64]) -> Prediction:
        """Predict in the units of the values that the predictor was fitted on."""
        found = self._regressor.predict(features)
        deviation = np.maximum(found.deviation * self._trial.deviation_factor, self._trial.min_deviation)
        scale = self._scale
        return Prediction(found.mean * scale.deviation + scale.mean, deviation * scale.deviation)


class PredictorSeries:
    """A predictor of one quantity while evaluations are added; it is always fitted on all of them.

    Regressors are compared again whenever the number of rows has grown by a factor of 1.5, on the first rows up to that
    number. The choice therefore depends on the rows alone, not on the times of the calls.
    """

    def __init__(self, seed: int) -> None:
        """Begin without rows.

        Args:
            seed: Seed of the folds and the regressors.
        """
        self._seed = seed
        self._compared = 0
        self._latest: Predictor | None = None

    def fitted(self, features: NDArray[np.float64], values: NDArray[np.float64]) -> Predictor:
        """Fit a predictor on the rows so far.

        Args:
            features: Features, (rows, features): the rows of the previous call and further ones.
            values: Values, (rows,).

        Returns:
            The predictor.
        """
        num_compared = _last_milestone(len(values))
        if self._latest is None or num_compared != self._compared:
            self._latest = Predictor(features, values, self._seed, num_compared=num_compared)
            self._compared = num_compared
        else:
            self._latest = self._latest.refitted(features, values, self._seed)
        return self._latest


def _last_milestone(num_rows: int) -> int:
    """The largest of the row counts at which regressors are compared."""
    milestone = MIN_ROWS
    while int(milestone * _GROWTH) <= num_rows:
        milestone = int(milestone * _GROWTH)
    return milestone


@dataclass(frozen=True)
class _Trial:
    """A score, the factor that corrects the regressor's deviations, and the smallest deviation to assume."""

    score: RankScore
    deviation_factor: float
    min_deviation: float


class _Scale:
    """Values scaled to mean 0 and variance 1."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.mean, self.deviation = float(values.mean()), float(values.std()) or 1.0
        self.scaled: NDArray[np.float64] = (values - self.mean) / self.deviation


def _cross_validate(name: str, features: NDArray[np.float64], scale: _Scale, seed: int) -> _Trial:
    from scipy.stats import kendalltau, spearmanr

    values = scale.scaled
    order = np.random.default_rng([seed, len(values)]).permutation(len(values))
    folds = min(_FOLDS, len(values) // 2)
    mean, deviation = np.empty(len(values)), np.empty(len(values))
    kendalls, spearmans = [], []
    for fold in range(folds):
        held = order[fold::folds]
        kept = np.setdiff1d(order, held)
        found = _fitted(name, features[kept], values[kept], seed).predict(features[held])
        mean[held], deviation[held] = found.mean, found.deviation
        # The correlation of a constant is undefined: such a prediction ranks nothing.
        if np.ptp(found.mean) > 0 and np.ptp(values[held]) > 0:
            kendalls.append(float(kendalltau(values[held], found.mean).statistic))
            spearmans.append(float(spearmanr(values[held], found.mean).statistic))
        else:
            kendalls.append(0.0)
            spearmans.append(0.0)
    error = float(np.sqrt(((mean - values) ** 2).mean()))
    own = float(np.sqrt((deviation**2).mean()))
    score = RankScore(name, float(np.mean(kendalls)), float(np.std(kendalls)), float(np.mean(spearmans)))
    return _Trial(score, error / own if own > 0 else 1.0, 0.1 * error if own > 0 else error)


def _fitted(name: str, features: NDArray[np.float64], values: NDArray[np.float64], seed: int) -> Regressor:
    regressor = REGRESSORS.get(name)(seed)
    with warnings.catch_warnings():
        # Not converged, or a kernel parameter at its bound: cross-validation shows the quality anyway.
        warnings.simplefilter("ignore")
        regressor.fit(features, values)
    return regressor


class _BayesianRidge:
    """Linear regression with the deviation of the posterior."""

    def __init__(self, seed: int) -> None:
        from sklearn.linear_model import BayesianRidge

        self._model = BayesianRidge()

    def fit(self, features: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        self._model.fit(features, values)

    def predict(self, features: NDArray[np.float64]) -> Prediction:
        return Prediction(*self._model.predict(features, return_std=True))


class _GaussianProcess:
    """Gaussian process with a Matern kernel of one length scale, and noise."""

    def __init__(self, seed: int) -> None:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import Matern, WhiteKernel

        kernel = Matern(length_scale=3.0, length_scale_bounds=(0.3, 100.0), nu=2.5) + WhiteKernel(0.1, (1e-4, 1.0))
        self._model = GaussianProcessRegressor(kernel, random_state=seed)

    def fit(self, features: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        self._model.fit(features, values)

    def predict(self, features: NDArray[np.float64]) -> Prediction:
        return Prediction(*self._model.predict(features, return_std=True))


class _ExtraTrees:
    """Forest whose deviation is the disagreement of its trees."""

    def __init__(self, seed: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        self._model = ExtraTreesRegressor(16, min_samples_leaf=2, random_state=seed)

    def fit(self, features: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        self._model.fit(features, values)

    def predict(self, features: NDArray[np.float64]) -> Prediction:
        rows = np.asarray(features, dtype=np.float32)
        answers = np.stack([tree.predict(rows) for tree in self._model.estimators_])
        return Prediction(answers.mean(axis=0), answers.std(axis=0))


class _Networks:
    """Two small neural networks whose disagreement is the deviation."""

    def __init__(self, seed: int) -> None:
        from sklearn.neural_network import MLPRegressor

        self._models = [
            MLPRegressor(hidden_layer_sizes=(24,), alpha=1.0, solver="lbfgs", max_iter=30, random_state=seed + index)
            for index in range(2)
        ]

    def fit(self, features: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        for model in self._models:
            model.fit(features, values)

    def predict(self, features: NDArray[np.float64]) -> Prediction:
        answers = np.stack([model.predict(features) for model in self._models])
        return Prediction(answers.mean(axis=0), answers.std(axis=0))


REGRESSORS.add("bayesian_ridge", _BayesianRidge)
REGRESSORS.add("gaussian_process", _GaussianProcess)
REGRESSORS.add("extra_trees", _ExtraTrees)
REGRESSORS.add("neural_networks", _Networks)
