"""StaticMatch: the static network that a chosen network is compared with."""

from dataclasses import dataclass

from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.report import CostReport
from offramp.exits.quality.sample_outcomes import SampleOutcomes
from offramp.space.architecture import Architecture


@dataclass(frozen=True)
class StaticMatch:
    """A static network that a chosen network is compared with.

    Attributes:
        name: Its name: where it was trained, the `rule` of one of `RunSummary.static_networks`.
        architecture: Its architecture, without early exits.
        accuracy_validation: Accuracy on the validation samples, a share: after training, or in the search if it was not
            trained.
        accuracy_test: Accuracy on the test samples, a share, measured once; None = not trained, hence not measured.
        cost: Its cost, of one stage.
        trained: Whether it was fine-tuned as the chosen network was, by itself or as a part. If not, it is to be
            compared with the figures of `ChosenNetwork.searched`.
        as_accurate: Whether it is at least as good on validation as the chosen network, both as they are now.
        no_dearer: Whether it costs no more than the chosen network does on validation.
        outcomes: What it did to each test sample; None = not measured.
        exit_of: Name of the finished network of which it is one exit alone, with the same weights; empty = it was
            trained by itself.
    """

    name: str
    architecture: Architecture
    accuracy_validation: float
    accuracy_test: float | None
    cost: CostReport
    trained: bool
    as_accurate: bool
    no_dearer: bool
    outcomes: SampleOutcomes | None = None
    exit_of: str = ""

    def __post_init__(self) -> None:
        if not self.architecture.is_static or len(self.cost.stages) != 1:
            raise ValueError(
                f"a match must be static and its cost of one stage, got {len(self.architecture.exits)} early exits and "
                f"{len(self.cost.stages)} stages."
            )
        if self.accuracy_test is not None and not self.trained:
            raise ValueError("a network that was not trained must have no accuracy on test samples.")

    @property
    def expected(self) -> ExpectedCost:
        """The cost of a sample, the same for all."""
        return expected_cost(self.cost, (1.0,))
