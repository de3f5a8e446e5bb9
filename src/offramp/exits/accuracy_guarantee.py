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
    """The accuracy drop may be above ``epsilon`` (a share) with probability ``delta`` at most."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.epsilon < 1.0 and 0.0 < self.delta < 1.0):
            raise ValueError(
                f"`epsilon` must be from 0 to below 1 and `delta` between 0 and 1, got {self.epsilon} and {self.delta}."
            )


def parse_target(text: str) -> GuaranteeTarget:
    """``0.01@0.95``: a drop of at most 0.01 with a confidence of 0.95. Raises ConfigError."""
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
    """The accuracy drop of a policy is at most ``epsilon``, unless an event of probability ``delta`` came to pass.

    ``method`` is the test that certified the policy, or ``never_exit``: no policy that leaves early could be
    certified (or there is no early exit), and the promise is kept by never leaving early. On
    ``num_calibration_samples`` samples it was tested; ``num_seen`` of them the search had looked at before. ``bound``
    is the drop that the test excludes for this policy taken alone; the promise is ``epsilon``.
    """

    epsilon: float
    delta: float
    method: Method
    num_calibration_samples: int
    bound: float
    num_seen: int = 0

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
