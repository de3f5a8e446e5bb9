"""Removal of exits that no validation sample uses, and of all that lies behind an exit that everybody takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from offramp.cost.report import CostReport
from offramp.errors import RunError
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.exits.calibration.class_offsets import LARGEST_OFFSET
from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.network import EarlyExitNetwork
from offramp.records.run_summary import ChosenNetwork
from offramp.run.evaluators.operating_point import OperatingPoint
from offramp.space.architecture import Architecture, ExitChoice

Logits = Sequence[NDArray[np.floating]]
_COSTS = (("energy_to_exit_pj", "energy_pj"), ("latency_to_exit_cycles", "latency_cycles"))
"""Costs of a static network, and the expected ones that they are compared with."""


@dataclass(frozen=True)
class ChosenPoint:
    """An operating point on validation samples, and its accuracy guarantee if the settings ask for one.

    Attributes:
        point: The operating point.
        guarantee: What is promised for it; None = nothing.
    """

    point: OperatingPoint
    guarantee: Guarantee | None = None


@dataclass(frozen=True)
class UsedExits:
    """The exits of a network that samples use.

    Attributes:
        early: Numbers of the early exits, from 0.
        end: Number of the last exit, which answers all samples that reach it.
    """

    early: tuple[int, ...]
    end: int

    @property
    def all(self) -> tuple[int, ...]:
        """Numbers of all exits that are used."""
        return (*self.early, self.end)


def used_by_samples(rates: Sequence[float]) -> UsedExits:
    """Find the exits at which samples left.

    Args:
        rates: The share of the samples that left at each exit.

    Returns:
        The exits; behind the last one is nobody.
    """
    *early, end = (index for index, rate in enumerate(rates) if rate > 0.0)
    return UsedExits(tuple(early), end)


def used_by_any(policy: ExitPolicy) -> UsedExits:
    """Find the exits at which a sample could leave, whatever the sample.

    Args:
        policy: The exit policy.

    Returns:
        The exits whose thresholds can be reached, up to the first whose threshold everybody reaches.
    """
    offset = LARGEST_OFFSET if policy.class_offsets else 0.0
    reachable = [index for index, threshold in enumerate(policy.thresholds) if threshold <= 1.0 + offset]
    always = [index for index in reachable if policy.thresholds[index] <= -offset]
    end = always[0] if always else len(policy.thresholds)
    return UsedExits(tuple(index for index in reachable if index < end), end)


@dataclass(frozen=True)
class SettledNetwork:
    """A network with fixed thresholds, all of whose exits are used.

    Attributes:
        network: The network.
        cost: Its costs to each exit.
        chosen: Its thresholds, with their figures on validation samples.
    """

    network: EarlyExitNetwork
    cost: CostReport
    chosen: ChosenPoint


def settle(
    network: EarlyExitNetwork,
    *,
    answers: Callable[[EarlyExitNetwork], Logits],
    price: Callable[[EarlyExitNetwork], CostReport],
    choose: Callable[[Logits, CostReport], ChosenPoint],
    measure: Callable[[Logits, CostReport, ExitPolicy], OperatingPoint],
    max_depths: Sequence[int] = (),
) -> SettledNetwork:
    """Choose thresholds, and remove what no validation sample uses, until every exit is used.

    Without a guarantee, thresholds are chosen anew for the smaller network, which costs less. A guarantee holds for the
    policy that was tested: then only exits at which no sample could ever leave are removed, and the network behind an
    exit that every sample takes, so that every answer is the one that was tested. Exits that reuse the exit before keep
    it under a guarantee, since they would answer otherwise without it.

    Args:
        network: The network.
        answers: Runs a network on the validation samples: one array (samples, classes) per exit, the final one last.
        price: Prices a network with some of the exits.
        choose: Chooses thresholds for logits and costs.
        measure: Measures thresholds on logits.
        max_depths: Largest depth of each stage of the space, by which taps are numbered.

    Returns:
        The network with its thresholds.
    """
    while True:
        cost, logits = price(network), answers(network)
        chosen = choose(logits, cost)
        policy, tested = chosen.point.policy, chosen.guarantee is not None
        used = used_by_any(policy) if tested else used_by_samples(chosen.point.profile.rates)
        if tested and len(network.links):
            used = UsedExits(tuple(range(used.end)), used.end)
        if len(used.all) == network.num_exits:
            return SettledNetwork(network, cost, chosen)
        network = network.with_exits(used.early, used.end, max_depths)
        if tested:
            cost = price(network)
            point = measure(answers(network), cost, _with_exits(policy, used))
            return SettledNetwork(network, cost, replace(chosen, point=point))


def end_at_dominating_exit(
    settled: SettledNetwork,
    *,
    answers: Callable[[EarlyExitNetwork], Logits],
    price: Callable[[EarlyExitNetwork], CostReport],
    choose: Callable[[Logits, CostReport], ChosenPoint],
    quality: str = "accuracy",
    max_depths: Sequence[int] = (),
) -> SettledNetwork:
    """Replace a network by one of its own exits, alone, that answers at least as well and costs no more.

    The samples that such an exit passes on cost more and gain nothing. A network with a guarantee stays as it is, since
    other answers than those of the exit alone were tested.

    Args:
        settled: The network with its thresholds.
        answers: Runs a network on the validation samples: one array (samples, classes) per exit, the final one last.
        price: Prices a network with some of the exits.
        choose: Measures a network of one exit from its logits and costs.
        quality: The measure of good answers.
        max_depths: Largest depth of each stage of the space, by which taps are numbered.

    Returns:
        The cheapest such static network by the energy-delay product, or the network as it is.
    """
    network, values = settled.network, settled.chosen.point.values()
    if settled.chosen.guarantee is not None or network.num_exits == 1:
        return settled
    found = []
    for end in range(network.num_exits):
        part = network.with_exits((), end, max_depths)
        cost = price(part)
        if any(getattr(cost.stages[0], name) > values[metric] for name, metric in _COSTS):
            continue
        chosen = choose(answers(part), cost)
        if chosen.point.values()[quality] >= values[quality]:
            found.append(SettledNetwork(part, cost, chosen))
    return min(found, key=lambda item: item.chosen.point.expected.energy_delay_product_j_cycles, default=settled)


def _with_exits(policy: ExitPolicy, used: UsedExits) -> ExitPolicy:
    temperatures = tuple(policy.temperatures[index] for index in used.all) if policy.temperatures else ()
    offsets = tuple(policy.class_offsets[index] for index in used.early) if policy.class_offsets else ()
    return ExitPolicy(policy.measure, tuple(policy.thresholds[index] for index in used.early), temperatures, offsets)


def as_finished(record: ChosenNetwork, network: EarlyExitNetwork, max_depths: Sequence[int]) -> EarlyExitNetwork:
    """Remove from a candidate what was removed when it was finished.

    Args:
        record: The record of the finished network.
        network: The candidate.
        max_depths: Largest depth of each stage of the space, by which taps are numbered.

    Returns:
        The finished network, which shares its modules with the candidate.

    Raises:
        RunError: The record is of another candidate, or keeps exits that the candidate does not have.
    """
    if record.candidate != network.architecture:
        raise RunError(
            f"The record of network {record.rule!r} must be of the candidate that the search found, but it is of "
            "another. Remove its folder and go on with --resume."
        )
    head, candidate = record.architecture.head, network.architecture
    taps = [choice.tap for choice in candidate.exits]
    kept = [taps.index(choice.tap) for choice in record.architecture.exits if choice.tap in taps]
    end = None if head is None or head.tap not in taps else taps.index(head.tap)
    if head is None or end is not None or (candidate.head is not None and candidate.head.tap == head.tap):
        finished = network.with_exits(kept, end, max_depths)
        if finished.architecture == record.architecture:
            return finished
    raise RunError(
        f"The record of network {record.rule!r} keeps exits that the candidate does not have. Remove its folder and go "
        "on with --resume."
    )


def dropped_exits(found: Architecture, left: Architecture) -> tuple[ExitChoice, ...]:
    """List the exits of a candidate that are gone; one that became the head is not.

    Args:
        found: The candidate.
        left: What is left of it.

    Returns:
        The exits, in the order of their taps.
    """
    kept = {choice.tap for choice in left.exits} | (set() if left.head is None else {left.head.tap})
    return tuple(choice for choice in found.exits if choice.tap not in kept)
