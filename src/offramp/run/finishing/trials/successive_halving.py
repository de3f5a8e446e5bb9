"""Successive halving: candidates are trained for a short time, the better half for twice as long, and so on.

A supernet ranks candidates by weights that they share; training changes their order. Source: Jamieson and Talwalkar,
"Non-stochastic Best Arm Identification and Hyperparameter Optimization", 2016.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from offramp.objectives.evaluation import Evaluation, Objective, Status
from offramp.objectives.pareto import ParetoFront, pareto_front


@dataclass(frozen=True)
class HalvingRound:
    """One round.

    Attributes:
        epochs: Epochs that each candidate was trained for.
        evaluations: The candidates after this training, in the order in which they entered the round.
    """

    epochs: int
    evaluations: tuple[Evaluation, ...]


def contenders(front: ParetoFront, count: int) -> tuple[Evaluation, ...]:
    """Choose members of a front that lie evenly spread over it, both ends included.

    Args:
        front: The front.
        count: How many, >= 1.

    Returns:
        At most so many members, in the order of the front.
    """
    last = len(front) - 1
    if count > last:
        return front.evaluations
    places = [round(step * last / max(count - 1, 1)) for step in range(count)]
    return tuple(front.evaluations[place] for place in dict.fromkeys(places))


def round_epochs(num_contenders: int, num_kept: int, epochs: int) -> tuple[int, ...]:
    """Plan the rounds: the last trains for half of the epochs of fine-tuning, each one before it for half of the next.

    Args:
        num_contenders: How many candidates there are at first.
        num_kept: How many are left after the last round.
        epochs: Epochs of fine-tuning.

    Returns:
        The epochs of each round, at least 1; empty where there is nothing to halve.
    """
    rounds, left = 0, num_contenders
    while left > num_kept:
        left = max(num_kept, -(-left // 2))
        rounds += 1
    return tuple(max(1, epochs >> (rounds - index)) for index in range(rounds))


def successive_halving(
    candidates: Sequence[Evaluation],
    objectives: Sequence[Objective],
    train: Callable[[Evaluation, int], Evaluation],
    *,
    num_kept: int,
    epochs: int,
) -> tuple[HalvingRound, ...]:
    """Train candidates for ever longer, and keep the better half each time.

    Better are those on the Pareto front of the values after training, then those on the front of the others, and so on.
    Of a front that has too many, those that lie evenly spread over it are kept.

    Args:
        candidates: The candidates, with the values of the search.
        objectives: The objectives of the search.
        train: Trains a candidate, as the search found it, for a number of epochs; returns its evaluation afterwards.
        num_kept: How many candidates are left at the end.
        epochs: Epochs of fine-tuning, see `round_epochs`.

    Returns:
        The rounds; the candidates of the last one have been trained longest.
    """
    rounds: list[HalvingRound] = []
    left = list(candidates)
    for length in round_epochs(len(candidates), num_kept, epochs):
        trained = {item.architecture: train(item, length) for item in left}
        rounds.append(HalvingRound(length, tuple(trained.values())))
        wanted = max(num_kept, -(-len(left) // 2))
        kept = {item.architecture for item in _best(tuple(trained.values()), objectives, wanted)}
        left = [item for item in left if item.architecture in kept]
    return tuple(rounds)


def survivors(rounds: Sequence[HalvingRound], objectives: Sequence[Objective], num_kept: int) -> tuple[Evaluation, ...]:
    """The candidates that are left after the last round.

    Args:
        rounds: The rounds.
        objectives: The objectives of the search.
        num_kept: How many are left.

    Returns:
        Their evaluations after the training of that round.
    """
    return _best(rounds[-1].evaluations, objectives, num_kept) if rounds else ()


def _best(evaluations: Sequence[Evaluation], objectives: Sequence[Objective], count: int) -> tuple[Evaluation, ...]:
    chosen: list[Evaluation] = []
    rest = [item for item in evaluations if item.status is Status.COMPLETE]
    while rest and len(chosen) < count:
        front = pareto_front(rest, objectives)
        # Where none keeps the constraints, the least violating ones are better.
        members = contenders(front, count - len(chosen)) or tuple(
            sorted(rest, key=lambda item: sum(item.violations))[: count - len(chosen)]
        )
        chosen += members
        taken = {item.architecture for item in (*front.evaluations, *members)}
        rest = [item for item in rest if item.architecture not in taken]
    return tuple(chosen)
