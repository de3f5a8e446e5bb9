"""Claim: on edge-tpu-quad at most half of the static network's energy-delay product at 0.5 points less accuracy.

    python -m benchmarks.trained_exits --supernet-epochs 8 --epochs 30

On CIFAR-10, the backbone is ResNet-20 (the largest of resnet-large). The static reference is trained from the supernet;
then one network with exits at several taps is trained as long, from the same supernet, with the reference as teacher.
Which of its exits are kept, and their thresholds, is decided by trying all sets of up to three on validation samples:
the most accurate that keeps a bound, a share of the product of the reference. Both are priced by the same mapping. Test
is looked at once for each bound, and each network is exported as a bundle. What is finished is kept in the folder; its
supernet may be that of a search with the same settings. Writes benchmarks/results/trained_exits.json.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.record import save_result
from benchmarks.supernets import Prepared, fine_tune, inherited, prepare
from offramp.cost.expected import ExpectedCost
from offramp.cost.pricing import build_cost_model
from offramp.cost.report import CostReport
from offramp.data.labelled_data import Split
from offramp.data.mini_batches import to_tensor
from offramp.deploy.bundle.check_inputs import NUM_CHECKS
from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.exits.confidence_measures import MEASURES
from offramp.exits.exit_policy import ExitPolicy, ExitProfile, profile
from offramp.exits.thresholds import trade_off_curve
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.run.evaluators.operating_point import measure_point
from offramp.space.architecture import Architecture, ExitChoice
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
Prices = dict[tuple[int, ...], CostReport]
"""Of sets of the trained exits, by their places; the final exit always stays."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What was trained: the network with all exits; without any it is the reference."""

    prepared: Prepared
    exits: Architecture

    def prices(self, mapping: str) -> Prices:
        """Of every set of exits, the empty one included."""
        context = self.prepared.context
        model = build_cost_model(context.config.cost.model_copy(update={"mapping": mapping}))

        def price(places: tuple[int, ...]) -> CostReport:
            return model.estimate(lower(context.supernet.extract(self.kept(places))), context.accelerator)

        return {places: price(places) for places in self.subsets()}

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


def candidates(prices: Prices, logits: Logits, labels: NDArray[np.int64]) -> list[Candidate]:
    """The trade-off curve of every set of exits."""
    found = []
    for places, cost in prices.items():
        answers = [*(logits[place] for place in places), logits[-1]]
        for measure in MEASURES if places else MEASURES[:1]:
            for point in trade_off_curve(answers, labels, cost.products_to_exits_j_cycles, measure):
                found.append(Candidate(places, point.policy, point.accuracy, point.expected_cost, cost))
    return found


def trained_network(
    prepared: Prepared, name: str, architecture: Architecture, epochs: int, teacher: EarlyExitNetwork | None = None
) -> EarlyExitNetwork:
    network = inherited(prepared, architecture)
    step = plain_step(network, LossSettings(), prepared.context.compute, teacher)
    fine_tune(prepared, name, network, step, epochs)
    return network.eval()


@dataclass(frozen=True, eq=False)
class Answers:
    """Logits on both splits: of the network with exits, and of the reference's only exit."""

    validation: Logits
    test: Logits
    reference_validation: NDArray[np.float32]
    reference_test: NDArray[np.float32]


def collect(trained: Trained, network: EarlyExitNetwork, reference: EarlyExitNetwork) -> Answers:
    context = trained.prepared.context

    def logits(of: EarlyExitNetwork, split: Split) -> Logits:
        return collect_logits(of, split, context.dataset.preprocessing, context.compute)

    validation, test = context.dataset.splits.validation, context.dataset.splits.test
    return Answers(
        logits(network, validation),
        logits(network, test),
        logits(reference, validation)[-1],
        logits(reference, test)[-1],
    )


def accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


@dataclass(frozen=True)
class Bounded:
    """The most accurate candidate within a share of the static product, and what it does on the test split.

    The last two are numbers of test images that only one of this network and the reference has right.
    """

    mapping: str
    share_asked: float
    exits: tuple[ExitChoice, ...]
    policy: ExitPolicy
    validation_accuracy: float
    validation_share: float
    test_accuracy: float
    test_share: float
    test_profile: ExitProfile
    expected: ExpectedCost
    static_product_j_cycles: float
    it_alone_is_right: int
    reference_alone_is_right: int


def bounded(
    trained: Trained, answers: Answers, mapping: str, prices: Prices, shares: Sequence[float]
) -> list[tuple[Candidate, Bounded]]:
    """One row per share that anything keeps."""
    splits = trained.prepared.context.dataset.splits
    static = static_product(prices)
    every = candidates(prices, answers.validation, splits.validation.labels)
    reference_right = answers.reference_test.argmax(axis=1) == splits.test.labels
    rows = []
    for share in shares:
        within = [item for item in every if item.product <= share * static]
        if not within:
            continue
        best = max(within, key=lambda item: (item.accuracy, -item.product))
        logits = [*(answers.test[place] for place in best.places), answers.test[-1]]
        test = measure_point(logits, splits.test.labels, best.policy, best.cost)
        answered = np.stack([item.argmax(axis=1) for item in logits])
        right = answered[best.policy.decide(logits), np.arange(len(splits.test))] == splits.test.labels
        found = Bounded(
            mapping=mapping,
            share_asked=share,
            exits=trained.kept(best.places).exits,
            policy=best.policy,
            validation_accuracy=best.accuracy,
            validation_share=best.product / static,
            test_accuracy=test.profile.top1,
            test_share=test.expected.energy_delay_product_j_cycles / static,
            test_profile=test.profile,
            expected=test.expected,
            static_product_j_cycles=static,
            it_alone_is_right=int((right & ~reference_right).sum()),
            reference_alone_is_right=int((reference_right & ~right).sum()),
        )
        rows.append((best, found))
    return rows


def static_product(prices: Prices) -> float:
    """Of the reference, which has no exits but the final one."""
    return prices[()].stages[-1].product_to_exit_j_cycles


def shares_alone(prices: Prices) -> list[float]:
    """Share of the reference's product where everybody leaves at one exit: the backbone cut off there."""
    singles = [prices[(place,)] for place in range(len(TRAINED))]
    return [cost.stages[0].product_to_exit_j_cycles / static_product(prices) for cost in singles]


def export(trained: Trained, network: EarlyExitNetwork, answers: Answers, best: Candidate, folder: Path) -> None:
    """The network of a row as a bundle, every form compared with it."""
    context = trained.prepared.context
    dataset = context.dataset
    kept = network.with_exits(best.places).eval().to("cpu")
    on_validation = [*(answers.validation[place] for place in best.places), answers.validation[-1]]
    checks = dataset.splits.validation.subset(NUM_CHECKS, context.config.seed)
    export_bundle(
        kept,
        folder,
        policy=best.policy,
        class_names=dataset.class_names,
        mean=dataset.preprocessing.mean,
        std=dataset.preprocessing.std,
        checks=to_tensor(checks.samples, dataset.preprocessing).numpy(),
        name=f"{dataset.name}-{folder.name}",
        seed=context.config.seed,
        cost=best.cost,
        profile=profile(on_validation, dataset.splits.validation.labels, best.policy),
        overwrite=True,
    )


def train(arguments: argparse.Namespace) -> tuple[Trained, EarlyExitNetwork, EarlyExitNetwork]:
    """Supernet, reference, and the network with all exits, or what is in the folder."""
    changes = {
        "data.source": arguments.data,
        "seed": arguments.seed,
        "space.backbone": "resnet-large",
        "space.elastic_widths": False,
        "train.epochs": arguments.supernet_epochs,
        "train.precision": "auto",
    }
    prepared = prepare(Path(arguments.folder), changes)
    largest = prepared.context.space.reference_architecture()
    trained = Trained(prepared, replace(largest, exits=TRAINED))
    reference = trained_network(prepared, "reference", largest, arguments.epochs)
    return trained, reference, trained_network(prepared, "exits", trained.exits, arguments.epochs, reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data/cifar10")
    parser.add_argument("--supernet-epochs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shares", default="0.15,0.25,0.5")
    parser.add_argument("--folder", default="runs/trained-exits")
    arguments = parser.parse_args()
    trained, reference, network = train(arguments)
    splits = trained.prepared.context.dataset.splits
    answers = collect(trained, network, reference)
    accuracies = {
        "validation": accuracy(answers.reference_validation, splits.validation.labels),
        "test": accuracy(answers.reference_test, splits.test.labels),
    }
    print(f"static reference: validation {accuracies['validation']:.4f}, test {accuracies['test']:.4f}")
    full = [accuracy(item, splits.validation.labels) for item in answers.validation]
    print("each exit alone, validation:", " ".join(f"{value:.4f}" for value in full))
    rows, alone, shares = [], {}, [float(share) for share in arguments.shares.split(",")]
    for mapping in ("optimized", "layer_by_layer"):
        prices = trained.prices(mapping)
        alone[mapping] = shares_alone(prices)
        print(f"{mapping}, share of the product at each exit alone:", " ".join(f"{x:.3f}" for x in alone[mapping]))
        for best, found in bounded(trained, answers, mapping, prices, shares):
            rows.append(asdict(found))
            print(
                f"{mapping}, at most {found.share_asked:g}: validation {found.validation_accuracy:.4f}, test "
                f"{found.test_accuracy:.4f} ({100 * (found.test_accuracy - accuracies['test']):+.2f} points) at "
                f"{found.test_share:.3f} of the reference's product; alone right about "
                f"{found.it_alone_is_right}, the reference about {found.reference_alone_is_right}"
            )
            export(trained, network, answers, best, Path(arguments.folder) / f"{mapping}-{found.share_asked:g}")
    figures = {
        "settings": vars(arguments),
        "reference_accuracy": accuracies,
        "each_exit_alone": {"validation_accuracies": full, "product_shares": alone},
        "rows": rows,
    }
    print(save_result("trained_exits", figures))


if __name__ == "__main__":
    main()
