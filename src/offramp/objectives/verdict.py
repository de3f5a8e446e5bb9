"""Whether early exits pay: an early-exit network against a static network, sample by sample."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offramp.cost.report import CostReport
from offramp.exits.quality.sample_outcomes import SampleOutcomes
from offramp.numerics.paired_bootstrap import Estimate, paired_bootstrap
from offramp.settings.fine_tune_config import ACCURACY_MARGIN

Answer = Literal["pay", "do not pay", "undecided"]
GainMetric = Literal["energy_pj", "latency_cycles", "energy_delay_product_j_cycles"]
ENERGY: GainMetric = "energy_pj"
LATENCY: GainMetric = "latency_cycles"
PRODUCT: GainMetric = "energy_delay_product_j_cycles"
GAIN_METRICS: tuple[GainMetric, ...] = (ENERGY, LATENCY, PRODUCT)
"""What gains are stated for, in the order in which they are shown."""


@dataclass(frozen=True)
class Gain:
    """How much less of something the early-exit network takes than its match.

    Attributes:
        metric: What it takes less of.
        ratio: Mean cost of the match over mean cost of the early-exit network, with its interval of 95 %; above 1, the
            early-exit network is cheaper.
    """

    metric: GainMetric
    ratio: Estimate

    def __post_init__(self) -> None:
        if not self.ratio.low > 0.0:
            raise ValueError(f"a gain must be above 0, got {self.ratio}.")


@dataclass(frozen=True)
class Verdict:
    """Whether early exits pay, from comparisons with static networks on the same test samples.

    The *match* is the cheapest static network that is as accurate on validation; the *match at cost* is the most
    accurate one that costs no more. "Certainly" means: by the interval of 95 %. The rule, of which the first line that
    applies counts:

    - **pay**: against the match, the product of energy and latency is certainly lower (its gain's interval lies above
      1) and neither energy nor latency is certainly higher; and the accuracy is certainly higher than that of the match
      at cost, or certainly not more than the margin lower than that of the match, where the match at cost is measured
      more than the margin below.
    - **do not pay**: against the match, the product is certainly not lower (its gain's interval does not reach above
      1), and the accuracy is not certainly higher; or the accuracy is certainly not more than the margin above that of
      the match at cost.
    - **undecided**: everything else.

    Without a match at cost, no static network costs so little, and its conditions are left out.

    Attributes:
        answer: The verdict.
        accuracy_difference: Accuracy of the early-exit network minus that of its match, with its interval.
        gains: One per metric of `GAIN_METRICS`, in that order.
        num_samples: Number of test samples.
        margin: Accuracy that may be lost, a share.
        difference_at_cost: Accuracy of the early-exit network minus that of its match at cost; None = not measured.
    """

    answer: Answer
    accuracy_difference: Estimate
    gains: tuple[Gain, ...]
    num_samples: int
    margin: float = ACCURACY_MARGIN
    difference_at_cost: Estimate | None = None

    def __post_init__(self) -> None:
        if tuple(gain.metric for gain in self.gains) != GAIN_METRICS:
            raise ValueError(f"`gains` must be of {', '.join(GAIN_METRICS)}, got {[g.metric for g in self.gains]}.")
        if not (0.0 <= self.margin < 1.0 and self.num_samples > 0):
            raise ValueError(
                f"`margin` must be from 0 to below 1 and `num_samples` above 0, got {self.margin} and "
                f"{self.num_samples}."
            )
        expected = answer_of(self.accuracy_difference, self.gains, self.margin, self.difference_at_cost)
        if self.answer != expected:
            raise ValueError(f"`answer` must be {expected!r} by these intervals, got {self.answer!r}.")

    def gain(self, metric: GainMetric) -> Estimate:
        """The gain in one metric.

        Args:
            metric: The metric.

        Returns:
            Its ratio with the interval.
        """
        return self.gains[GAIN_METRICS.index(metric)].ratio

    @property
    def costs_no_less(self) -> bool:
        """Whether the product is certainly not lower than that of the match, at an accuracy not certainly higher."""
        return _costs_no_less(self.accuracy_difference, self.gain(PRODUCT))

    @property
    def samples_to_decide(self) -> int | None:
        """About how many test samples would decide, if they showed the same; None where their number is not missing.

        The width of an interval falls with the square root of the number of samples.
        """
        if self.answer != "undecided":
            return None
        ratios: list[float] = []
        cheaper, own, second = _is_cheaper(self.gains), self.accuracy_difference, self.difference_at_cost
        if second is not None and second.value > 0.0 and cheaper:
            ratios.append((second.value - second.low) / second.value)
        if second is not None and second.value < self.margin:
            ratios.append((second.high - second.value) / (self.margin - second.value))
        if cheaper and own.value > -self.margin and (second is None or second.value > self.margin):
            ratios.append((own.value - own.low) / (own.value + self.margin))
        return int(np.ceil(self.num_samples * min(ratios) ** 2)) if ratios else None


def answer_of(
    accuracy_difference: Estimate,
    gains: tuple[Gain, ...],
    margin: float = ACCURACY_MARGIN,
    difference_at_cost: Estimate | None = None,
) -> Answer:
    """Apply the rule that `Verdict` states.

    Args:
        accuracy_difference: Accuracy of the early-exit network minus that of its match.
        gains: One per metric of `GAIN_METRICS`, in that order.
        margin: Accuracy that may be lost, a share.
        difference_at_cost: Accuracy of the early-exit network minus that of its match at cost; None = not measured.

    Returns:
        The verdict.
    """
    second = difference_at_cost
    if _is_cheaper(gains):
        if second is not None and second.low > 0.0:
            return "pay"
        if accuracy_difference.low >= -margin and (second is None or second.value > margin):
            return "pay"
    if _costs_no_less(accuracy_difference, gains[-1].ratio) or (second is not None and second.high <= margin):
        return "do not pay"
    return "undecided"


def _is_cheaper(gains: tuple[Gain, ...]) -> bool:
    """Whether the product is certainly lower, and neither energy nor latency certainly higher."""
    energy, latency, product = (gain.ratio for gain in gains)
    return product.low > 1.0 and energy.high >= 1.0 and latency.high >= 1.0


def _costs_no_less(accuracy_difference: Estimate, product: Estimate) -> bool:
    return product.high <= 1.0 and accuracy_difference.low <= 0.0


@dataclass(frozen=True)
class ComparedNetwork:
    """A network and what it did to the test samples.

    Attributes:
        outcomes: What it did to each sample.
        cost: Its cost, one stage per exit.
    """

    outcomes: SampleOutcomes
    cost: CostReport

    def __post_init__(self) -> None:
        if self.outcomes.num_exits != len(self.cost.stages):
            raise ValueError(
                f"outcomes and cost must have the same exits, got {self.outcomes.num_exits} and "
                f"{len(self.cost.stages)}."
            )


def compare(
    network: ComparedNetwork,
    match: ComparedNetwork,
    match_at_cost: ComparedNetwork | None = None,
    *,
    seed: int = 0,
    margin: float = ACCURACY_MARGIN,
) -> Verdict:
    """Compare an early-exit network with its matches on the same test samples, with paired bootstraps.

    Args:
        network: The early-exit network.
        match: The cheapest static network that is as accurate on validation.
        match_at_cost: The most accurate static network that costs no more; None = not measured.
        seed: Seed of the resamples.
        margin: Accuracy that the early-exit network may lose, a share.

    Returns:
        Accuracy difference, gains and verdict.

    Raises:
        ValueError: If the networks were tested on different numbers of samples.
    """
    samples = network.outcomes.num_samples
    for other in (match, match_at_cost):
        if other is not None and other.outcomes.num_samples != samples:
            raise ValueError(
                f"networks must be tested on the same samples, got {samples} and {other.outcomes.num_samples}."
            )
    at_cost = None
    if match_at_cost is not None:
        at_cost = _accuracy_difference(network.outcomes, match_at_cost.outcomes, seed)
    difference = _accuracy_difference(network.outcomes, match.outcomes, seed)
    gains = tuple(Gain(metric, _cost_ratio(network, match, metric, seed)) for metric in GAIN_METRICS)
    return Verdict(answer_of(difference, gains, margin, at_cost), difference, gains, samples, margin, at_cost)


def _accuracy_difference(network: SampleOutcomes, match: SampleOutcomes, seed: int) -> Estimate:
    cells = 2 * network.is_correct.astype(np.intp) + match.is_correct
    differences = np.array([0.0, -1.0, 1.0, 0.0])
    return paired_bootstrap(np.bincount(cells, minlength=4), lambda shares: shares @ differences, seed=seed)


def _cost_ratio(network: ComparedNetwork, match: ComparedNetwork, metric: GainMetric, seed: int) -> Estimate:
    own, other = _costs(network.cost, metric), _costs(match.cost, metric)
    cells = network.outcomes.exit_indices.astype(np.intp) * len(other) + match.outcomes.exit_indices
    of_network, of_match = np.repeat(own, len(other)), np.tile(other, len(own))
    counts = np.bincount(cells, minlength=len(of_network))
    return paired_bootstrap(counts, lambda shares: (shares @ of_match) / (shares @ of_network), seed=seed)


def _costs(cost: CostReport, metric: GainMetric) -> NDArray[np.float64]:
    """What a sample costs that leaves at each exit."""
    figures = {
        ENERGY: [stage.energy_to_exit_pj for stage in cost.stages],
        LATENCY: [stage.latency_to_exit_cycles for stage in cost.stages],
        PRODUCT: [stage.product_to_exit_j_cycles for stage in cost.stages],
    }
    return np.array(figures[metric])
