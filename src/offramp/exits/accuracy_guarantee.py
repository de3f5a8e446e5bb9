"""Guarantee on the accuracy of a policy: its drop against the full network is rarely above epsilon."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from offramp.errors import ConfigError

Method = Literal["binomial", "betting", "never_exit"]

_TARGET = re.compile(r"\s*(\d*\.?\d+(?:[eE]-?\d+)?)\s*@\s*(\d*\.?\d+)\s*")


@dataclass(frozen=True)
class GuaranteeTarget:
    """A bound on the accuracy drop, and how often it may be exceeded.

    Attributes:
        epsilon: The accuracy drop that is allowed, a share from 0 to below 1.
        delta: The probability that the drop is larger, between 0 and 1.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.epsilon < 1.0 and 0.0 < self.delta < 1.0):
            raise ValueError(
                f"`epsilon` must be from 0 to below 1 and `delta` between 0 and 1, got {self.epsilon} and {self.delta}."
            )


def parse_target(text: str) -> GuaranteeTarget:
    """Read a bound on the accuracy drop.

    Args:
        text: The drop and the confidence, such as ``0.01@0.95``: at most 0.01 with a confidence of 0.95.

    Returns:
        The bound.

    Raises:
        ConfigError: If the text is something else.
    """
    match = _TARGET.fullmatch(text)
    epsilon, confidence = (float(match[1]), float(match[2])) if match else (math.nan, math.nan)
    delta = round(1.0 - confidence, 12)
    if not (0.0 <= epsilon < 1.0 and 0.0 < delta < 1.0):
        raise ConfigError(
            "A guarantee must be the accuracy that may be lost and the confidence, both as shares below 1 with '@' "
            f"between them, such as 0.01@0.95, got {text!r}."
        )
    return GuaranteeTarget(epsilon, delta)


@dataclass(frozen=True)
class Guarantee:
    """What is promised for a policy: its accuracy drop is at most ``epsilon``, except with probability ``delta``.

    Attributes:
        epsilon: The promised bound of the accuracy drop, a share.
        delta: The probability that the promise does not hold.
        method: The test that certified the policy, or ``never_exit``: no policy that leaves early could be certified,
            or there is no early exit, and nobody leaves early.
        num_calibration_samples: On how many samples the policy was tested.
        bound: The drop that the test excludes for this policy taken alone, from -1 to ``epsilon``.
        num_seen: How many of these samples the search had looked at before.
        measure: What is promised not to drop: ``accuracy``, or ``recall:NAME`` for the accuracy on a class's samples.
    """

    epsilon: float
    delta: float
    method: Method
    num_calibration_samples: int
    bound: float
    num_seen: int = 0
    measure: str = "accuracy"

    def __post_init__(self) -> None:
        GuaranteeTarget(self.epsilon, self.delta)
        if not 0 <= self.num_seen <= self.num_calibration_samples:
            raise ValueError(
                f"`num_seen` must be from 0 to `num_calibration_samples` ({self.num_calibration_samples}), "
                f"got {self.num_seen}."
            )
        if not -1.0 <= self.bound <= self.epsilon:
            raise ValueError(f"`bound` must be from -1 to `epsilon` ({self.epsilon}), got {self.bound}.")

    @property
    def leaves_early(self) -> bool:
        """Whether a policy that leaves early could be certified."""
        return self.method != "never_exit"
