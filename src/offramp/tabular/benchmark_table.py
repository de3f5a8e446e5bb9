"""Table: a tabular benchmark of early-exit networks, on which any search algorithm runs without torch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.algorithms.exact.backbone_solver import TableSolver, UsesBackboneSolver
from offramp.algorithms.exact.exit_solver import cost_columns, solve
from offramp.algorithms.exact.exit_table import METRICS, ExitCosts, ExitTable
from offramp.errors import InputError, TableError
from offramp.exits.quality.quality_measures import ACCURACY
from offramp.objectives.evaluation import Constraint, Evaluation, Objective, SearchAlgorithm, Status
from offramp.objectives.pareto import ParetoFront, pareto_front
from offramp.objectives.parse import DEFAULT_OBJECTIVES
from offramp.space.architecture import Architecture
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.tabular.logit_codes import decode_logits
from offramp.tabular.table_file import TableFile, TableLayer
from offramp.tabular.table_header import SPLITS, TableHeader
from offramp.tabular.table_space import every_backbone
from offramp.tabular.tabulated_backbone import TabulatedBackbone

SHIPPED = {"digits": Path(__file__).with_name("digits.npz")}
"""Tables that are part of the package, by name."""
_METRICS = (ACCURACY, *METRICS)


@dataclass(frozen=True)
class TableSearch:
    """What a search on a table found.

    Attributes:
        algorithm: Name of the algorithm.
        objectives: The objectives.
        evaluations: All evaluations, in the order of the proposals.
        front: The Pareto front of the evaluations.
        seconds: Seconds that the search took, evaluation included.
    """

    algorithm: str
    objectives: tuple[Objective, ...]
    evaluations: tuple[Evaluation, ...]
    front: ParetoFront
    seconds: float


class Table:
    """The logits and costs of all early-exit networks of a space, read from a file.

    It evaluates architectures, provides exit tables to the exact search, and knows the true front.

    Attributes:
        header: What the table is of.
        accelerator: Name of the accelerator whose costs are used.
        constraints: What networks should keep.
    """

    def __init__(self, file: TableFile, accelerator: str | None = None, constraints: Sequence[Constraint] = ()) -> None:
        """Use an open file; `load` opens one.

        Args:
            file: The file.
            accelerator: Name of the accelerator; None = the first one of the table.
            constraints: What networks should keep.

        Raises:
            TableError: The table has no costs on the accelerator, or no value of a constraint's metric.
        """
        self.header: TableHeader = file.header
        self.accelerator = accelerator or self.header.accelerators[0].name
        self.constraints = tuple(constraints)
        names = [item.name for item in self.header.accelerators]
        if self.accelerator not in names:
            raise TableError(f"The table is for {', '.join(names)}, got {self.accelerator!r}. Choose among these.")
        self._check_metrics([item.metric for item in constraints])
        self._file = file
        self._place = names.index(self.accelerator)
        self._number = {backbone: index for index, backbone in enumerate(every_backbone(self.header.space))}
        self._labels: dict[str, NDArray[np.int64]] = {}
        self._known: dict[tuple[str, Architecture], TabulatedBackbone] = {}
        self._fronts: dict[tuple[Objective, ...], ParetoFront] = {}

    @classmethod
    def load(cls, path: str | Path, accelerator: str | None = None, constraints: Sequence[Constraint] = ()) -> "Table":
        """Open a table.

        Args:
            path: The file, or the name of a shipped table: ``digits``.
            accelerator: Name of the accelerator; None = the first one of the table.
            constraints: What networks should keep.

        Returns:
            The table.

        Raises:
            TableError: The file is no table or is damaged, the table has no costs on the accelerator, or no value of a
                constraint's metric.
        """
        return cls(TableFile(SHIPPED.get(str(path), Path(path))), accelerator, constraints)

    @property
    def space(self) -> EarlyExitSpace:
        """The search space."""
        return self.header.space

    @property
    def backbones(self) -> tuple[Architecture, ...]:
        """All backbones of the table."""
        return tuple(self._number)

    def backbone(self, architecture: Architecture, split: str = SPLITS[0]) -> TabulatedBackbone:
        """Read one backbone; it is kept.

        Args:
            architecture: A network; its exits do not matter.
            split: ``validation`` or ``test``.

        Returns:
            The backbone with the costs on the accelerator of this table.

        Raises:
            TableError: The table does not hold the backbone, or what it holds is damaged.
        """
        key = architecture.without_exits()
        if (split, key) not in self._known:
            if key not in self._number or split not in SPLITS:
                raise TableError("The table must hold the backbone of the architecture, but it does not.")
            self._known[split, key] = self._read(key, split)
        return self._known[split, key]

    def _read(self, backbone: Architecture, split: str) -> TabulatedBackbone:
        number, options = self._number[backbone], self.space.exit_options(backbone)
        if split not in self._labels:
            self._labels[split] = self._file.labels(split)
        to_tap, branch = self._file.costs(number, len(options))
        return TabulatedBackbone(
            backbone,
            options,
            decode_logits(self._file.codes(number, len(options), split)),
            self._labels[split],
            ExitCosts(to_tap[self._place], branch[self._place]),
            self.accelerator,
            self.header.max_depths,
        )

    def layers(self, backbone: Architecture) -> tuple[tuple[TableLayer, float, float], ...]:
        """Give the cost of each layer on the accelerator.

        Args:
            backbone: A network; its exits do not matter.

        Returns:
            Each layer of the backbone and of all branches with its cycles and its energy in picojoule.

        Raises:
            TableError: The table does not hold the backbone, or what it holds is damaged.
        """
        number = self._number.get(backbone.without_exits())
        if number is None:
            raise TableError("The table must hold the backbone of the architecture, but it does not.")
        layers = self._file.layers(number, len(self.space.exit_options(backbone)))
        costs = self._file.layer_costs(number, len(layers))[self._place]
        return tuple((layer, float(row[0]), float(row[1])) for layer, row in zip(layers, costs, strict=True))

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Evaluate a network on the validation samples.

        Args:
            architecture: The network.

        Returns:
            Its evaluation; a failed one where the table does not hold it.

        Raises:
            TableError: What the table holds of it is damaged.
        """
        if architecture.without_exits() not in self._number:
            return Evaluation(architecture, Status.FAILED, {}, error="TableError: the table has no such backbone")
        return self.backbone(architecture).evaluate(architecture, self.constraints)

    def test(self, evaluation: Evaluation) -> Evaluation:
        """Measure a network on the test samples, with the thresholds that were chosen on the validation samples.

        Args:
            evaluation: Its complete evaluation by this table.

        Returns:
            The evaluation on the test samples.

        Raises:
            TableError: The table does not hold the network.
        """
        architecture = evaluation.architecture
        if architecture.head is None:
            return self.backbone(architecture, SPLITS[1]).measure(evaluation, self.constraints)
        # A network that ends at an exit is the same for all backbones that begin alike.
        for backbone in self._number:
            held = self.backbone(backbone)
            if any(held.static(place).architecture == architecture for place in range(len(held.options))):
                return self.backbone(backbone, SPLITS[1]).measure(evaluation, self.constraints)
        raise TableError("The table must hold the network, but none of its backbones can be cut to it.")

    def table(self, backbone: Architecture) -> ExitTable | None:
        """Give what the exact search solves a backbone from.

        Args:
            backbone: The backbone, without early exits.

        Returns:
            The exit table; None if the table does not hold the backbone.

        Raises:
            TableError: What the table holds of it is damaged.
        """
        if backbone not in self._number:
            return None
        return self.backbone(backbone).exit_table(self.space.measures)

    def static_candidates(self, backbone: Architecture) -> tuple[Evaluation, ...]:
        """The static networks of one backbone, cut at every tap with every branch, and as it is.

        Args:
            backbone: The backbone, without early exits.

        Returns:
            Their evaluations.
        """
        held = self.backbone(backbone)
        return tuple(held.static(place, self.constraints) for place in range(len(held.options) + 1))

    def statics(self) -> tuple[Evaluation, ...]:
        """All static networks: every backbone cut at every tap with every branch, and as it is.

        Returns:
            Their evaluations, each once.
        """
        found: dict[Architecture, Evaluation] = {}
        for backbone in self._number:
            for evaluation in self.static_candidates(backbone):
                found.setdefault(evaluation.architecture, evaluation)
        return tuple(found.values())

    def true_front(self, objectives: Sequence[Objective] = DEFAULT_OBJECTIVES) -> ParetoFront:
        """Find the Pareto front of all networks of the space; it is kept.

        Every set of exits of every backbone is enumerated at every threshold, so that none can be missing.

        Args:
            objectives: The objectives: accuracy and costs.

        Returns:
            The front.

        Raises:
            InputError: An objective is no metric of a table.
            TableError: The table has constraints, which change the choice of thresholds, or is damaged.
        """
        goals = tuple(objectives)
        self._check_metrics([item.metric for item in goals])
        if self.constraints:
            raise TableError("The true front is known without constraints only. Leave the constraints out.")
        if goals not in self._fronts:
            columns = cost_columns(goals, ())
            found: list[Evaluation] = []
            for backbone in self._number:
                held = self.backbone(backbone)
                table = held.exit_table(self.space.measures)
                solution = solve(table, self.space.max_exits, self.space.accuracy_drops, columns)
                found = list(pareto_front([*found, *map(held.evaluate, solution.candidates)], goals))
            self._fronts[goals] = pareto_front(found, goals)
        return self._fronts[goals]

    def regret(self, evaluations: Sequence[Evaluation], objectives: Sequence[Objective] = DEFAULT_OBJECTIVES) -> float:
        """Measure how much of the true front's hypervolume evaluations miss.

        The reference point has the accuracy of chance and the costs of the dearest backbone without exits.

        Args:
            evaluations: Evaluations by this table.
            objectives: The objectives: accuracy and costs.

        Returns:
            1 - volume of the evaluations / volume of the true front, from 0 (all found) to 1.

        Raises:
            InputError: An objective is no metric of a table.
            TableError: The table has constraints, or is damaged.
        """
        truth = self.true_front(objectives)
        reference = self.reference_point(objectives)
        whole = truth.hypervolume(reference)
        found = pareto_front(evaluations, objectives).hypervolume(reference)
        return max(0.0, 1.0 - found / whole) if whole > 0 else 0.0

    def reference_point(self, objectives: Sequence[Objective] = DEFAULT_OBJECTIVES) -> tuple[float, ...]:
        """Give the point that hypervolumes are measured from.

        Args:
            objectives: The objectives: accuracy and costs.

        Returns:
            The accuracy of chance, and the costs of the dearest backbone without exits, in the order of the objectives.
        """
        static = [self.backbone(item).static(len(self.backbone(item).options)).values for item in self._number]
        return tuple(
            1.0 / len(self.header.class_names)
            if goal.metric == ACCURACY
            else max(values[goal.metric] for values in static)
            for goal in objectives
        )

    def search(
        self,
        algorithm: str = "exact",
        *,
        evaluations: int = 200,
        batch: int = 20,
        objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
        seed: int = 0,
    ) -> TableSearch:
        """Run a search algorithm on the table.

        Args:
            algorithm: Registered name of the algorithm.
            evaluations: Number of candidates to evaluate, at least 1.
            batch: Number of candidates that are proposed together, at least 1.
            objectives: The objectives: accuracy and costs.
            seed: Seed of all randomness.

        Returns:
            What it found.

        Raises:
            InputError: There is no such algorithm, a number is too small, or an objective is no metric of a table.
        """
        if evaluations < 1 or batch < 1:
            raise InputError(f"`evaluations` and `batch` must be at least 1, got {evaluations} and {batch}.")
        began = time.monotonic()
        chosen = self.build_algorithm(algorithm, objectives, seed)
        told: list[Evaluation] = []
        while len(told) < evaluations and (asked := chosen.ask(min(batch, evaluations - len(told)))):
            found = [self.evaluate(architecture) for architecture in asked]
            chosen.tell(found)
            told += found
        front = pareto_front(told, objectives)
        return TableSearch(algorithm, tuple(objectives), tuple(told), front, time.monotonic() - began)

    def build_algorithm(
        self, name: str, objectives: Sequence[Objective] = DEFAULT_OBJECTIVES, seed: int = 0
    ) -> SearchAlgorithm:
        """Build a search algorithm for this table.

        Args:
            name: Registered name of the algorithm.
            objectives: The objectives: accuracy and costs.
            seed: Seed of all randomness.

        Returns:
            An algorithm that has proposed nothing yet; one that solves backbones solves them from this table.

        Raises:
            InputError: There is no such algorithm, or an objective is no metric of a table.
        """
        self._check_metrics([item.metric for item in objectives])
        algorithm = ALGORITHMS.get(name)(self.space, tuple(objectives), self.constraints, seed)
        if isinstance(algorithm, UsesBackboneSolver):
            algorithm.use_solver(TableSolver(self, self.space, objectives, self.constraints))
        return algorithm

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check_metrics(self, metrics: Sequence[str]) -> None:
        unknown = [name for name in metrics if name not in _METRICS]
        if unknown:
            raise InputError(f"A table knows the metrics {', '.join(_METRICS)}, got {unknown[0]}. Choose among them.")
