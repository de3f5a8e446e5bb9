"""Predictors of objectives from genes, with their uncertainty.

Several regressors compete; the one that ranks held-out candidates best is taken. A predictor decides what is evaluated
next and never what is reported.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from offramp.errors import InputError
from offramp.registry import Registry

FEWEST = 8
"""Evaluations below which no choice among regressors can be made."""

_FOLDS = 4
_GROWTH = 1.5


@dataclass(frozen=True, eq=False)
class Prediction:
    """One value and one standard deviation per row of genes."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


class Regressor(Protocol):
    """Learns values (rows,) from features (rows, features); values have mean 0 and variance 1."""

    def fit(self, features: NDArray[np.float64], values: NDArray[np.float64]) -> None: ...

    def predict(self, features: NDArray[np.float64]) -> Prediction: ...


REGRESSORS: Registry[Callable[[int], Regressor]] = Registry("regressor")
"""Builds a regressor from a seed."""


@dataclass(frozen=True)
class RankScore:
    """How well a regressor ordered candidates it had not seen: means over the folds, and Kendall's spread."""

    name: str
    kendall: float
    kendall_deviation: float
    spearman: float

    @property
    def cautious(self) -> float:
        """What the choice goes by. Source: Lu et al. 2020, "MSuNAS", adaptive switching: mean minus deviation."""
        return self.kendall - self.kendall_deviation


class Features:
    """Genes as numbers for regressors: each gene's place from 0 to 1, and one column per choice where there are three
    or more, since choices such as the type of a branch have no order."""

    def __init__(self, cardinalities: Sequence[int]) -> None:
        self._cardinalities = np.asarray(cardinalities)
        self._listed = np.flatnonzero(self._cardinalities >= 3)

    def __call__(self, genes: NDArray[np.integer]) -> NDArray[np.float64]:
        rows = np.asarray(genes)
        places = rows / np.maximum(self._cardinalities - 1, 1)
        chosen = [rows[:, [i]] == np.arange(self._cardinalities[i]) for i in self._listed]
        return np.concatenate([places, *chosen], axis=1).astype(np.float64)


class Predictor:
    """The regressor with the best rank correlation in cross-validation, fitted on everything.

    Its deviations are scaled so that they agree with the errors made in cross-validation.
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
        """The regressors are compared on the first ``num_compared`` rows (None: all).

        Raises InputError for fewer than `FEWEST` rows.
        """
        if len(values) < FEWEST or len(features) != len(values):
            raise InputError(f"a predictor needs at least {FEWEST} rows, got {len(features)} and {len(values)} values.")
        rows = slice(None, num_compared)
        trials = [_cross_validate(name, features[rows], _Scale(values[rows]), seed) for name in names or REGRESSORS]
        best = max(trials, key=lambda trial: trial.score.cautious)
        self.scores = tuple(trial.score for trial in trials)
        self.chosen = best.score
        self._trial = best
        self._fit(features, values, seed)

    def _fit(self, features: NDArray[np.float64], values: NDArray[np.float64], seed: int) -> None:
        self._scale = _Scale(values)
        self._regressor = _fitted(self.chosen.name, features, self._scale.scaled, seed)

    def refitted(self, features: NDArray[np.float64], values: NDArray[np.float64], seed: int) -> "Predictor":
        """The same kind of regressor, fitted on other rows without a new comparison."""
        again = copy.copy(self)
        again._fit(features, values, seed)
        return again

    def predict(self, features: NDArray[np.float64]) -> Prediction:
        """In the units of the values it was fitted on."""
        found = self._regressor.predict(features)
        deviation = np.maximum(found.deviation * self._trial.stretch, self._trial.floor)
        scale = self._scale
        return Prediction(found.mean * scale.spread + scale.middle, deviation * scale.spread)


class PredictorSeries:
    """A predictor of one quantity while evaluations are added: always fitted on all of them.

    The regressors are compared anew whenever their number has grown by `_GROWTH`, on the first rows up to that number:
    so the choice depends on the rows alone, not on when it was asked for.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._compared = 0
        self._latest: Predictor | None = None

    def fitted(self, features: NDArray[np.float64], values: NDArray[np.float64]) -> Predictor:
        """Rows are those of the call before and further ones."""
        num_compared = _last_milestone(len(values))
        if self._latest is None or num_compared != self._compared:
            self._latest = Predictor(features, values, self._seed, num_compared=num_compared)
            self._compared = num_compared
        else:
            self._latest = self._latest.refitted(features, values, self._seed)
        return self._latest


def _last_milestone(num_rows: int) -> int:
    """The largest of the row counts at which regressors are compared."""
    milestone = FEWEST
    while int(milestone * _GROWTH) <= num_rows:
        milestone = int(milestone * _GROWTH)
    return milestone


@dataclass(frozen=True)
class _Trial:
    """A score, what the regressor's own deviations must be multiplied by, and the least deviation to believe."""

    score: RankScore
    stretch: float
    floor: float


class _Scale:
    """Values and what brings them to mean 0 and variance 1."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.middle, self.spread = float(values.mean()), float(values.std()) or 1.0
        self.scaled: NDArray[np.float64] = (values - self.middle) / self.spread


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
        # Correlations of constants do not exist: such a prediction ranks nothing.
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
        # Not converged, or a kernel parameter at its bound: cross-validation sees what that is worth.
        warnings.simplefilter("ignore")
        regressor.fit(features, values)
    return regressor


class _BayesianRidge:
    """Linear, with the posterior's own deviation."""

    def __init__(self, seed: int) -> None:
        from sklearn.linear_model import BayesianRidge

        self._model = BayesianRidge()

    def fit(self, features: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        self._model.fit(features, values)

    def predict(self, features: NDArray[np.float64]) -> Prediction:
        return Prediction(*self._model.predict(features, return_std=True))


class _GaussianProcess:
    """Matern kernel of one length, with noise."""

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
    """The trees' disagreement is the deviation."""

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
    """Two small neural networks; their disagreement is the deviation."""

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
