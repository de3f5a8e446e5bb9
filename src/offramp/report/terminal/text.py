"""The same results for the terminal: rich tables, and plain data for JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from offramp import jsonio
from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import CostReport, StageCost
from offramp.objectives.evaluation import Evaluation
from offramp.records.run_summary import RunSummary
from offramp.report import units
from offramp.report.architecture_layout import layout_of
from offramp.report.figures.figure_data import cost_of
from offramp.report.wording import rule_name
from offramp.settings.cost_config import ALL_MAPPING_STEPS
from offramp.space.architecture import Architecture

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from rich.text import Text

_COST_HEADINGS = ("Energy", "Latency", "Product", "MACs")
_UNITS = "latency in cycles, energy-delay product in J·cycles"


@dataclass(frozen=True)
class FrontCosts:
    """Expected costs of a point of the front."""

    latency_cycles: float | None
    energy_pj: float | None
    macs: float | None
    energy_delay_product_j_cycles: float | None


@dataclass(frozen=True)
class FrontPoint:
    """One network of the front; all figures are of the validation split."""

    architecture: Architecture
    validation_accuracy: float | None
    exit_rates: tuple[float, ...]
    thresholds: tuple[float, ...]
    expected: FrontCosts


@dataclass(frozen=True)
class StagePrice:
    """What ``offramp cost --json`` says of an exit."""

    exit: str
    backbone_latency_cycles: float
    gap_cycles: float
    branch_latency_cycles: float
    stage_latency_cycles: float
    stage_energy_pj: float
    latency_to_exit_cycles: float
    energy_to_exit_pj: float
    macs_to_exit: int
    speculation_energy_pj: float


@dataclass(frozen=True)
class ModelPrice:
    """What ``offramp cost --json`` says of a model; ``expected`` needs exit rates.

    ``mapping_steps``: of the optimized mapping; ``leaves_out``: what the figures do not hold, a sentence each;
    ``weight_density``: the share of nonzero weights, None where the accelerator gains nothing from zeros.
    """

    model: str
    accelerator: str
    engine: str
    engine_version: str
    convention: str
    mapping: str
    mapping_steps: tuple[str, ...] | None
    stages: tuple[StagePrice, ...]
    static: ExpectedCost
    expected: ExpectedCost | None
    warnings: tuple[str, ...]
    leaves_out: tuple[str, ...]
    weight_density: float | None = None


class Priced(Protocol):
    """A model with its costs; ``static`` is its backbone and final classifier alone."""

    @property
    def model(self) -> str: ...

    @property
    def report(self) -> CostReport: ...

    @property
    def static(self) -> CostReport: ...

    @property
    def expected(self) -> ExpectedCost | None: ...

    @property
    def core_names(self) -> tuple[str, ...]: ...

    @property
    def weight_density(self) -> float | None: ...


def front_point(evaluation: Evaluation) -> FrontPoint:
    """What is told of a member of the front."""
    details = evaluation.details
    return FrontPoint(
        architecture=evaluation.architecture,
        validation_accuracy=evaluation.values.get("accuracy"),
        exit_rates=details.profile.rates if details else (),
        thresholds=details.policy.thresholds if details else (),
        expected=FrontCosts(
            latency_cycles=cost_of(evaluation, "latency_cycles"),
            energy_pj=cost_of(evaluation, "energy_pj"),
            macs=cost_of(evaluation, "macs"),
            energy_delay_product_j_cycles=cost_of(evaluation, "energy_delay_product_j_cycles"),
        ),
    )


def front_json(front: Sequence[Evaluation]) -> list[Any]:
    """The front as plain data for ``json.dumps``: one object a point."""
    return [jsonio.to_data(front_point(evaluation)) for evaluation in front]


def evaluations_table(front: Sequence[Evaluation], max_depths: Sequence[int] = ()) -> "RichTable":
    """Evaluations in the given order, one row each."""
    table = simple_table(f"Pareto front: validation accuracy, expected costs per image; {_UNITS}")
    for heading in ("Accuracy", *_COST_HEADINGS, "Exit rates (%)", "Exits at"):
        table.add_column(heading, justify="right", overflow="fold")
    for evaluation in front:
        point = front_point(evaluation)
        accuracy = units.NOTHING if point.validation_accuracy is None else units.percent(point.validation_accuracy)
        rates = "/".join(f"{100 * rate:.0f}" for rate in point.exit_rates) or units.NOTHING
        cells = (accuracy, *_cost_cells(point.expected), rates, _places(point.architecture, max_depths))
        table.add_row(*map(plain_text, cells))
    return table


def _cost_cells(costs: FrontCosts | ExpectedCost) -> tuple[str, ...]:
    """Costs without the words that stand in the headings already."""
    shown = (
        (costs.energy_pj, units.energy),
        (costs.latency_cycles, units.cycles),
        (costs.energy_delay_product_j_cycles, units.product),
        (costs.macs, units.macs),
    )
    texts = (units.NOTHING if value is None else write(value) for value, write in shown)
    return tuple(text.removesuffix("J·cycles").removesuffix("cycles").removesuffix("MACs").rstrip() for text in texts)


def _places(architecture: Architecture, max_depths: Sequence[int]) -> str:
    """Where the early exits are: block numbers, or tap numbers where the depth of the family is not known."""
    if not architecture.exits:
        return "none"
    if not max_depths:
        return "tap " + ", ".join(str(choice.tap) for choice in architecture.exits)
    return "block " + ", ".join(str(place.after_block) for place in layout_of(architecture, max_depths).exits[:-1])


def front_table(summary: RunSummary) -> "RichTable":
    """The front of a finished run, in order of accuracy."""
    members = sorted(summary.front, key=lambda item: -item.values.get("accuracy", 0.0))
    return evaluations_table(members, summary.max_depths)


def chosen_table(summary: RunSummary) -> "RichTable":
    """The chosen networks and the static reference; costs on test where it was measured, otherwise on validation."""
    table = simple_table(f"Chosen networks: accuracy, expected costs per image, reduction of the product; {_UNITS}")
    table.add_column("Network")
    for heading in ("Val.", "Test", *_COST_HEADINGS, "Reduction"):
        table.add_column(heading, justify="right", overflow="fold")
    reference = summary.static_reference
    static = reference.expected.energy_delay_product_j_cycles
    for network in summary.chosen:
        expected = network.measured.expected
        accuracies = _accuracies(network.validation.top1, None if network.test is None else network.test.top1)
        saved = units.reduction(expected.energy_delay_product_j_cycles, static)
        table.add_row(*map(plain_text, (rule_name(network.rule), *accuracies, *_cost_cells(expected), saved)))
    table.add_section()
    accuracies = _accuracies(reference.accuracy_validation, reference.accuracy_test)
    table.add_row(*map(plain_text, (reference.name, *accuracies, *_cost_cells(reference.expected), "reference")))
    return table


def _accuracies(validation: float, test: float | None) -> tuple[str, str]:
    return units.percent(validation), units.NOTHING if test is None else units.percent(test)


def model_price(priced: Priced) -> ModelPrice:
    """All that is told of a priced model."""
    report = priced.report
    stages = tuple(
        StagePrice(
            exit=stage.exit,
            backbone_latency_cycles=stage.backbone_latency_cycles,
            gap_cycles=stage.gap_cycles,
            branch_latency_cycles=stage.branch_latency_cycles,
            stage_latency_cycles=stage.stage_latency_cycles,
            stage_energy_pj=stage.stage_energy_pj,
            latency_to_exit_cycles=stage.latency_to_exit_cycles,
            energy_to_exit_pj=stage.energy_to_exit_pj,
            macs_to_exit=stage.macs_to_exit,
            speculation_energy_pj=stage.speculation_energy_pj,
        )
        for stage in report.stages
    )
    return ModelPrice(
        model=priced.model,
        accelerator=report.accelerator,
        engine=report.engine,
        engine_version=report.engine_version,
        convention=report.convention,
        mapping=report.mapping,
        mapping_steps=report.mapping_steps,
        stages=stages,
        static=expected_cost(priced.static, (1.0,)),
        expected=priced.expected,
        warnings=(*report.warnings, *_of_static(report.warnings, priced.static.warnings)),
        leaves_out=report.leaves_out,
        weight_density=priced.weight_density,
    )


def _of_static(told: Sequence[str], warnings: Sequence[str]) -> list[str]:
    """What is to be said of the static network alone."""
    return [f"Static network: {text}" for text in warnings if text not in told]


def engine_name(price: ModelPrice) -> str:
    """Engine and version, without the mapping, which stands beside it."""
    return f"{price.engine} {price.engine_version.removesuffix(', mapping optimized')}".strip()


def mapping_name(price: ModelPrice) -> str:
    """The mapping in words, with the steps that are switched off."""
    steps = ALL_MAPPING_STEPS if price.mapping_steps is None else price.mapping_steps
    missing = [name for name in ALL_MAPPING_STEPS if name not in steps]
    return f"mapping {price.mapping}" + (f" without {', '.join(missing)}" if missing else "")


def cost_json(priced: Priced) -> Any:
    """The price of a model as plain data for ``json.dumps``."""
    return jsonio.to_data(model_price(priced))


def cost_table(priced: Priced) -> "RichTable":
    """The price of a model: a row per exit, then the static network and, with exit rates, the expected cost."""
    price = model_price(priced)
    terms = f"{engine_name(price)}, convention {price.convention}, {mapping_name(price)}"
    table = simple_table(f"{price.model} on {price.accelerator} ({terms}); {_UNITS}")
    table.add_column("To exit", overflow="fold")
    for heading in ("Backbone", "Branch", *_COST_HEADINGS):
        table.add_column(heading, justify="right", overflow="fold")
    for stage, cost in zip(price.stages, priced.report.stages, strict=True):
        own = (stage.backbone_latency_cycles, stage.branch_latency_cycles)
        busy = (units.cycles(value).removesuffix("cycles").rstrip() for value in own)
        table.add_row(*map(plain_text, (stage.exit, *busy, *_cost_cells(_cost_to(cost)))))
    table.add_section()
    table.add_row(*map(plain_text, ("static network", "", "", *_cost_cells(price.static))))
    notes = []
    if price.expected is not None:
        table.add_row(*map(plain_text, ("expected (mean)", "", "", *_cost_cells(price.expected))))
        saved = units.reduction(
            price.expected.energy_delay_product_j_cycles, price.static.energy_delay_product_j_cycles
        )
        notes.append(f"{saved} energy-delay product, compared with the static network")
        products = (price.expected.energy_delay_product_j_cycles, price.expected.product_of_means_j_cycles)
        mean, other = map(units.product, products)
        notes.append(f"Expected product: {mean} as the mean of the products, {other} as the product of the means")
    if price.weight_density is not None:
        notes.append(f"Zero weights counted: {units.percent(1.0 - price.weight_density)} of those in the file")
    notes += price.warnings
    if price.leaves_out:
        notes.append("\n".join(("Left out:", *(f"- {sentence}" for sentence in price.leaves_out))))
    table.caption = plain_text("\n".join(notes)) if notes else None
    return table


def _cost_to(stage: StageCost) -> FrontCosts:
    """What an image costs that leaves at this exit."""
    return FrontCosts(
        stage.latency_to_exit_cycles,
        stage.energy_to_exit_pj,
        float(stage.macs_to_exit),
        stage.product_to_exit_j_cycles,
    )


def simple_table(title: str) -> "RichTable":
    """An empty table in the style of all of ours."""
    from rich import box
    from rich.table import Table as RichTable

    return RichTable(
        title=plain_text(title),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )


def plain_text(content: str) -> "Text":
    """Text that the terminal shows as it is: no markup, no control sequences from names in files."""
    from rich.text import Text

    return Text("".join(char if char.isprintable() or char in f"\n{units.NBSP}" else "�" for char in content))
