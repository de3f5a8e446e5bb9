"""One finished network at several bounds on its expected energy-latency product, under both mappings.

    python -m benchmarks.product_points runs/cifar10-peers/product-exact-0-taught

For each bound, a share of the product of the run's static reference, the most accurate thresholds that keep it on
validation samples are taken; test is looked at once for each. The bound and the reference are priced by the same
mapping, once layer by layer and once optimised. Writes benchmarks/results/product_points.json.
"""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.record import save_result
from offramp.build import build_context, build_dataset
from offramp.config import load_config
from offramp.cost.base import CostReport
from offramp.evaluate.context import Context
from offramp.evaluate.finish import WEIGHTS
from offramp.evaluate.operating_point import OperatingPoint, measure_point
from offramp.exiting.measures import MEASURES
from offramp.exiting.thresholds import trade_off_curve
from offramp.nn.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.pricing import build_cost_model
from offramp.progress import TerminalReporter
from offramp.report.summary import ChosenNetwork, load_summary
from offramp.train.checkpoint import load_checkpoint
from offramp.train.trainer import collect_logits


@dataclass(frozen=True)
class BoundedPoint:
    """The most accurate thresholds within a share of the static product: what they reach on both splits."""

    mapping: str
    share_asked: float
    validation_accuracy: float
    validation_share: float
    test_accuracy: float
    test_share: float
    thresholds: tuple[float, ...]
    measure: str
    test_rates: tuple[float, ...]


def finished_network(context: Context, folder: Path, record: ChosenNetwork) -> EarlyExitNetwork:
    """As it was after fine-tuning."""
    network = context.supernet.extract(record.architecture)
    load_checkpoint(folder / Path(record.bundle).parent / WEIGHTS, network)
    context.compute.place(network).eval()
    return network


def points(context: Context, network: EarlyExitNetwork, shares: list[float]) -> list[BoundedPoint]:
    splits, preprocessing = context.dataset.splits, context.dataset.preprocessing
    known, unseen = (
        collect_logits(network, s, preprocessing, context.compute) for s in (splits.validation, splits.test)
    )
    reference = context.supernet.extract(context.space.reference_architecture())
    found = []
    for mapping in ("layer_by_layer", "optimized"):
        model = build_cost_model(context.config.cost.model_copy(update={"mapping": mapping}))
        cost = model.estimate(lower(network), context.accelerator)
        static = _products(model.estimate(lower(reference), context.accelerator))[-1]
        curves = [trade_off_curve(known, splits.validation.labels, _products(cost), measure) for measure in MEASURES]
        every = [choice for curve in curves for choice in curve]
        for share in shares:
            within = [choice for choice in every if choice.expected_cost <= share * static]
            if not within:
                continue
            policy = max(within, key=lambda choice: (choice.accuracy, -choice.expected_cost)).policy
            validation = measure_point(known, splits.validation.labels, policy, cost)
            test = measure_point(unseen, splits.test.labels, policy, cost)
            found.append(
                BoundedPoint(
                    mapping,
                    share,
                    validation.profile.top1,
                    _product(validation) / static,
                    test.profile.top1,
                    _product(test) / static,
                    policy.thresholds,
                    policy.measure,
                    test.profile.rates,
                )
            )
    return found


def _products(cost: CostReport) -> list[float]:
    return [stage.product_to_exit_j_cycles for stage in cost.stages]


def _product(point: OperatingPoint) -> float:
    return point.expected.energy_latency_product_j_cycles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--shares", default="0.2,0.25,0.35,0.5")
    arguments = parser.parse_args()
    folder = Path(arguments.run)
    summary, config = load_summary(folder / "summary.json"), load_config(folder / "config.yaml")
    context = build_context(config, build_dataset(config, TerminalReporter()))
    reference = summary.static_reference
    figures: dict[str, object] = {}
    for record in summary.chosen:
        network = finished_network(context, folder, record)
        found = points(context, network, [float(share) for share in arguments.shares.split(",")])
        for point in found:
            print(
                f"{record.rule}, {point.mapping}, at most {point.share_asked:g}: validation "
                f"{point.validation_accuracy:.4f}, test {point.test_accuracy:.4f} at {point.test_share:.3f} of the "
                f"reference's product (accuracy {reference.accuracy_test})"
            )
        figures[record.rule] = {"architecture": asdict(record.architecture), "points": [asdict(x) for x in found]}
    accuracies = {"validation": reference.accuracy_validation, "test": reference.accuracy_test}
    print(save_result("product_points", {"reference_accuracy": accuracies, "networks": figures}))


if __name__ == "__main__":
    main()
