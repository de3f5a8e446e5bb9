"""Each exit of a trained network alone: a static network with the same weights, which ends at that exit."""

from collections.abc import Sequence
from dataclasses import replace

from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.network import EarlyExitNetwork
from offramp.records.run_summary import ChosenNetwork
from offramp.run.context import Context
from offramp.run.evaluators.operating_point import measure_point
from offramp.run.finishing.matches import static_name
from offramp.run.finishing.network_record import logits_of, network_record
from offramp.run.finishing.used_exits import ChosenPoint, SettledNetwork
from offramp.run.workloads import measured_workload


def cut_at_each_exit(network: EarlyExitNetwork, max_depths: Sequence[int]) -> tuple[EarlyExitNetwork, ...]:
    """Cut a network behind each of its exits, without its other exits.

    Args:
        network: The network, with all exits that it was trained with.
        max_depths: Largest depth of each stage of the space, by which taps are numbered.

    Returns:
        One static network per exit, in their order, the final one last. They share their modules with the network, and
        answer as its exits do, unless exits reuse earlier ones. None for a network that is static itself.
    """
    if network.num_exits == 1:
        return ()
    return tuple(network.with_exits((), end, max_depths) for end in range(network.num_exits))


def measure_exits_alone(
    context: Context, trained: EarlyExitNetwork, finished: ChosenNetwork
) -> tuple[ChosenNetwork, ...]:
    """Record each exit of a trained network alone: static networks that cost no training, to compare others with.

    Args:
        context: The parts of the run.
        trained: The network after training, with all exits that it was trained with.
        finished: The record of what was made of it.

    Returns:
        The records, in the order of the exits, without those that miss a constraint, and without the finished network
        itself.
    """
    splits, found = context.dataset.splits, []
    parts = cut_at_each_exit(trained, context.space.max_depths)
    # One run per split for all of them, as long as exits do not read each other.
    every = [logits_of(context, trained, split) for split in (splits.validation, splits.test)] if parts else []
    for number, part in enumerate(parts):
        if part.architecture == finished.architecture:
            continue
        if len(trained.links):
            validation, test = (logits_of(context, part, split) for split in (splits.validation, splits.test))
        else:
            validation, test = ((logits[number],) for logits in every)
        cost = context.report_cost.estimate(measured_workload(part, context.accelerator), context.accelerator)
        policy = ExitPolicy(finished.policy.measure, ())
        point = measure_point(validation, splits.validation.labels, policy, cost, context.measures)
        if not any(point.violations(context.constraints)):
            name = static_name(part.architecture, finished.rule)
            record = network_record(context, SettledNetwork(part, cost, ChosenPoint(point)), name, test)
            found.append(replace(record, bundle=f"chosen/{name}/bundle", exit_of=finished.rule))
    return tuple(found)
