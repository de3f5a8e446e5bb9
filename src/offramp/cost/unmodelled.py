"""What the figures of a mapping leave out, as sentences that come with every result."""

from collections.abc import Sequence

from offramp.cost.mapping.optimized.core_groups import without_private_dram
from offramp.cost.report import Convention, LayerReport, StageCost
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.workload.layer import Op

ON_THE_CORE = "The accelerator has no off-chip core: weights and input are taken to be on the core."
"""What is assumed of an accelerator without an off-chip memory."""

OPTIMIZED = "--mapping optimized, the default,"
"""How a user gets the mapping that leaves less out."""

NEVER_COUNTED = "Leakage, the host and the comparison with the threshold cost nothing here."


def unmodelled_layer_by_layer(
    accelerator: Accelerator, convention: Convention, stages: Sequence[StageCost], layers: Sequence[LayerReport]
) -> tuple[str, ...]:
    """Name what the reference's schedule leaves out: a shared DRAM, waits between stages, idle cores.

    Args:
        accelerator: What the network runs on.
        convention: What is charged.
        stages: Costs of the stages.
        layers: Reports of the layers.

    Returns:
        One sentence each, for the user.
    """
    compute = accelerator.cores_of(CoreKind.COMPUTE)
    offchip = next(iter(accelerator.cores_of(CoreKind.OFFCHIP)), None)
    found = []
    if convention == "published":
        found.append("Every pooling layer is charged once per channel too often, as in the published figures.")
    if offchip is not None and any(without_private_dram(core, offchip) != core for core in compute):
        found.append(
            "Every compute core has a DRAM of its own beside the off-chip one, as in the reference: every layer reads "
            "its input there and writes its result there. A chip has one DRAM, which all cores share."
        )
    timed = [layer for layer in layers if layer.op != Op.ACTIVATION.value]
    first = min((layer.start_cycle for layer in timed), default=0.0)
    between = max((layer.end_cycle for layer in timed), default=0.0) - first - stages[-1].latency_to_exit_cycles
    waits = [f"{first:,.0f} cycles before the first layer starts (its weights, the input)"] if first > 0 else []
    waits += [f"{between:,.0f} cycles between stages"] if between > 0 else []
    if waits:
        found.append(f"No stage is charged for {' and '.join(waits)}.")
    if len(compute) > 1:
        found.append(f"One compute core works, the other {len(compute) - 1} idle.")
    if offchip is not None:
        instead = "Without --convention published, the default mapping" if convention == "published" else OPTIMIZED
        found.append(f"{instead} charges all waits, has one shared DRAM and uses every core.")
    return (*found, NEVER_COUNTED)
