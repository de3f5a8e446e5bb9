"""Evaluations of the static networks that end at the exits of a network, from the logits of that network."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from offramp.cost.report import CostReport
from offramp.exits.quality.quality_measures import QualityMeasures
from offramp.objectives.evaluation import Constraint, Details, Evaluation, Status
from offramp.run.evaluators.operating_point import choose_operating_point
from offramp.space.architecture import Architecture

_CAPACITY = 10_000


class StaticCandidates:
    """Evaluates static networks, each once: the logits of an exit do not depend on the other exits.

    With analog channels the converters' noise is drawn for the network as a whole: the figures are those of the exit
    inside the network that was evaluated.
    """

    def __init__(
        self, labels: NDArray[np.integer], constraints: Sequence[Constraint], measures: QualityMeasures
    ) -> None:
        """Begin without evaluations.

        Args:
            labels: The true classes of the validation samples (samples,).
            constraints: The constraints of the search.
            measures: The measures of good answers.
        """
        self._labels = labels
        self._constraints = tuple(constraints)
        self._measures = measures
        self._known: OrderedDict[Architecture, Evaluation] = OrderedDict()

    def evaluation(
        self, architecture: Architecture, logits: NDArray[np.floating], price: Callable[[], CostReport]
    ) -> Evaluation:
        """Evaluate a static network.

        Args:
            architecture: The network, without early exits.
            logits: Its answers to the validation samples (samples, classes).
            price: Returns its cost report; called only for networks that are not known yet.

        Returns:
            The evaluation; a failed one where the network cannot be priced.
        """
        known = self._known.get(architecture)
        if known is None:
            try:
                known = self._evaluated(architecture, logits, price())
            except Exception as exc:
                # A static network that cannot be priced must not end the search, which goes on with the others.
                known = failed(architecture, exc)
            self._known[architecture] = known
            if len(self._known) > _CAPACITY:
                self._known.popitem(last=False)
        return known

    def _evaluated(self, architecture: Architecture, logits: NDArray[np.floating], cost: CostReport) -> Evaluation:
        point = choose_operating_point(
            [logits], self._labels, cost, architecture.policy, self._constraints, measures=self._measures
        )
        return Evaluation(
            architecture=architecture,
            status=Status.COMPLETE,
            values=point.values(),
            violations=point.violations(self._constraints),
            details=Details(point.policy, point.profile, point.expected, cost.per_exit()),
        )


_LONGEST_REASON = 500


def failed(architecture: Architecture, exc: Exception) -> Evaluation:
    """The evaluation of a candidate that could not be judged.

    Args:
        architecture: The candidate.
        exc: The error that it caused.

    Returns:
        A failed evaluation with the error as its reason.
    """
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())[:_LONGEST_REASON]
    return Evaluation(architecture, Status.FAILED, {}, error=reason)
