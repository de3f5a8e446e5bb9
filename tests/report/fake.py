"""A made-up run that looks like a real one: digits, 12 to 16 layers on four cores, 60 networks tried."""

import base64
import io
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from PIL import Image

from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import CostReport, LayerReport, MemoryEnergy, StageCost
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.exits.quality.sample_outcomes import SampleOutcomes, sample_outcomes
from offramp.objectives.evaluation import Constraint, Details, Evaluation, Objective, Status
from offramp.records.report_items import EnvironmentItem, SampleDecision, TrainingCurve
from offramp.records.run_summary import ChosenNetwork, DataSummary, RunSummary, StaticReference, with_verdict
from offramp.records.static_match import StaticMatch
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, StageChoice
from offramp.workload.graph import Role

CORES = ("core0", "core1", "core2", "core3", "pooling", "simd")
MAX_DEPTHS = (3, 4, 3)
SETTINGS = """version: 1
data: digits
backbone:
  family: mobilenet_v2
  resolutions: [8]
accelerator: edge-tpu-quad
search:
  algorithm: nsga2
  population: 20
  budget: 60
seed: 0
"""


def architecture(
    depths: tuple[int, ...] = (2, 3, 2),
    widths: tuple[int, ...] = (16, 24, 40),
    taps: tuple[int, ...] = (1, 4),
    backbone: str = "mobilenet_v2",
    branch: str = "pool_linear",
) -> Architecture:
    stages = tuple(
        StageChoice(depth, width, tuple(3 + 2 * (j % 2) for j in range(depth)), (4,) * depth)
        for depth, width in zip(depths, widths, strict=True)
    )
    exits = tuple(ExitChoice(tap, branch) for tap in taps)
    return Architecture(backbone, 8, stages, exits, policy=PolicyChoice("max_probability", 0.005))


def cost_report(net: Architecture, scale: float = 1.0, prefix: str = "") -> CostReport:
    """Layers one after the other, two per block, branches beside the next block; energies in plausible proportions."""
    num_exits = len(net.exits) + 1
    blocks = [stage.width for stage in net.stages for _ in range(stage.depth)]
    cuts = [round((i + 1) * len(blocks) / num_exits) for i in range(num_exits)]
    layers: list[LayerReport] = []
    clock = 542.0
    stages: list[StageCost] = []
    latency = energy = 0.0
    macs = 0
    for exit_index in range(num_exits):
        first = 0 if exit_index == 0 else cuts[exit_index - 1]
        start, start_energy = clock, energy
        for number in range(first, cuts[exit_index]):
            for kind in ("depthwise", "pointwise"):
                size = scale * blocks[number] * (9 if kind == "depthwise" else 16)
                core = CORES[(number * 2 + (kind == "pointwise")) % 4]
                name = f"{prefix}blocks.{number}.{kind}"
                layers.append(_layer(name, core, exit_index, Role.BACKBONE, clock, size))
                clock = layers[-1].end_cycle
        backbone_end = clock
        for kind, core in (("pool", "pooling"), ("linear", "core1")):
            size = scale * blocks[cuts[exit_index] - 1] * 4
            layers.append(_layer(f"{prefix}exits.{exit_index}.{kind}", core, exit_index, Role.BRANCH, clock, size))
            clock = layers[-1].end_cycle
        mine = [layer for layer in layers if layer.stage == exit_index]
        energy += sum(layer.energy_pj for layer in mine)
        macs += sum(layer.macs for layer in mine)
        latency += clock - start
        stages.append(
            StageCost(
                exit=f"{prefix}exit_{exit_index}",
                backbone_latency_cycles=backbone_end - start,
                gap_cycles=0.0,
                branch_latency_cycles=clock - backbone_end,
                stage_latency_cycles=clock - start,
                stage_energy_pj=energy - start_energy,
                latency_to_exit_cycles=latency,
                energy_to_exit_pj=energy,
                macs_to_exit=macs,
            )
        )
    return CostReport("edge-tpu-quad", "native", "1.0.0", "offramp", tuple(stages), tuple(layers))


def _layer(name: str, core: str, stage: int, role: Role, start: float, size: float) -> LayerReport:
    memories = (
        MemoryEnergy("rf_W", "I2", size * 60),
        MemoryEnergy("rf_O", "O", size * 45),
        MemoryEnergy("sram", "I1", size * 260),
        MemoryEnergy("sram", "O", size * 190),
        MemoryEnergy("dram", "I2", size * 2100),
    )
    inside = sum(item.energy_pj for item in memories) + size * 40
    return LayerReport(
        name=name,
        op="conv" if "wise" in name else "dense",
        core=core,
        stage=stage,
        role=role,
        start_cycle=start,
        end_cycle=start + size * 9,
        macs=int(size * 1000),
        compute_energy_pj=inside,
        transfer_energy_pj=size * 700,
        utilization=0.4,
        memory_energy=memories,
    )


def exit_profile(num_exits: int, top1: float, num_samples: int, early: float = 0.6) -> ExitProfile:
    rates: list[float] = []
    rest = 1.0
    for _ in range(num_exits - 1):
        rates.append(rest * early)
        rest -= rates[-1]
    rates.append(1.0 - sum(rates))
    accuracies = tuple(min(1.0, top1 + 0.012 - 0.02 * i) for i in range(num_exits))
    full = tuple(top1 - 0.03 * (num_exits - 1 - i) for i in range(num_exits))
    return ExitProfile(tuple(rates), accuracies, full, top1, num_samples)


def evaluation(net: Architecture, accuracy: float, early: float, scale: float = 1.0) -> Evaluation:
    cost = cost_report(net, scale)
    profile = exit_profile(len(net.exits) + 1, accuracy, 270, early)
    expected = expected_cost(cost, profile.rates)
    policy = ExitPolicy("max_probability", (0.83,) * len(net.exits))
    return Evaluation(
        net, Status.COMPLETE, values_of(accuracy, expected), details=Details(policy, profile, expected, cost)
    )


def values_of(accuracy: float, expected: ExpectedCost) -> dict[str, float]:
    return {
        "accuracy": accuracy,
        "latency_cycles": expected.latency_cycles,
        "energy_pj": expected.energy_pj,
        "macs": expected.macs,
        "energy_delay_product_j_cycles": expected.energy_delay_product_j_cycles,
    }


def evaluations(count: int, rng: np.random.Generator) -> tuple[Evaluation, ...]:
    """Random networks whose accuracy saturates with their cost; the first one failed, the second broke a constraint."""
    result: list[Evaluation] = []
    for index in range(count):
        depths = tuple(int(rng.integers(1, high + 1)) for high in MAX_DEPTHS)
        widths = tuple(int(w) for w in (rng.choice([12, 16]), rng.choice([24, 32]), rng.choice([40, 64])))
        taps = tuple(sorted(int(t) for t in rng.choice(9, size=int(rng.integers(0, 4)), replace=False)))
        net = architecture(depths, widths, taps)
        early = float(rng.uniform(0.3, 0.85))
        size = sum(d * w for d, w in zip(depths, widths, strict=True)) * (1 - 0.4 * early * bool(taps))
        accuracy = float(np.clip(0.985 - 2.2 / size - rng.exponential(0.02), 0.4, 0.995))
        item = evaluation(net, accuracy, early)
        if index == 0:
            item = Evaluation(net, Status.FAILED, {}, error="out of memory")
        if index == 1:
            item = replace(item, violations=(0.1,))
        result.append(item)
    return tuple(result)


def front_of(items: tuple[Evaluation, ...], *, static: bool = False) -> tuple[int, ...]:
    """Indices of those of a kind that no other one of it beats in accuracy and energy-delay product."""
    key = "energy_delay_product_j_cycles"
    usable = [i for i, item in enumerate(items) if item.feasible and item.architecture.is_static is static]
    return tuple(
        i
        for i in usable
        if not any(
            items[j].values[key] <= items[i].values[key]
            and items[j].values["accuracy"] >= items[i].values["accuracy"]
            and j != i
            for j in usable
        )
    )


def static_reference(name: str, net: Architecture, validation: float, test: float | None) -> StaticReference:
    alone = net.without_exits()
    return StaticReference(name, alone, validation, test, cost_report(alone))


def outcomes_of(profile: ExitProfile) -> SampleOutcomes:
    """Samples that leave and are right as often as the profile says, to whole samples."""
    counts = [round(rate * profile.num_samples) for rate in profile.rates]
    counts[-1] = profile.num_samples - sum(counts[:-1])
    exits = np.repeat(np.arange(len(counts)), counts)
    right = np.arange(profile.num_samples) % 1000 < round(profile.top1 * profile.num_samples)
    return sample_outcomes(np.random.default_rng(0).permutation(right), exits, len(counts))


def static_match(
    name: str, net: Architecture, accuracy: float, *, trained: bool = True, scale: float = 1.0
) -> StaticMatch:
    """A match with the final classifier of the backbone, and ``accuracy`` on 360 test samples."""
    alone = net.without_exits()
    profile = ExitProfile((1.0,), (accuracy,), (accuracy,), accuracy, 360)
    return StaticMatch(
        name=name,
        architecture=alone,
        accuracy_validation=accuracy,
        accuracy_test=accuracy if trained else None,
        cost=cost_report(alone, scale),
        trained=trained,
        as_accurate=True,
        no_dearer=False,
        outcomes=outcomes_of(profile) if trained else None,
    )


def chosen(
    rule: str, item: Evaluation, *, tested: bool = True, gain: float = 0.012, match_scale: float = 2.0
) -> ChosenNetwork:
    """The candidate after a made-up fine-tuning that adds ``gain`` to its accuracy, with a match of as many layers."""
    assert item.details is not None
    top1 = min(0.995, item.values["accuracy"] + gain)
    rates = item.details.profile.rates
    num_exits = len(rates)
    validation = replace(exit_profile(num_exits, top1, 270), rates=rates)
    shifted = replace(exit_profile(num_exits, top1 - 0.006, 360, 0.58))
    network = ChosenNetwork(
        rule=rule,
        architecture=item.architecture,
        policy=item.details.policy,
        validation=validation,
        test=shifted if tested else None,
        cost=item.details.cost,
        expected_validation=expected_cost(item.details.cost, rates),
        expected_test=expected_cost(item.details.cost, shifted.rates) if tested else None,
        static=static_reference(f"own backbone of {rule}", item.architecture, top1 + 0.002, 0.97 if tested else None),
        bundle=f"runs/digits/networks/{rule}",
        searched=item,
        outcomes=outcomes_of(shifted) if tested else None,
        match=static_match(f"match of {rule}", item.architecture, top1, trained=tested, scale=match_scale),
    )
    return with_verdict(network)


def training_curve(name: str, epochs: int, num_exits: int, rng: np.random.Generator) -> TrainingCurve:
    steps = np.arange(1, epochs + 1)
    loss = 2.3 * np.exp(-steps / (epochs / 4)) + 0.12 + rng.normal(0, 0.02, epochs)
    accuracies = tuple(
        tuple(float(v) for v in np.clip(0.97 - 0.03 * (num_exits - 1 - e) - 0.7 * np.exp(-steps / (epochs / 6)), 0, 1))
        for e in range(num_exits)
    )
    return TrainingCurve(name, tuple(int(s) for s in steps), tuple(float(v) for v in loss), accuracies)


def png(rng: np.random.Generator, size: int = 8) -> str:
    pixels = rng.integers(0, 256, (size, size), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def fake_summary(count: int = 60, seed: int = 0, *, tested: bool = True, trained: bool = True) -> RunSummary:
    """A complete run; ``tested`` and ``trained`` leave out what a run may lack."""
    rng = np.random.default_rng(seed)
    tried = evaluations(count, rng)
    front = front_of(tried)
    by_accuracy = sorted(front, key=lambda i: tried[i].values["accuracy"])
    picks = {"knee": by_accuracy[len(by_accuracy) // 2], "most_accurate": by_accuracy[-1], "cheapest": by_accuracy[0]}
    networks = tuple(chosen(rule, tried[index], tested=tested) for rule, index in picks.items())
    samples = tuple(
        SampleDecision(
            png(rng), str(i % 10), str((i + (i == 4)) % 10), i % networks[0].num_exits, 0.99 - 0.05 * i, "knee"
        )
        for i in range(8)
    )
    full = architecture(MAX_DEPTHS, (16, 32, 64), ())
    curves = [training_curve("Supernet", 30, 4, rng)]
    curves += [training_curve(f"Fine-tuning: {n.rule}", 8, n.num_exits, rng) for n in networks]
    return RunSummary(
        title="Early-exit networks for digits on edge-tpu-quad",
        created=datetime(2025, 11, 3, 14, 5, tzinfo=UTC),
        offramp_version="0.1.0",
        data=DataSummary("digits", tuple("0123456789"), (1, 8, 8), 1167, 270, 360, "sha256:3f9a" + "0c" * 30),
        accelerator="edge-tpu-quad",
        engine="native",
        engine_version="1.0.0",
        convention="offramp",
        seed=seed,
        objectives=(
            Objective("accuracy", "maximize"),
            Objective("energy_delay_product_j_cycles", "minimize"),
        ),
        constraints=(Constraint("macs", "<=", 2.4e6),),
        algorithm="nsga2",
        max_depths=MAX_DEPTHS,
        evaluations=tried,
        front_indices=front,
        chosen=networks,
        static_reference=static_reference("largest static network", full, 0.985, 0.981 if tested else None),
        training=tuple(curves) if trained else (),
        samples=samples if tested else (),
        settings_text=SETTINGS,
        duration_s=125.4,
        clock_hz=200e6,
        core_names=CORES,
        environment=(EnvironmentItem("Python", "3.11.2"), EnvironmentItem("torch", "2.13.0")),
        static_front=tuple(tried[index] for index in front_of(tried, static=True)),
        num_static_candidates=sum(item.architecture.is_static for item in tried),
        volume_beyond_static=0.0321,
        warnings=("Thresholds were taken from 270 validation images; rates on other images may differ.",),
    )
