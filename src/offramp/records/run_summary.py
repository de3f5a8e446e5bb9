"""The summary of a run: all values that the report needs, convertible to JSON and back."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from offramp import jsonio
from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import Convention, CostReport
from offramp.errors import RunError
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.exits.quality.class_profiles import ClassProfiles
from offramp.exits.quality.sample_outcomes import SampleOutcomes
from offramp.files.safe_files import read_file, write_atomically
from offramp.objectives.evaluation import Constraint, Evaluation, Objective
from offramp.objectives.verdict import ComparedNetwork, Verdict, compare
from offramp.records.report_items import EnvironmentItem, SampleDecision, TrainingCurve
from offramp.records.static_match import StaticMatch
from offramp.settings.fine_tune_config import ACCURACY_MARGIN
from offramp.space.architecture import Architecture, ExitChoice


@dataclass(frozen=True)
class DataSummary:
    """The data set of a run.

    Attributes:
        name: Name of the data set.
        class_names: Names of the classes, in the order of their labels.
        input_shape: Shape of a sample (channels, height, width).
        num_train: Number of training samples.
        num_validation: Number of validation samples.
        num_test: Number of test samples.
        fingerprint: Checksum of the data set.
    """

    name: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    num_train: int
    num_validation: int
    num_test: int
    fingerprint: str


@dataclass(frozen=True)
class StaticReference:
    """A backbone with its final classifier alone.

    Attributes:
        name: Its name in tables and figures.
        architecture: Its architecture, without early exits.
        accuracy_validation: Accuracy on the validation samples, a share.
        accuracy_test: Accuracy on the test samples, a share; None = not measured.
        cost: Its cost, of one stage.
        recalls_test: Recall of each class on the test samples, None for a class without samples; empty = not measured.
    """

    name: str
    architecture: Architecture
    accuracy_validation: float
    accuracy_test: float | None
    cost: CostReport
    recalls_test: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        if len(self.cost.stages) != 1:
            raise ValueError(f"the cost of a static network must have one stage, got {len(self.cost.stages)}.")

    @property
    def expected(self) -> ExpectedCost:
        """The cost of a sample, the same for all."""
        return expected_cost(self.cost, (1.0,))


@dataclass(frozen=True)
class Measured:
    """Accuracy, exit rates and expected cost on one split.

    Attributes:
        split: The split.
        profile: Accuracies and exit rates.
        expected: Expected cost at these exit rates.
    """

    split: Literal["validation", "test"]
    profile: ExitProfile
    expected: ExpectedCost


@dataclass(frozen=True)
class ChosenNetwork:
    """A network picked from the front, after fine-tuning.

    Attributes:
        rule: The rules that picked it (knee, most_accurate, cheapest, ...), joined by ``+``.
        architecture: Its architecture.
        policy: Its exit policy, chosen on the validation samples.
        validation: Accuracies and exit rates on the validation samples.
        test: Accuracies and exit rates on the test samples, measured once; None = not measured.
        cost: Its cost, one stage per exit.
        expected_validation: Expected cost at the exit rates of ``validation``.
        expected_test: Expected cost at the exit rates of ``test``; None where ``test`` is None.
        static: The same backbone with its final classifier alone.
        bundle: Path of its bundle, relative to the run folder; empty = there is none.
        guarantee: What is promised for ``policy``; None = nothing.
        weight_density: The counted share of nonzero weights; None where the accelerator gains nothing from zeros.
        dropped: Exits of the candidate that were removed after fine-tuning.
        classes: What each class gets on the test samples; None = not measured.
        searched: The candidate as the search found it, with its figures before fine-tuning; None = not recorded.
        values: Metrics on the validation samples, after fine-tuning.
        outcomes: What it did to each test sample; None = not measured.
        match: The cheapest static network that is at least as accurate on validation; None = there is none, or the
            network is static itself. Where none of the trained ones is as accurate, it is the most accurate one, and
            its `as_accurate` is false.
        match_at_cost: The most accurate static network that costs no more; where all trained ones cost more, the
            cheapest, and its `no_dearer` is false.
        verdict: Whether its early exits pay against ``match``; None = there is no trained match to compare with.
        early_exit_weight: Weight of early exits' losses in its fine-tuning; None = not recorded.
        exit_of: Name of the finished network of which it is one exit alone, with the same weights; empty = it was
            trained by itself.
        exits_alone: Each exit that it was trained with, alone, as a static network with the same weights; without those
            that miss a constraint, and without the network itself. Empty in a summary: those that chosen networks are
            compared with are among its `static_networks`.
    """

    rule: str
    architecture: Architecture
    policy: ExitPolicy
    validation: ExitProfile
    test: ExitProfile | None
    cost: CostReport
    expected_validation: ExpectedCost
    expected_test: ExpectedCost | None
    static: StaticReference
    bundle: str = ""
    guarantee: Guarantee | None = None
    weight_density: float | None = None
    dropped: tuple[ExitChoice, ...] = ()
    classes: ClassProfiles | None = None
    searched: Evaluation | None = None
    values: dict[str, float] = field(default_factory=dict)
    outcomes: SampleOutcomes | None = None
    match: StaticMatch | None = None
    match_at_cost: StaticMatch | None = None
    early_exit_weight: float | None = None
    verdict: Verdict | None = None
    exit_of: str = ""
    exits_alone: tuple["ChosenNetwork", ...] = ()

    def __post_init__(self) -> None:
        exits = len(self.cost.stages)
        if len(self.policy.thresholds) != exits - 1:
            raise ValueError(
                f"`policy` must have one threshold per exit but the last ({exits - 1}), "
                f"got {len(self.policy.thresholds)}."
            )
        for profile in (self.validation, self.test):
            if profile is not None and not exits == len(profile.rates) == len(profile.accuracies):
                raise ValueError(f"profiles must have one rate and accuracy per exit ({exits}), got {profile}.")
        if (self.test is None) != (self.expected_test is None):
            raise ValueError("`test` and `expected_test` must be given together or not at all.")
        if {choice.tap for choice in self.dropped} & {choice.tap for choice in self.architecture.exits}:
            raise ValueError("`dropped` must be of taps without an exit.")
        place = PurePosixPath(self.bundle)
        if place.is_absolute() or ".." in place.parts:
            raise ValueError(f"`bundle` must lie inside the run folder, got {self.bundle!r}.")

    @property
    def num_exits(self) -> int:
        """Number of exits, the final one included."""
        return len(self.cost.stages)

    @property
    def candidate(self) -> Architecture:
        """The architecture that the search found, with all that was removed later."""
        if self.searched is not None:
            return self.searched.architecture
        exits = sorted((*self.architecture.exits, *self.dropped), key=lambda choice: choice.tap)
        return replace(self.architecture, exits=tuple(exits))

    @property
    def measured(self) -> Measured:
        """The test results, or the validation results where there are none."""
        if self.test is not None and self.expected_test is not None:
            return Measured("test", self.test, self.expected_test)
        return Measured("validation", self.validation, self.expected_validation)

    @property
    def better_static(self) -> StaticMatch | None:
        """The static network to take where early exits do not pay; None where they pay, or that is not decided.

        It is the match where early exits cost no less than it, else the match at cost.
        """
        if self.verdict is None or self.verdict.answer != "do not pay":
            return None
        return self.match if self.verdict.costs_no_less else self.match_at_cost


@dataclass(frozen=True)
class RunSummary:
    """The results of a run.

    Attributes:
        title: Title of the report.
        created: When the summary was made.
        offramp_version: Version of offramp.
        data: The data set.
        accelerator: Name of the accelerator.
        engine: Name of the cost engine.
        engine_version: Version of the cost engine.
        convention: How pooling layers are charged.
        seed: Seed of the run.
        objectives: Objectives of the search.
        constraints: Constraints of the search.
        algorithm: Name of the search algorithm.
        max_depths: Largest depth of each backbone stage in the search space; it maps taps of an architecture to its
            blocks.
        evaluations: All evaluations in the order of the proposals.
        front_indices: Indices into ``evaluations`` of the members of the Pareto front of early-exit networks.
        chosen: The networks picked from the front.
        static_reference: The network to which all costs are compared.
        training: Curves of the supernet's training and of fine-tuning.
        samples: Test images with decisions.
        settings_text: All settings as YAML.
        duration_s: Duration of the run in seconds; None = unknown.
        clock_hz: Clock frequency of the accelerator in Hz; None = unknown.
        core_names: Names of the accelerator's cores, without its off-chip memories.
        environment: Facts about the machine and the software.
        warnings: What a reader should know about the figures.
        alerts: What a reader must know before any figure: too little learned, or a guarantee that could not be kept.
        static_front: The Pareto front of static networks, in the search.
        num_static_candidates: Number of static networks that the search judged.
        static_networks: The static networks that were fine-tuned as matches of the chosen ones, each of one stage, and
            the exits of finished networks alone that are matches.
        volume_beyond_static: What early exits add to the front: see `offramp.objectives.fronts.Fronts.volume_beyond`;
            None = not computed.
        format_version: Version of the format; 1.
    """

    title: str
    created: datetime
    offramp_version: str
    data: DataSummary
    accelerator: str
    engine: str
    engine_version: str
    convention: Convention
    seed: int
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    algorithm: str
    max_depths: tuple[int, ...]
    evaluations: tuple[Evaluation, ...]
    front_indices: tuple[int, ...]
    chosen: tuple[ChosenNetwork, ...]
    static_reference: StaticReference
    training: tuple[TrainingCurve, ...] = ()
    samples: tuple[SampleDecision, ...] = ()
    settings_text: str = ""
    duration_s: float | None = None
    clock_hz: float | None = None
    core_names: tuple[str, ...] = ()
    environment: tuple[EnvironmentItem, ...] = ()
    warnings: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    static_front: tuple[Evaluation, ...] = ()
    num_static_candidates: int = 0
    static_networks: tuple[ChosenNetwork, ...] = ()
    volume_beyond_static: float | None = None
    format_version: int = 1

    def __post_init__(self) -> None:
        outside = [index for index in self.front_indices if not 0 <= index < len(self.evaluations)]
        if outside:
            raise ValueError(f"`front_indices` must point into {len(self.evaluations)} evaluations, got {outside}.")
        if self.format_version != 1:
            raise ValueError(f"a run summary must have format version 1, got {self.format_version}.")

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """The members of the Pareto front of early-exit networks."""
        return tuple(self.evaluations[index] for index in self.front_indices)

    @property
    def picked(self) -> ChosenNetwork | None:
        """The network picked as the knee, otherwise the first chosen one; None = there is none."""
        knees = [network for network in self.chosen if "knee" in network.rule]
        return next(iter((*knees, *self.chosen)), None)

    @property
    def exported(self) -> tuple[ChosenNetwork, ...]:
        """The chosen networks, and the static ones that have a bundle because early exits do not pay."""
        return (*self.chosen, *(network for network in self.static_networks if network.bundle))

    @property
    def recommended(self) -> ChosenNetwork | None:
        """The network to deploy: the picked one, or a static one where early exits do not pay; None = there is none."""
        picked = self.picked
        if picked is None or picked.better_static is None:
            return picked
        name = picked.better_static.name
        return next((item for item in (*self.static_networks, *self.chosen) if item.rule == name), picked)


def with_verdict(network: ChosenNetwork, margin: float = ACCURACY_MARGIN) -> ChosenNetwork:
    """Compare a network with its matches on the test samples.

    Args:
        network: The network.
        margin: Accuracy that it may lose against its match, a share.

    Returns:
        The network with its verdict; without one where a network is static, or was not tested with a trained match.
    """
    match = network.match
    if network.num_exits == 1 or network.outcomes is None or match is None or match.outcomes is None:
        return replace(network, verdict=None)
    mine, other = ComparedNetwork(network.outcomes, network.cost), ComparedNetwork(match.outcomes, match.cost)
    second, at_cost = network.match_at_cost, None
    if second is not None and second.outcomes is not None and second.no_dearer:
        at_cost = ComparedNetwork(second.outcomes, second.cost)
    return replace(network, verdict=compare(mine, other, at_cost, margin=margin))


def save_summary(summary: RunSummary, path: Path) -> None:
    """Write a summary as JSON.

    Args:
        summary: The summary.
        path: The file; an existing one is replaced.

    Raises:
        RunError: The file cannot be written.
    """
    try:
        write_atomically(path, jsonio.dumps(summary))
    except OSError as exc:
        raise RunError(f"The run summary cannot be written to '{path}': {exc}.") from exc


def load_summary(path: Path) -> RunSummary:
    """Read a summary that `save_summary` wrote.

    Args:
        path: The file.

    Returns:
        The summary.

    Raises:
        RunError: The file is missing, cannot be read, or is not a summary.
    """
    try:
        text = read_file(path, follow_links=False)
    except FileNotFoundError as exc:
        raise RunError(
            f"{str(path.parent)!r} must be a finished run folder, but it has no {path.name}: the search was "
            "stopped before its end, or is still running. Continue it with `offramp search --run FOLDER --resume`; "
            "`offramp front` and `offramp watch` show what is there."
        ) from exc
    except OSError as exc:
        fault = exc.strerror or exc
        raise RunError(f"The run summary '{path}' cannot be read ({fault}); is this a finished run folder?") from exc
    return jsonio.loads(RunSummary, text, what=f"Run summary '{path}'", error=RunError)
