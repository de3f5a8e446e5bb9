"""Makes the table of a run: every backbone of a restricted space is run once with all of its exits."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.cost.pricing import build_cost_model
from offramp.cost.report import CostModel, CostReport
from offramp.data.labelled_data import Split
from offramp.deploy.bundle.licence import NOT_STATED, read_licence
from offramp.errors import InputError, OfframpError, RunError, TableError
from offramp.exits.confidence_measures import MEASURES, confidence
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.loader import accelerator_names, load_accelerator
from offramp.progress import Reporter, Task
from offramp.records import RunStore, read_run
from offramp.run.context import Context
from offramp.run.evaluators.cached_logits import BackboneLogits, CachedLogitsEvaluator
from offramp.run.evaluators.exit_costs import exit_costs
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.input_fingerprints import check_inputs, check_places, check_trusted
from offramp.run.network_preparation import EvaluationData
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from offramp.space.architecture import Architecture, ExitChoice
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.tabular.logit_codes import decode_logits, encode_logits
from offramp.tabular.table_file import TableEntry, TableLayer, write_table
from offramp.tabular.table_header import SCHEMA, SPLITS, TableAccelerator, TableHeader
from offramp.tabular.table_space import every_backbone, num_backbones, table_space
from offramp.train.checkpoint import load_checkpoint
from offramp.version import __version__
from offramp.workload.graph import Role


@dataclass(frozen=True)
class TableOptions:
    """What is put into a table.

    Attributes:
        backbones: Largest number of backbones; the space is restricted to as many.
        samples: Largest number of samples of each split.
        bits: Bits of a logit, 8 or 16.
        licence: The licence of the table; None = that of the run's settings.
        accelerators: Names or files of accelerators; None = all shipped ones.
        trust: Whether files that the run names are read, although somebody else began it.
    """

    backbones: int = 100
    samples: int = 2_000
    bits: int = 8
    licence: str | None = None
    accelerators: tuple[str, ...] | None = None
    trust: bool = False


@dataclass(frozen=True)
class _Priced:
    """An accelerator that prices the networks of the run."""

    accelerator: Accelerator
    cost_model: CostModel


def make_table(run: Path, output: Path, options: TableOptions, reporter: Reporter) -> TableHeader:
    """Write the table of a run whose supernet is trained.

    Args:
        run: The run folder.
        output: The file to write; an existing one is replaced.
        options: What is put into the table.
        reporter: Shows the progress.

    Returns:
        The header of the table.

    Raises:
        RunError: The run cannot be used, or its supernet is not trained.
        TableError: No licence is stated, or no accelerator can price the networks.
        InputError: The space of the run has no table, or its data are others than before.
    """
    store = read_run(run)
    try:
        licence = _licence(options.licence or store.config.deploy.licence)
        context = _trained_context(store, reporter, options.trust)
    finally:
        store.close()
    return write_context_table(context, output, licence, options, reporter)


def write_context_table(
    context: Context, output: Path, licence: str, options: TableOptions, reporter: Reporter
) -> TableHeader:
    """Write the table of a trained supernet.

    Args:
        context: The parts of a run, with the trained weights.
        output: The file to write; an existing one is replaced.
        licence: The licence of the table.
        options: What is put into the table.
        reporter: Shows the progress.

    Returns:
        The header of the table.

    Raises:
        TableError: The exits reuse the logits of others, or no accelerator can price the networks.
        InputError: The space of the run has no table.
    """
    if len(context.supernet.links):
        raise TableError(
            "A table must have one set of logits per exit, but the exits of this run reuse those of earlier exits. "
            "Make the table of a run with space.exit_reuse=none."
        )
    space = table_space(context.space, options.backbones)
    dataset, seed = context.dataset, context.config.seed
    splits = {
        SPLITS[0]: context.evaluator.data.validation.subset(options.samples, seed),
        SPLITS[1]: dataset.splits.test.subset(options.samples, seed),
    }
    both = Split(*(np.concatenate([getattr(part, name) for part in splits.values()]) for name in ("samples", "labels")))
    maker = _TableMaker(context, space, both, len(splits[SPLITS[0]]), options)
    header = TableHeader(
        schema=SCHEMA,
        data=dataset.name,
        licence=licence,
        origin=f"made by offramp {__version__} from a supernet of {space.backbone.name} with {context.epochs} epochs "
        f"and seed {seed}; batch norms of each backbone are calibrated on training samples",
        class_names=tuple(dataset.class_names),
        input_shape=dataset.input_shape,
        space=space,
        validation_samples=len(splits[SPLITS[0]]),
        test_samples=len(splits[SPLITS[1]]),
        code_bits=options.bits,
        confidence_errors=maker.errors,
        accelerators=maker.accelerators,
        left_out=tuple(maker.left_out),
    )
    labels = {name: part.labels for name, part in splits.items()}
    with reporter.task("Making the table") as task:
        write_table(output, header, labels, maker.entries(task))
    return header


def _licence(given: str | None) -> str:
    stated = read_licence(given).statement
    if stated == NOT_STATED:
        raise TableError("A table must state its licence. Give it with --licence, for example --licence CC-BY-4.0.")
    return stated


def _trained_context(store: RunStore, reporter: Reporter, trust: bool) -> Context:
    config = with_settings(store.config, {"execution.workers": None, "execution.cluster": None})
    check_trusted(store, config, (), trust=trust)
    check_places(config)
    store.verify_checkpoints()
    if store.checkpoint.name not in {item.path for item in store.checkpoints()}:
        raise RunError(f"The supernet of run {str(store.folder)!r} must be trained, but it is not. Go on with the run.")
    context = build_context(config, build_dataset(config, reporter))
    check_inputs(store, context, accept_changes=True)
    load_checkpoint(store.checkpoint, context.supernet)
    return context


class _TableMaker:
    """Runs and prices one backbone after the other.

    Attributes:
        errors: Largest error of a confidence so far, by measure.
        accelerators: The accelerators that price the networks.
        left_out: One sentence for each that does not.
    """

    def __init__(
        self, context: Context, space: EarlyExitSpace, samples: Split, num_validation: int, options: TableOptions
    ) -> None:
        self._space, self._labels, self._bits = space, samples.labels, options.bits
        self._num_validation = num_validation
        direct = context.evaluator
        data = EvaluationData(direct.data.calibration, samples, direct.data.preprocessing)
        evaluator = SupernetEvaluator(
            context.supernet, data, context.compute, context.search_cost, context.accelerator, ()
        )
        self._evaluator = CachedLogitsEvaluator(evaluator, space, capacity=1)
        self.errors: dict[str, float] = dict.fromkeys(MEASURES, 0.0)
        self.left_out: list[str] = []
        self._priced = list(self._usable(context.config, options))
        if not self._priced:
            raise TableError(f"A table must have costs, but no accelerator prices its networks: {self.left_out[0]}")
        self.accelerators = tuple(self._described(item) for item in self._priced)

    def _usable(self, config: Config, options: TableOptions) -> Iterator[_Priced]:
        """The accelerators that price the largest backbone with exits."""
        names = accelerator_names() if options.accelerators is None else options.accelerators
        largest = self._space.max_architecture()
        ordered = sorted(names, key=lambda name: name != config.cost.accelerator)
        for name in ordered:
            cost = with_settings(config, {"cost.accelerator": name, "cost.mapping": "layer_by_layer"}).cost
            try:
                accelerator = load_accelerator(name)
                item = _Priced(accelerator, build_cost_model(cost, coarse=True, accelerator=accelerator))
                self._costs(item, self._evaluator.backbone_logits(largest), largest)
            except (InputError, OfframpError) as exc:
                if options.accelerators is not None:
                    raise
                self.left_out.append(f"{name}: {exc}")
            else:
                yield item

    def _described(self, item: _Priced) -> TableAccelerator:
        held = self._evaluator.backbone_logits(self._space.min_architecture())
        report = item.cost_model.estimate(held.workloads.workload(()), item.accelerator)
        return TableAccelerator(item.accelerator.name, f"{item.cost_model.name}, layer by layer", report.leaves_out)

    def entries(self, task: Task) -> Iterator[TableEntry]:
        """What the table holds of each backbone."""
        total = num_backbones(self._space.backbone)
        for index, backbone in enumerate(every_backbone(self._space)):
            task.update(index / total, f"backbone {index + 1} of {total}")
            held = self._evaluator.backbone_logits(backbone)
            logits = np.stack([*(held.logits[option] for option in held.options), held.final])
            codes = encode_logits(logits, self._bits)
            decoded = decode_logits(codes)
            for measure in MEASURES:
                error = np.abs(confidence(logits, measure) - confidence(decoded, measure)).max()
                self.errors[measure] = max(self.errors[measure], float(error))
            costs = [self._costs(item, held, backbone) for item in self._priced]
            yield TableEntry(
                codes={
                    SPLITS[0]: codes[:, : self._num_validation],
                    SPLITS[1]: codes[:, self._num_validation :],
                },
                to_tap=np.stack([item.to_tap for item in costs]),
                branch=np.stack([item.branch for item in costs]),
                layers=costs[0].layers,
                layer_costs=np.stack([item.layer_costs for item in costs]),
            )

    def _costs(self, item: _Priced, held: BackboneLogits, backbone: Architecture) -> "_BackboneCosts":
        reports: list[tuple[tuple[ExitChoice, ...], CostReport]] = []

        def price(architecture: Architecture) -> CostReport:
            report = item.cost_model.estimate(held.workloads.workload(architecture.exits), item.accelerator)
            reports.append((architecture.exits, report))
            return report

        found = exit_costs(backbone, held.options, price)
        layers: dict[tuple[int, str], TableLayer] = {}
        costs: list[tuple[float, float]] = []
        for exits, report in reports[1:] or reports:
            places = [*(held.options.index(choice) for choice in exits), len(held.options)]
            for layer in report.layers:
                is_branch = layer.role is not Role.BACKBONE
                row = TableLayer(layer.name, layer.op, places[layer.stage], is_branch, layer.macs)
                # Backbone layers have the same name in every group; branches differ by their option.
                key = (row.place if is_branch else -1, row.name)
                if key not in layers:
                    layers[key] = row
                    costs.append((layer.end_cycle - layer.start_cycle, layer.energy_pj))
        array = np.asarray(costs, dtype=np.float32).reshape(len(costs), 2)
        return _BackboneCosts(found.to_tap, found.branch, tuple(layers.values()), array)


@dataclass(frozen=True, eq=False)
class _BackboneCosts:
    """Costs of a backbone on one accelerator, as in `TableEntry`."""

    to_tap: NDArray[np.float64]
    branch: NDArray[np.float64]
    layers: tuple[TableLayer, ...]
    layer_costs: NDArray[np.float32]
