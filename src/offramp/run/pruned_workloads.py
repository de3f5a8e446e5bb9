"""Workloads of networks that are to be pruned, and of those that were."""

from offramp.hardware.accelerator import Accelerator
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.weight_pruning import measured_densities, planned_densities
from offramp.run.analog_networks import assigned_workload
from offramp.workload.graph import Workload


def planned_workload(network: EarlyExitNetwork, accelerator: Accelerator, density: float | None) -> Workload:
    """The layers of a network that fine-tuning will prune to ``density``; None = it will not."""
    workload = assigned_workload(network, accelerator)
    return workload if density is None else workload.with_weight_densities(planned_densities(network, density))


def measured_workload(network: EarlyExitNetwork, accelerator: Accelerator) -> Workload:
    """The layers of a finished network, with its zeros counted where the accelerator gains from them."""
    workload = assigned_workload(network, accelerator)
    if not accelerator.gains_from_zero_weights:
        return workload
    return workload.with_weight_densities(measured_densities(network))
