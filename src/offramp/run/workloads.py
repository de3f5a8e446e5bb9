"""The layers of a network as they are priced: with analog channels, and with the zeros that pruning makes."""

from offramp.cost.mapping.channel_split.analog_shares import plan_analog
from offramp.hardware.accelerator import Accelerator
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.weight_pruning import measured_densities, planned_densities
from offramp.workload.graph import Workload


def assigned_workload(network: EarlyExitNetwork, accelerator: Accelerator) -> Workload:
    """Lower a network and assign the analog channels that its architecture states.

    Args:
        network: The network.
        accelerator: The accelerator, which decides what its analog core can run.

    Returns:
        The layers of the network.
    """
    workload = lower(network)
    if not network.architecture.has_analog_shares:
        return workload
    return workload.with_analog_channels(plan_analog(workload, network.architecture, accelerator).channels)


def planned_workload(network: EarlyExitNetwork, accelerator: Accelerator, density: float | None) -> Workload:
    """The layers of a network that fine-tuning will prune.

    Args:
        network: The network, before pruning.
        accelerator: The accelerator that it is priced for.
        density: Share of nonzero weights after pruning, 0..1; None = it will not be pruned.

    Returns:
        The layers with the planned densities.
    """
    workload = assigned_workload(network, accelerator)
    return workload if density is None else workload.with_weight_densities(planned_densities(network, density))


def measured_workload(network: EarlyExitNetwork, accelerator: Accelerator) -> Workload:
    """The layers of a finished network.

    Args:
        network: The network, after pruning if there is any.
        accelerator: The accelerator that it is priced for.

    Returns:
        The layers, with counted densities where the accelerator gains from zeros.
    """
    workload = assigned_workload(network, accelerator)
    if not accelerator.gains_from_zero_weights:
        return workload
    return workload.with_weight_densities(measured_densities(network))
