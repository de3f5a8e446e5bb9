"""How each task of a plan depends on those before it."""

from collections.abc import Sequence
from dataclasses import dataclass

from offramp.workload.graph import GRAPH_INPUT, Layer, Role


@dataclass(frozen=True)
class TaskOrder:
    """How a task depends on those before it in the plan.

    Attributes:
        follows: Whether it needs, directly or through others, the result that ended the backbone or branch so far.
        reads_last: Whether it reads that result itself.
        verdict_weight: Weight of the exit before its stage.
        last: Name of that result.
    """

    follows: bool = True
    reads_last: bool = True
    verdict_weight: float = 0.0
    last: str = ""


IN_TURN = TaskOrder()
"""Each task reads the result of the one before."""


def task_orders(
    layers: Sequence[Layer], results: Sequence[str], reads: Sequence[Sequence[str]], weights: Sequence[float]
) -> list[TaskOrder]:
    """Find out how each position of a plan depends on the ones before.

    Args:
        layers: The first layer of each position.
        results: Name of the tensor that each position computes.
        reads: Names of the tensors that each position reads.
        weights: Weights of the exits.

    Returns:
        One entry per position.
    """
    needs: dict[str, frozenset[str]] = {GRAPH_INPUT: frozenset()}
    orders: list[TaskOrder] = []
    last = branch_last = GRAPH_INPUT
    was_branch = False
    for layer, result, read in zip(layers, results, reads, strict=True):
        branch = layer.role is Role.BRANCH
        if branch and not was_branch:
            branch_last = last
        anchor = branch_last if branch else last
        needs[result] = frozenset(read).union(*(needs[name] for name in read))
        follows = anchor in needs[result] or anchor == GRAPH_INPUT
        orders.append(TaskOrder(follows, anchor in read, weights[layer.stage - 1] if layer.stage else 0.0, anchor))
        if follows and branch:
            branch_last = result
        elif follows:
            last = result
        was_branch = branch
    return orders
