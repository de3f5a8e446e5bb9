"""RunSummary: all values that the report needs, convertible to JSON and back."""

import base64
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from offramp import jsonio
from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import Convention, CostReport
from offramp.errors import RunError
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.exits.exit_policy import ExitPolicy, ExitProfile
from offramp.objectives.evaluation import Constraint, Evaluation, Objective
from offramp.space.architecture import Architecture, ExitChoice

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class DataSummary:
    """What the networks were trained, chosen and tested on; ``input_shape`` is (channels, height, width)."""

    name: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    num_train: int
    num_validation: int
    num_test: int
    fingerprint: str


@dataclass(frozen=True)
class StaticReference:
    """A backbone with its final classifier alone; ``cost`` has the one stage that every sample runs."""

    name: str
    architecture: Architecture
    accuracy_validation: float
    accuracy_test: float | None
    cost: CostReport

    def __post_init__(self) -> None:
        if len(self.cost.stages) != 1:
            raise ValueError(f"the cost of a static network must have one stage, got {len(self.cost.stages)}.")

    @property
    def expected(self) -> ExpectedCost:
        return expected_cost(self.cost, (1.0,))


@dataclass(frozen=True)
class Measured:
    """Accuracy, exit rates and expected cost on one split."""

    split: Literal["validation", "test"]
    profile: ExitProfile
    expected: ExpectedCost


@dataclass(frozen=True)
class ChosenNetwork:
    """A network picked from the front, after fine-tuning; thresholds come from validation, test is measured once.

    ``rule`` says why it was picked (knee, most_accurate, cheapest, ...); ``static`` is the same backbone with its
    final classifier alone; ``guarantee`` is what was promised for ``policy``, if anything. ``weight_density``: the
    counted share of nonzero weights, None where the accelerator gains nothing from zeros. ``dropped`` are exits of the
    candidate that were taken out after fine-tuning.
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

    @property
    def num_exits(self) -> int:
        return len(self.cost.stages)

    @property
    def candidate(self) -> Architecture:
        """What the search found: with the exits that were taken out."""
        exits = sorted((*self.architecture.exits, *self.dropped), key=lambda choice: choice.tap)
        return replace(self.architecture, exits=tuple(exits))

    @property
    def measured(self) -> Measured:
        """The test results, or the validation results where nothing was tested."""
        if self.test is not None and self.expected_test is not None:
            return Measured("test", self.test, self.expected_test)
        return Measured("validation", self.validation, self.expected_validation)

    def static_accuracy(self, reference: StaticReference) -> float | None:
        """The accuracy of ``reference`` on the split of ``measured``."""
        return reference.accuracy_test if self.measured.split == "test" else reference.accuracy_validation


@dataclass(frozen=True)
class TrainingCurve:
    """Loss over the epochs and, per exit, validation accuracy over the epochs: ``accuracies[exit][epoch]``."""

    name: str
    epochs: tuple[int, ...]
    loss: tuple[float, ...]
    accuracies: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        for values in (self.loss, *self.accuracies):
            if len(values) != len(self.epochs):
                raise ValueError(f"curves must have one value per epoch ({len(self.epochs)}), got {len(values)}.")


@dataclass(frozen=True)
class SampleDecision:
    """One test image and what the network named ``network`` (a rule) decided; exits count from 0."""

    png_base64: str
    true_label: str
    predicted_label: str
    exit_index: int
    confidence: float
    network: str = ""

    def __post_init__(self) -> None:
        try:
            start = base64.b64decode(self.png_base64, validate=True)[: len(PNG_SIGNATURE)]
        except ValueError as exc:
            raise ValueError(f"`png_base64` must be base64 text: {exc}.") from exc
        if start != PNG_SIGNATURE:
            raise ValueError("`png_base64` must hold a PNG image.")
        if self.exit_index < 0:
            raise ValueError(f"`exit_index` must be >= 0, got {self.exit_index}.")

    @property
    def correct(self) -> bool:
        return self.true_label == self.predicted_label


@dataclass(frozen=True)
class EnvironmentItem:
    """One fact about the machine or the software, for example Python and its version."""

    name: str
    value: str


@dataclass(frozen=True)
class RunSummary:
    """A whole run. ``evaluations`` stand in the order in which they were made; ``front_indices`` point into them.

    ``static_reference`` is the one network that all reductions are against. ``max_depths`` is the largest depth of
    each backbone stage in the search space: it maps the tap numbers of an architecture to its blocks.
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
    format_version: int = 1

    def __post_init__(self) -> None:
        outside = [index for index in self.front_indices if not 0 <= index < len(self.evaluations)]
        if outside:
            raise ValueError(f"`front_indices` must point into {len(self.evaluations)} evaluations, got {outside}.")
        if self.format_version != 1:
            raise ValueError(f"a run summary must have format version 1, got {self.format_version}.")

    @property
    def front(self) -> tuple[Evaluation, ...]:
        return tuple(self.evaluations[index] for index in self.front_indices)

    @property
    def recommended(self) -> ChosenNetwork | None:
        """The knee if it was picked, otherwise the first network that was."""
        knees = [network for network in self.chosen if "knee" in network.rule]
        return next(iter((*knees, *self.chosen)), None)


def save_summary(summary: RunSummary, path: Path) -> None:
    """Write a summary as JSON."""
    try:
        jsonio.write_atomically(path, jsonio.dumps(summary))
    except OSError as exc:
        raise RunError(f"The run summary cannot be written to '{path}': {exc}.") from exc


def load_summary(path: Path) -> RunSummary:
    """Read a summary that ``save_summary`` wrote; a missing or damaged file raises RunError."""
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise RunError(f"The run summary '{path}' cannot be read ({exc}); is this a finished run folder?") from exc
    return jsonio.loads(RunSummary, text, what=f"Run summary '{path}'", error=RunError)
