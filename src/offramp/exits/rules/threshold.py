"""A threshold per exit on the confidence of that exit alone: offramp's own policy."""

from collections.abc import Iterator

from offramp.exits.confidence_measures import MEASURES
from offramp.exits.exit_rule import STOPPING_RULES, CachedOutputs, Proposal
from offramp.exits.thresholds import ThresholdGrid, trade_off_curve


@STOPPING_RULES.register("threshold")
def threshold(outputs: CachedOutputs, grid: ThresholdGrid) -> Iterator[Proposal]:
    """The trade-off curves of all confidence measures."""
    for measure in MEASURES:
        for choice in trade_off_curve(outputs.logits, outputs.labels, outputs.costs, measure, grid):
            yield Proposal(choice.policy, choice.policy.decide(outputs.logits))
