"""Claim: on edge-tpu-quad at most half of the static network's energy-latency product at 0.5 points less accuracy.

    python -m benchmarks.trained_exits --supernet-epochs 8 --epochs 30

On CIFAR-10, the backbone is ResNet-20 (the largest of resnet-large). The static reference is trained from the supernet;
then one network with exits at several taps is trained as long, from the same supernet, with the reference as teacher.
Which of its exits are kept, and their thresholds, is decided by trying all sets of up to three on validation samples:
the most accurate that keeps a bound, a share of the product of the reference. Both are priced by the same mapping. Test
is looked at once for each bound. What is finished is kept in the folder, whose supernet may be that of a search with
the same settings. Writes benchmarks/results/trained_exits.json.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import save_result
from benchmarks.supernets import Prepared, fine_tune, inherited, prepare
from offramp.cost.base import CostReport
from offramp.evaluate.operating_point import OperatingPoint, measure_point
from offramp.exiting.measures import MEASURES
from offramp.exiting.policy import ExitPolicy
from offramp.exiting.thresholds import trade_off_curve
from offramp.nn.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.pricing import build_cost_model
from offramp.space.architecture import Architecture, ExitChoice
from offramp.train.data import Split
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import plain_step
from offramp.train.trainer import collect_logits

TRAINED = (
    ExitChoice(2, "depthwise_separable"),
    ExitChoice(3, "depthwise_separable"),
    ExitChoice(5, "conv"),
    ExitChoice(6, "conv"),
    ExitChoice(7, "global_pool"),
)
"""All are trained together; those before the end of the first stage answer too badly to be worth their branch."""
MOST_KEPT = 3
Logits = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, eq=False)
class Trained:
    """The two networks' answers and architectures."""

    prepared: Prepared
    reference: Architecture
    exits: Architecture

    def price(self, architecture: Architecture, mapping: str) -> CostReport:
        context = self.prepared.context
        model = build_cost_model(context.config.cost.model_copy(update={"mapping": mapping}))
        return model.estimate(lower(context.supernet.extract(architecture)), context.accelerator)

    def subsets(self) -> Iterator[tuple[int, ...]]:
        """Places among the trained exits, the final one not counted."""
        for count in range(MOST_KEPT + 1):
            yield from combinations(range(len(self.exits.exits)), count)

    def kept(self, places: tuple[int, ...]) -> Architecture:
        return replace(self.exits, exits=tuple(self.exits.exits[place] for place in places))


@dataclass(frozen=True)
class Candidate:
    """A set of exits with thresholds, and what it reaches on validation samples."""

    places: tuple[int, ...]
    policy: ExitPolicy
    accuracy: float
    product: float
    cost: CostReport


def candidates(trained: Trained, logits: Logits, labels: NDArray[np.int64], mapping: str) -> list[Candidate]:
    """The trade-off curve of every set of exits."""
    found = []
    for places in trained.subsets():
        cost = trained.price(trained.kept(places), mapping)
        answers = [*(logits[place] for place in places), logits[-1]]
        products = [stage.product_to_exit_j_cycles for stage in cost.stages]
        for measure in MEASURES if places else MEASURES[:1]:
            for point in trade_off_curve(answers, labels, products, measure):
                found.append(Candidate(places, point.policy, point.accuracy, point.expected_cost, cost))
    return found


def trained_network(
    prepared: Prepared, name: str, architecture: Architecture, epochs: int, teacher: EarlyExitNetwork | None = None
) -> EarlyExitNetwork:
    network = inherited(prepared, architecture)
    step = plain_step(network, LossSettings(), prepared.context.compute, teacher)
    fine_tune(prepared, name, network, step, epochs)
    return network.eval()


def row(
    asked: float, mapping: str, static: float, validation: Candidate, test: OperatingPoint, kept: Architecture
) -> dict[str, object]:
    return {
        "mapping": mapping,
        "share_asked": asked,
        "exits": [asdict(choice) for choice in kept.exits],
        "measure": validation.policy.measure,
        "thresholds": validation.policy.thresholds,
        "validation_accuracy": validation.accuracy,
        "validation_share": validation.product / static,
        "test_accuracy": test.profile.top1,
        "test_share": test.expected.energy_latency_product_j_cycles / static,
        "test_rates": test.profile.rates,
        "test_accuracies": test.profile.accuracies,
        "expected_macs_test": test.expected.macs,
        "product_j_cycles": test.expected.energy_latency_product_j_cycles,
        "static_product_j_cycles": static,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data/cifar10")
    parser.add_argument("--supernet-epochs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shares", default="0.15,0.25,0.5")
    parser.add_argument("--folder", default="runs/trained-exits")
    arguments = parser.parse_args()
    changes = {
        "data.source": arguments.data,
        "seed": arguments.seed,
        "space.backbone": "resnet-large",
        "space.elastic_widths": False,
        "train.epochs": arguments.supernet_epochs,
        "train.precision": "auto",
    }
    prepared = prepare(Path(arguments.folder), changes)
    context, splits = prepared.context, prepared.context.dataset.splits
    largest = context.space.reference_architecture()
    trained = Trained(prepared, largest, replace(largest, exits=TRAINED))
    reference = trained_network(prepared, "reference", largest, arguments.epochs)
    network = trained_network(prepared, "exits", trained.exits, arguments.epochs, reference)

    def answers(of: EarlyExitNetwork, split: Split) -> Logits:
        return collect_logits(of, split, context.dataset.preprocessing, context.compute)

    known = answers(network, splits.validation)
    accuracies = {
        name: float((answers(reference, split)[-1].argmax(axis=1) == split.labels).mean())
        for name, split in (("validation", splits.validation), ("test", splits.test))
    }
    print(f"static reference: validation {accuracies['validation']:.4f}, test {accuracies['test']:.4f}")
    full = [float((item.argmax(axis=1) == splits.validation.labels).mean()) for item in known]
    print("each exit alone, validation:", " ".join(f"{value:.4f}" for value in full))
    unseen, rows = answers(network, splits.test), []
    for mapping in ("optimized", "layer_by_layer"):
        static = trained.price(largest, mapping).stages[-1].product_to_exit_j_cycles
        every = candidates(trained, known, splits.validation.labels, mapping)
        for asked in map(float, arguments.shares.split(",")):
            within = [item for item in every if item.product <= asked * static]
            if not within:
                print(f"{mapping}: nothing costs at most {asked:g} of the reference")
                continue
            best = max(within, key=lambda item: (item.accuracy, -item.product))
            chosen = [*(unseen[place] for place in best.places), unseen[-1]]
            test = measure_point(chosen, splits.test.labels, best.policy, best.cost)
            rows.append(row(asked, mapping, static, best, test, trained.kept(best.places)))
            print(
                f"{mapping}, at most {asked:g}: validation {best.accuracy:.4f}, test {test.profile.top1:.4f} "
                f"({100 * (test.profile.top1 - accuracies['test']):+.2f} points) at "
                f"{test.expected.energy_latency_product_j_cycles / static:.3f} of the reference's product"
            )
    figures = {"settings": vars(arguments), "reference_accuracy": accuracies, "full_accuracies": full, "rows": rows}
    print(save_result("trained_exits", figures))


if __name__ == "__main__":
    main()
