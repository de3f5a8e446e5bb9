"""The precision study of Zniber et al. redone: one network, exits after blocks 3, 5 and 8, five settings of bit widths.

CIFAR-10 on edge-tpu-quad. A float network with its exits is trained once; each quantised setting starts from its
weights and is trained briefly at its bits. Thresholds are chosen on the validation split, exit rates and accuracies
measured once on the test split. Costs are given in the reference's own convention, to stand beside its figures, and in
ours.

Every phase that is done is read back, and a stopped one goes on: give the same command again.

    python -m benchmarks.precision_study --minutes 45 --train-images 10000
"""

import argparse
import copy
import csv
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from benchmarks.precision_study_page import (
    PrecisionStudy,
    StudyRow,
    StudySetting,
    write_study_page,
)
from benchmarks.record import save_result
from offramp import jsonio
from offramp.cost.expected import expected_cost
from offramp.cost.pricing import build_cost_model
from offramp.cost.report import CostReport
from offramp.data.augmentation import default_augmentation
from offramp.data.dataset_loading import load_dataset
from offramp.data.labelled_data import Dataset, Split
from offramp.deadline import Deadline
from offramp.exits.exit_policy import ExitProfile
from offramp.files.safe_files import write_atomically
from offramp.hardware.loader import load_accelerator
from offramp.nn.backbone import BACKBONES
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.supernet.supernet import Supernet
from offramp.progress import TerminalReporter
from offramp.run.evaluators.operating_point import choose_operating_point, measure_point
from offramp.run.network_preparation import EvaluationData, calibrate_, quantize_
from offramp.settings.cost_config import CostConfig
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, Precision
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.train.checkpoint import load_checkpoint
from offramp.train.compute import Compute, build_compute
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import plain_step
from offramp.train.trainer import Schedule, TrainingData, TrainingLoop, collect_logits

BACKBONE, BRANCH = "mobilenetv2-zniber", "pool_linear"
TAPS = (3, 5, 8)
EXITS = ("exit 3", "exit 5", "exit 8", "final")
SETTINGS = {"32/32": (32, 32), "8/8": (8, 8), "8/4": (8, 4), "4/8": (4, 8), "4/4": (4, 4)}
ACCELERATOR = "edge-tpu-quad"
REFERENCE = Path(__file__).parents[1].parent / "shared" / "reference" / "eenn" / "models.csv"
THEIRS, OURS, OURS_OWN = "Zniber et al.", "offramp, their accounting", "offramp, our accounting"
# Shares of --minutes; what is left goes to measuring.
FLOAT_SHARE, QAT_SHARE = 0.55, 0.09


@dataclass(frozen=True)
class Options:
    """What the command line says; ``minutes`` None = by epochs."""

    data: str
    work: Path
    train_images: int | None
    test_images: int | None
    epochs: int
    qat_epochs: int
    minutes: float | None
    accuracy_drop: float
    seed: int

    def deadline_s(self, share: float) -> float | None:
        return None if self.minutes is None else 60 * self.minutes * share


@dataclass(frozen=True)
class Measured:
    """A finished setting, as it is kept in a file: what left where on the test split, and how it was trained."""

    profile: ExitProfile
    validation_top1: float
    thresholds: tuple[float, ...]
    epochs: int
    seconds: float


def settings_architecture(setting: str, accuracy_drop: float) -> Architecture:
    backbone, branches = (Precision(bits, bits) for bits in SETTINGS[setting])
    space = EarlyExitSpace(BACKBONES.get(BACKBONE).space((3, 32, 32)), (BRANCH,), final_branch=BRANCH)
    return replace(
        space.max_architecture(),
        exits=tuple(ExitChoice(tap, BRANCH) for tap in TAPS),
        precision=backbone,
        branch_precision=branches,
        policy=PolicyChoice(accuracy_drop=accuracy_drop),
    )


def new_network(options: Options, num_classes: int) -> EarlyExitNetwork:
    architecture = settings_architecture("32/32", options.accuracy_drop)
    space = BACKBONES.get(BACKBONE).space((3, 32, 32))
    return Supernet(space, (BRANCH,), (3, 32, 32), num_classes, options.seed).extract(architecture)


class Study:
    """The phases; each leaves a weights file and a record in the work folder."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.reporter = TerminalReporter()
        self.dataset = load_dataset(options.data, seed=options.seed, reporter=self.reporter)
        splits, seed = self.dataset.splits, options.seed
        self.train = _part(splits.train, options.train_images, seed)
        self.validation = _part(splits.validation, options.test_images, seed)
        self.test = _part(splits.test, options.test_images, seed)
        self.training = build_compute("cpu", "auto", True, 32)
        self.compute = Compute()
        self.data = EvaluationData(self.train.subset(1024, seed), self.validation, self.dataset.preprocessing)
        options.work.mkdir(parents=True, exist_ok=True)

    def run(self, setting: str) -> Measured:
        """Train (the float network for 32/32, from its weights otherwise) and measure; or read what was kept."""
        record = self.options.work / f"{setting.replace('/', '-')}.json"
        if record.exists():
            return jsonio.loads(Measured, record.read_text(), what=str(record))
        began = time.monotonic()
        network = new_network(self.options, self.dataset.num_classes)
        weights = self._weights("32/32")
        if setting == "32/32":
            epochs = self._fit(network, setting, self.options.epochs, FLOAT_SHARE, learning_rate=0.01)
        else:
            load_checkpoint(weights, network)
            network.architecture = settings_architecture(setting, self.options.accuracy_drop)
            quantize_(network, self.data, self.compute)
            epochs = self._fit(network, setting, self.options.qat_epochs, QAT_SHARE, learning_rate=0.005)
        measured = self._measure(network, epochs, time.monotonic() - began)
        write_atomically(record, jsonio.dumps(measured))
        return measured

    def _weights(self, setting: str) -> Path:
        return self.options.work / f"{setting.replace('/', '-')}.safetensors"

    def _fit(self, network: nn.Module, setting: str, epochs: int, share: float, *, learning_rate: float) -> int:
        checkpoint = self._weights(setting)
        seconds = self.options.deadline_s(share)
        if seconds is not None and checkpoint.exists():
            # Only what is left of the phase's time; the loop scales its progress to it.
            seconds *= max(0.0, 1 - load_checkpoint(checkpoint, copy.deepcopy(network)).progress)
        start = time.monotonic()
        deadline = None if seconds is None else Deadline(start, start + max(seconds, 1.0))
        dataset = self.dataset
        loop = TrainingLoop(
            network,
            TrainingData(self.train, dataset.preprocessing, 64, default_augmentation(dataset)),
            Schedule(learning_rate, None if deadline else epochs, deadline),
            self.training,
            momentum=0.9,
            weight_decay=5e-4,
            seed=self.options.seed,
            checkpoint=checkpoint,
        )
        with self.reporter.task(f"Training at {setting}") as task:
            log = loop.run(plain_step(network, LossSettings(), self.training), task, resume=True)
        return len(log.loss)

    def _measure(self, network: EarlyExitNetwork, epochs: int, seconds: float) -> Measured:
        calibrate_(network, self.data, self.compute)
        cost = prices(network)["ours"]
        choice, preprocessing = network.architecture.policy, self.dataset.preprocessing
        with self.reporter.task("Measuring") as task:
            task.update(0.1, "validation")
            logits = collect_logits(network, self.validation, preprocessing, self.compute)
            chosen = choose_operating_point(logits, self.validation.labels, cost, choice)
            task.update(0.5, "test")
            logits = collect_logits(network, self.test, preprocessing, self.compute)
            point = measure_point(logits, self.test.labels, chosen.policy, cost)
        return Measured(point.profile, chosen.profile.top1, chosen.policy.thresholds, epochs, seconds)


def _part(split: Split, count: int | None, seed: int) -> Split:
    return split if count is None else split.subset(count, seed)


def prices(network: EarlyExitNetwork) -> dict[str, CostReport]:
    """Costs to each exit: the reference's accounting (each layer reads and writes at its own bits), and ours."""
    accelerator, workload, bits = load_accelerator(ACCELERATOR), lower(network), network.architecture
    backbone, branches = bits.precision, bits.branch_precision
    uniform = workload.with_bits(
        backbone.weight_bits, backbone.activation_bits, branches.weight_bits, branches.activation_bits
    )
    published = build_cost_model(CostConfig(accelerator=ACCELERATOR, convention="published"))
    return {
        "published": published.estimate(uniform, accelerator),
        "ours": build_cost_model(CostConfig(accelerator=ACCELERATOR, mapping="layer_by_layer")).estimate(
            workload, accelerator
        ),
    }


def their_rows() -> dict[str, StudyRow]:
    """The five settings as published and rerun; accuracy is known for 8/8 alone."""
    found = {}
    with REFERENCE.open(newline="") as stream:
        for line in csv.DictReader(stream):
            setting = f"{line['pb']}/{line['pc']}"
            if line["model"] == "focus_3_5_8_precision" and setting in SETTINGS:
                found[setting] = StudyRow(
                    THEIRS,
                    _numbers(line["exit_ratios"]),
                    _numbers(line["cum_et_per_exit"]),
                    float(line["avg_et_Jcycles"]),
                    float(line["avg_latency_cycles"]),
                    float(line["avg_energy_J"]),
                    float(line["accuracy_pct"]) / 100 if line["accuracy_pct"] else None,
                )
    return found


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split())


def our_row(source: str, measured: Measured, cost: CostReport) -> StudyRow:
    profile = measured.profile
    expected = expected_cost(cost, profile.rates)
    return StudyRow(
        source,
        profile.rates,
        cost.products_to_exits_j_cycles,
        expected.energy_delay_product_j_cycles,
        expected.latency_cycles,
        expected.energy_pj * 1e-12,
        profile.top1,
        profile.full_accuracies,
    )


def assemble(options: Options, dataset: Dataset, results: dict[str, Measured], num_train: int) -> PrecisionStudy:
    theirs, settings, deviations = their_rows(), [], []
    for name, measured in results.items():
        network = new_network(options, dataset.num_classes)
        network.architecture = settings_architecture(name, options.accuracy_drop)
        cost = prices(network)
        rows = [our_row(OURS, measured, cost["published"]), our_row(OURS_OWN, measured, cost["ours"])]
        if name in theirs:
            reproduced = expected_cost(cost["published"], theirs[name].exit_rates).energy_delay_product_j_cycles
            deviations.append(f"{name}: {reproduced / theirs[name].average_et - 1:+.2%}")
            rows.insert(0, theirs[name])
        settings.append(StudySetting(name, tuple(rows)))
    epochs = ", ".join(f"{name}: {measured.epochs}" for name, measured in results.items())
    return PrecisionStudy(
        title="Bit widths of backbone and branches",
        about=(
            f"The MobileNetV2 of Zniber et al. (195 M MACs) with exits after blocks 3, 5 and 8; CIFAR-10, "
            f"{ACCELERATOR}."
        ),
        exits=EXITS,
        settings=tuple(settings),
        notes=(
            f"Ours was trained on {num_train} of the training images; epochs begun per setting: {epochs}. Quantised "
            "settings start from the float network's weights. Theirs was trained in full.",
            "The images here are JPEG copies of CIFAR-10: accuracies are not to be set beside published ones.",
            "Thresholds were chosen on the validation split, at most "
            f"{options.accuracy_drop:.1%} below its best accuracy; rates and accuracies are of the test split.",
            "Their accounting charges each pooling once per channel and lets a layer read at its own bits; priced so, "
            f"their exit rates give an average ET that differs from theirs by {'; '.join(deviations) or '–'}.",
            "In our accounting pooling is charged once, and a layer reads what its producer wrote.",
        ),
    )


def parse() -> Options:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", default="../shared/data/cifar10")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmark-precision-study"))
    parser.add_argument("--train-images", type=int, help="default: all of the training split")
    parser.add_argument("--test-images", type=int, help="of validation and of test split; default: all")
    parser.add_argument("--epochs", type=int, default=10, help="of the float network, where no --minutes are given")
    parser.add_argument("--qat-epochs", type=int, default=2, help="of each quantised setting")
    parser.add_argument("--minutes", type=float, help="wall time of the whole, instead of epochs")
    parser.add_argument("--accuracy-drop", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=2, help="2 only where both cores are free")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    given = vars(parser.parse_args())
    torch.set_num_threads(given.pop("threads"))
    wanted = given.pop("settings")
    # Every other setting starts from the float network.
    for setting in [name for name in SETTINGS if name not in wanted and name != "32/32"]:
        SETTINGS.pop(setting)
    return Options(**given)


def main() -> None:
    options = parse()
    study = Study(options)
    results = {}
    for setting in SETTINGS:
        results[setting] = study.run(setting)
        measured = results[setting]
        rates = " ".join(f"{rate:.3f}" for rate in measured.profile.rates)
        print(f"{setting}: test {measured.profile.top1:.4f}, rates {rates}, {measured.epochs} epochs")
    assembled = assemble(options, study.dataset, results, len(study.train.labels))
    write_atomically(options.work / "precision_study.json", jsonio.dumps(assembled))
    write_study_page(assembled, options.work / "precision_study.html")
    figures = {
        "options": {name: str(value) for name, value in vars(options).items()},
        "study": jsonio.to_data(assembled),
        "measured": {name: jsonio.to_data(item) for name, item in results.items()},
    }
    print(options.work / "precision_study.html")
    print(save_result("precision_study", json.loads(json.dumps(figures))))


if __name__ == "__main__":
    main()
