"""p-values for one question: is the accuracy of a policy more than epsilon below that of the full network?

A sample's loss is 1 where only the full network is right, -1 where only the policy is right, and 0 elsewhere; its mean
is the accuracy drop. A small p-value speaks against "the drop is above epsilon".
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from scipy.optimize import brentq, minimize_scalar
from scipy.stats import beta, binom

TestName = Literal["binomial", "betting"]


@dataclass(frozen=True)
class LossCounts:
    """How often a policy is worse and better than the full network; counts need not be whole.

    Attributes:
        lost: Samples that only the full network gets right.
        gained: Samples that only the policy gets right.
        num_samples: All samples.
    """

    lost: float
    gained: float
    num_samples: float

    def __post_init__(self) -> None:
        if min(self.lost, self.gained) < 0 or self.lost + self.gained > self.num_samples:
            raise ValueError(f"counts must be >= 0 and add up to the samples at most, got {self}.")

    @property
    def drop(self) -> float:
        """Share of the samples by which the policy is worse."""
        return (self.lost - self.gained) / self.num_samples


@dataclass(frozen=True)
class RiskTest:
    """A test that is chosen before the samples it is used on are looked at.

    Attributes:
        name: Which test.
        bet: The share that the betting test bets.
    """

    name: TestName
    bet: float = 0.0

    def p_value(self, counts: LossCounts, epsilon: float) -> float:
        """Give the p-value of "the drop is above epsilon".

        Args:
            counts: Losses and gains of the samples.
            epsilon: The accuracy drop that is asked about, a share.

        Returns:
            A number that is at most u with a probability of at most u, whatever u, where the expected drop is above
            epsilon.
        """
        if self.name == "binomial":
            return binomial_p_value(counts, epsilon)
        return betting_p_value(counts, epsilon, self.bet)

    def upper_bound(self, counts: LossCounts, epsilon: float, delta: float) -> float:
        """Find the smallest drop that the test still excludes.

        Args:
            counts: Losses and gains of the samples.
            epsilon: The accuracy drop that is asked about, a share.
            delta: The probability of a false promise that is allowed.

        Returns:
            The smallest epsilon, at most the given one, at which the p-value is at most delta.
        """
        if self.name == "binomial":
            lost = int(counts.lost)
            bound = (
                1.0 if lost >= counts.num_samples else float(beta.ppf(1 - delta, lost + 1, counts.num_samples - lost))
            )
            return min(bound, epsilon)
        # Below this the bet could lose more than everything, and the test would say nothing.
        lowest = max(-1.0, 1.0 - 1.0 / self.bet) + 1e-9 if self.bet > 0 else epsilon

        def excess(value: float) -> float:
            return math.log(betting_p_value(counts, value, self.bet)) - math.log(delta)

        if lowest >= epsilon or excess(epsilon) >= 0.0:
            return epsilon
        if excess(lowest) <= 0.0:
            return lowest
        return float(brentq(excess, lowest, epsilon, xtol=1e-9))


def binomial_p_value(counts: LossCounts, epsilon: float) -> float:
    """Probability of at most ``lost`` losses among the samples if each had one with probability epsilon.

    Gains are left out: the drop is never more than the share of losses, so a drop above epsilon means that losses are
    more frequent than epsilon, and their number is then binomial. Source: Angelopoulos, Bates, Candès, Jordan and Lei,
    "Learn then Test", 2021, section on exact p-values for losses of 0 and 1.

    Args:
        counts: Losses and gains of the samples.
        epsilon: The accuracy drop that is asked about, a share.

    Returns:
        The p-value.
    """
    return float(binom.cdf(int(counts.lost), int(counts.num_samples), epsilon))


def betting_p_value(counts: LossCounts, epsilon: float, bet: float) -> float:
    """One over the wealth of somebody who bets the share ``bet`` that the loss is below epsilon, sample by sample.

    Wealth is the product of 1 + bet * (epsilon - loss), which no loss makes negative for 0 <= bet <= 1 / (1 - epsilon).
    Where the expected drop is above epsilon its expectation is at most 1, so Markov's inequality makes the inverse a
    p-value. Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS-B 2023,
    with one bet that is fixed beforehand.

    Args:
        counts: Losses and gains of the samples.
        epsilon: The accuracy drop that is asked about, a share.
        bet: The share that is bet, from 0 to 1 / (1 - epsilon).

    Returns:
        The p-value.
    """
    return math.exp(-max(0.0, _log_wealth(counts, epsilon, bet)))


def best_bet(counts: LossCounts, epsilon: float) -> float:
    """Find the bet whose wealth would grow most on samples like these.

    Args:
        counts: Losses and gains of other samples than those to be tested on.
        epsilon: The accuracy drop that is asked about, a share.

    Returns:
        The share to bet, from 0 to 1 / (1 - epsilon).
    """
    found = minimize_scalar(
        lambda bet: -_log_wealth(counts, epsilon, bet), bounds=(0.0, 1.0 / (1.0 - epsilon)), method="bounded"
    )
    return float(found.x)


def fewest_samples(epsilon: float, delta: float) -> int | None:
    """Count the samples that a certificate needs: the fewest on which a policy passes that changes no answer.

    With neither losses nor gains both tests have the p-value (1 - epsilon) ** samples: the binomial one by definition,
    the betting one with its largest bet, 1 / (1 - epsilon). A policy that loses answers needs more.

    Args:
        epsilon: The accuracy drop that is asked about, a share.
        delta: The probability of a false promise that is allowed, between 0 and 1.

    Returns:
        The smallest number of samples to test on; None for an epsilon of 0, for which no number suffices.
    """
    if epsilon == 0.0:
        return None
    count = max(1, math.ceil(math.log(delta) / math.log1p(-epsilon)))
    unchanged = LossCounts(0, 0, count)
    # The logarithms may be off by a rounding error where the number is whole.
    if count > 1 and binomial_p_value(replace(unchanged, num_samples=count - 1), epsilon) <= delta:
        return count - 1
    return count if binomial_p_value(unchanged, epsilon) <= delta else count + 1


def _log_wealth(counts: LossCounts, epsilon: float, bet: float) -> float:
    unchanged = counts.num_samples - counts.lost - counts.gained
    total = 0.0
    for count, loss in ((counts.lost, 1.0), (unchanged, 0.0), (counts.gained, -1.0)):
        factor = 1.0 + bet * (epsilon - loss)
        if count > 0.0:
            total += count * math.log(factor) if factor > 0.0 else -math.inf
    return total
