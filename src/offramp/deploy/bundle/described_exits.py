"""The exits of a network as a manifest describes them."""

from offramp.cost.report import CostReport, StageCost
from offramp.deploy.bundle.manifest_records import BundleExit, CostOrigin, ExitCost
from offramp.exits.exit_policy import ExitProfile
from offramp.exits.exit_rule import RuleNotation
from offramp.nn.network import EarlyExitNetwork


def described_exits(
    network: EarlyExitNetwork, rule: RuleNotation, cost: CostReport | None, profile: ExitProfile | None
) -> tuple[BundleExit, ...]:
    """Describe the exits of a network.

    Args:
        network: The network.
        rule: The exit rule.
        cost: Costs of the exits; None for none.
        profile: What the rule did to validation samples; None for nothing.

    Returns:
        One record per exit.
    """
    architecture = network.architecture
    taps = [*(choice.tap for choice in architecture.exits), None]
    branches = [*(choice.branch for choice in architecture.exits), architecture.classifier_branch]
    thresholds = [*rule.thresholds, None]
    result = []
    for index, (tap, branch, threshold) in enumerate(zip(taps, branches, thresholds, strict=True)):
        result.append(
            BundleExit(
                index=index,
                tap=tap,
                branch=branch,
                file=stage_file(index),
                threshold=threshold,
                temperature=rule.temperature(index),
                class_offsets=rule.class_offsets[index] if threshold is not None and rule.class_offsets else (),
                reads_logits=str(index) in network.links,
                validation_rate=None if profile is None else profile.rates[index],
                cost=None if cost is None else _exit_cost(cost.stages[index]),
            )
        )
    return tuple(result)


def cost_origin(cost: CostReport) -> CostOrigin:
    """Say who priced a network.

    Args:
        cost: Its costs.

    Returns:
        The record of a manifest.
    """
    return CostOrigin(cost.engine, cost.engine_version, cost.convention, cost.accelerator)


def stage_file(index: int) -> str:
    """Name the file of a stage graph.

    Args:
        index: Index of the stage, from 0.

    Returns:
        The name.
    """
    return f"stage_{index}.onnx"


def _exit_cost(stage: StageCost) -> ExitCost:
    return ExitCost(stage.latency_to_exit_cycles, stage.energy_to_exit_pj, stage.macs_to_exit)
