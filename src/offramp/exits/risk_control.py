"""Risk control: thresholds whose accuracy drop against the full network is at most epsilon, with confidence 1 - delta.

Source: Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test: Calibrating Predictive Algorithms to Achieve Risk
Control", 2021 (fixed sequence testing); Laufer-Goldshtein, Fisch, Barzilay and Jaakkola, "Efficiently Controlling
Multiple Risks with Pareto Testing", ICLR 2023 (a sequence ordered by other data).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from offramp.errors import InputError
from offramp.exits.accuracy_guarantee import Guarantee, GuaranteeTarget, Method
from offramp.exits.calibration.class_offsets import ClassOffsets, fit_class_offsets
from offramp.exits.calibration.temperatures import calibrated, fit_temperatures
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.hypothesis_tests import LossCounts, RiskTest, best_bet, fewest_samples
from offramp.exits.score_thresholds import ALWAYS, NEVER, ThresholdGrid, score_curve, score_samples
from offramp.exits.threshold_combinations import ScoredSamples

# Policies more cautious than the first of the trade-off curve, so that one unlucky test does not end everything.
_CAUTIOUS_SHARES = tuple(step / 8 for step in range(1, 8))


def fewest_validation_samples(target: GuaranteeTarget) -> int | None:
    """Count the samples that `certified_policies` must be given, of which it tests on half.

    Args:
        target: The bound and its confidence.

    Returns:
        The smallest number with which a policy that leaves early can pass; None where no number suffices.
    """
    tested = fewest_samples(target.epsilon, target.delta)
    return None if tested is None else 2 * tested - 1


@dataclass(frozen=True)
class CertifiedPolicy:
    """A policy and what is promised for it.

    Attributes:
        policy: The policy.
        guarantee: What is promised for it.
    """

    policy: ExitPolicy
    guarantee: Guarantee


def certified_policies(
    logits: Sequence[NDArray[np.floating]],
    labels: NDArray[np.integer],
    costs: ArrayLike,
    measure: Measure,
    target: GuaranteeTarget,
    *,
    seed: int,
    calibrate: bool = False,
    by_class: bool = False,
    seen: NDArray[np.bool_] | None = None,
    grid: ThresholdGrid | None = None,
    others: Sequence[NDArray[np.floating]] = (),
) -> tuple[CertifiedPolicy, ...]:
    """Find policies that keep a bound on the accuracy drop.

    Any of them may be used: with probability 1 - delta none breaks the promise. Half of the samples, drawn by ``seed``,
    settles which policies are tested in which order and by which test. The other half tests them one after the other,
    up to the first that fails.

    Args:
        logits: Logits (samples, classes) per exit, the final one last.
        labels: Classes, (samples,).
        costs: What a sample costs that leaves at each exit, every branch on the way included.
        measure: The confidence measure.
        target: The bound and its confidence.
        seed: Seed of the division of the samples.
        calibrate: Whether temperatures are fitted, on the first half.
        by_class: Whether offsets per predicted class are fitted, on the first half.
        seen: Marks samples that had a part in choosing the network, (samples,): they go to the first half as far as it
            has room. None for none.
        grid: Which thresholds are tried; None for the default grid.
        others: Logits (samples, classes) per exit of samples that the bound is not about: exits that they use stay as
            they are. Empty for none.

    Returns:
        The policies, from the one that never leaves early to the cheapest that could be certified.

    Raises:
        InputError: If the arrays do not fit together, or are not finite.
    """
    everything = score_samples(logits, labels, costs, measure)
    labels = np.asarray(labels)
    known = np.zeros(len(labels), dtype=bool) if seen is None else np.asarray(seen, dtype=bool)
    if known.shape != labels.shape:
        raise InputError(f"`seen` must have one value per sample ({len(labels)}), got shape {known.shape}.")
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    shuffled = shuffled[np.argsort(~known[shuffled], kind="stable")]
    ordering, testing = np.split(shuffled, [len(labels) // 2])
    temperatures: tuple[float, ...] = ()
    if calibrate and len(ordering) and len(logits) > 1:
        temperatures = fit_temperatures([item[ordering] for item in logits], labels[ordering])
        logits = calibrated(logits, temperatures)
        everything = score_samples(logits, labels, costs, measure)
    offsets: ClassOffsets = ()
    if by_class and len(ordering) and len(logits) > 1:
        offsets = fit_class_offsets([item[ordering] for item in logits], labels[ordering], measure)
        everything = score_samples(logits, labels, costs, measure, class_offsets=offsets)
    promise = _Promise(target, measure, temperatures, offsets, len(testing), int(known[testing].sum()))
    found = [promise.of((NEVER,) * (len(logits) - 1), "never_exit", 0.0)]
    if not len(ordering):
        return tuple(found)
    held_back, users = _part(everything, testing), everything.scores[:, ordering]
    if len(others):
        scaled = calibrated(others, temperatures) if temperatures else others
        nobody = np.zeros(len(others[0]), dtype=np.int64)
        scored = score_samples(scaled, nobody, costs, measure, class_offsets=offsets)
        users = np.concatenate([users, scored.scores], axis=1)
    for candidate in _sequence(_part(everything, ordering), users, len(testing), target.epsilon, grid):
        counts = _observe(held_back, candidate.thresholds).counts
        if candidate.test.p_value(counts, target.epsilon) > target.delta:
            break
        bound = candidate.test.upper_bound(counts, target.epsilon, target.delta)
        found.append(promise.of(candidate.thresholds, candidate.test.name, bound))
    return tuple(found)


@dataclass(frozen=True)
class _Promise:
    """What all certified policies have in common."""

    target: GuaranteeTarget
    measure: Measure
    temperatures: tuple[float, ...]
    class_offsets: ClassOffsets
    num_testing: int
    num_seen: int

    def of(self, thresholds: tuple[float, ...], method: Method, bound: float) -> CertifiedPolicy:
        epsilon, delta = self.target.epsilon, self.target.delta
        return CertifiedPolicy(
            ExitPolicy(self.measure, thresholds, self.temperatures, self.class_offsets),
            Guarantee(epsilon, delta, method, self.num_testing, bound, self.num_seen),
        )


@dataclass(frozen=True)
class _Observed:
    """What thresholds do to samples: losses against the full network, and the mean cost."""

    counts: LossCounts
    cost: float


@dataclass(frozen=True)
class _Candidate:
    """Thresholds, the test they are to pass, and what is expected of it."""

    thresholds: tuple[float, ...]
    test: RiskTest
    expected_p_value: float
    cost: float


def _part(samples: ScoredSamples, rows: NDArray[np.intp]) -> ScoredSamples:
    return ScoredSamples(samples.scores[:, rows], samples.correct[:, rows], samples.costs)


def _observe(samples: ScoredSamples, thresholds: tuple[float, ...]) -> _Observed:
    taken = _taken(samples.scores, thresholds)
    losses = samples.correct[-1] - samples.correct[taken, np.arange(samples.num_samples)]
    counts = LossCounts(int((losses == 1).sum()), int((losses == -1).sum()), samples.num_samples)
    return _Observed(counts, float(samples.costs[taken].mean()))


def _taken(scores: NDArray[np.float64], thresholds: tuple[float, ...]) -> NDArray[np.intp]:
    """The exit at which each sample leaves, from scores (exits, samples)."""
    taken = np.full(scores.shape[1], len(thresholds), dtype=np.intp)
    for index in range(len(thresholds) - 1, -1, -1):
        taken[scores[index] >= thresholds[index]] = index
    return taken


def _sequence(
    ordering: ScoredSamples,
    users: NDArray[np.float64],
    num_testing: int,
    epsilon: float,
    grid: ThresholdGrid | None,
) -> list[_Candidate]:
    """Candidates from cautious to cheap, with their tests, settled without the samples they are tested on.

    The trade-off curve is reduced to the candidates that no cheaper one is expected to outdo in the test. Before them
    come ever more cautious forms of the first. Exits at which none of the ``users`` leaves are closed, and the last one
    that is used is open to all, so that nothing that is tested depends on a part of the network that nobody needs.
    """
    never = float(ordering.costs[-1])
    curve = [
        _candidate(ordering, _without_unused(users, point.thresholds), num_testing, epsilon)
        for point in score_curve(ordering, grid)
    ]
    curve.sort(key=lambda item: (item.expected_p_value, item.cost))
    front: list[_Candidate] = []
    for item in curve:
        if item.cost < (front[-1].cost if front else never):
            front.append(item)
    if not front:
        return []
    cautious = [
        _candidate(
            ordering,
            _without_unused(users, _more_cautious(ordering, front[0].thresholds, share)),
            num_testing,
            epsilon,
        )
        for share in _CAUTIOUS_SHARES
    ]
    return [item for item in cautious if front[0].cost < item.cost < never] + front


def _candidate(ordering: ScoredSamples, thresholds: tuple[float, ...], num_testing: int, epsilon: float) -> _Candidate:
    """The candidate with the test that promises the smaller p-value on as many samples as there are to test on."""
    observed = _observe(ordering, thresholds)
    # Half a loss and half a gain more: none seen does not mean that there are none.
    scale = num_testing / (ordering.num_samples + 1.5)
    expected = LossCounts(
        (observed.counts.lost + 0.5) * scale, (observed.counts.gained + 0.5) * scale, float(num_testing)
    )
    tests = (RiskTest("binomial"), RiskTest("betting", best_bet(expected, epsilon)))
    p_values = [test.p_value(expected, epsilon) for test in tests]
    best = int(np.argmin(p_values))
    return _Candidate(thresholds, tests[best], p_values[best], observed.cost)


def _without_unused(users: NDArray[np.float64], thresholds: tuple[float, ...]) -> tuple[float, ...]:
    counts = np.bincount(_taken(users, thresholds), minlength=len(thresholds) + 1)
    last = int(np.flatnonzero(counts)[-1])
    return tuple(
        ALWAYS if index == last else (threshold if counts[index] else NEVER)
        for index, threshold in enumerate(thresholds)
    )


def _more_cautious(ordering: ScoredSamples, thresholds: tuple[float, ...], share: float) -> tuple[float, ...]:
    """Thresholds that only this share, the surest, of the samples above each threshold reaches."""
    raised = []
    for scores, threshold in zip(ordering.scores, thresholds, strict=True):
        above = scores[scores >= threshold]
        raised.append(float(np.quantile(above, 1.0 - share)) if len(above) else NEVER)
    return tuple(raised)
