"""Context: the objects that one run works with, built once from its settings."""

from dataclasses import dataclass

from offramp.cost.report import CostModel
from offramp.data.augmentation import Augmentation
from offramp.data.labelled_data import Dataset
from offramp.exits.quality.quality_measures import QualityMeasures
from offramp.hardware.accelerator import Accelerator
from offramp.nn.backbone import BackboneFamily
from offramp.nn.supernet.supernet import Supernet
from offramp.objectives.evaluation import Constraint, Objective
from offramp.run.devices.team import TrainingTeam
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.settings.config import Config
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.train.compute import Compute
from offramp.train.data_parallel import DataParallel
from offramp.train.loss import LossSettings, TrainedExits, balanced_weights


@dataclass(frozen=True)
class Context:
    """The parts of a run.

    Attributes:
        config: The settings, as the user gave them, with the backbone that was chosen for the data.
        dataset: The samples, split and with their statistics.
        family: The backbone family, or the adopted model.
        space: The search space.
        supernet: The network that holds the weights of all candidates; training changes it in place.
        compute: Device and number format of training and evaluation.
        accelerator: The accelerator that networks are priced for.
        search_cost: Prices the candidates of the search, at the coarser setting where the engine has one.
        report_cost: Prices the networks that are reported and exported.
        objectives: What the search improves.
        constraints: What chosen networks must keep.
        measures: The measures of good answers that thresholds are chosen by.
        augmentation: Random changes of training images; None = none.
        epochs: Epochs of the supernet's training without a time budget.
        batch_size: Samples of a training step.
        fine_tune_epochs: Epochs of fine-tuning without a time budget; 0 = no fine-tuning.
        evaluator: Judges a candidate by the weights that it inherits from ``supernet``.
        team: The processes that train together; None = this process trains alone.
    """

    config: Config
    dataset: Dataset
    family: BackboneFamily
    space: EarlyExitSpace
    supernet: Supernet
    compute: Compute
    accelerator: Accelerator
    search_cost: CostModel
    report_cost: CostModel
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    measures: QualityMeasures
    augmentation: Augmentation | None
    epochs: int
    batch_size: int
    fine_tune_epochs: int
    evaluator: SupernetEvaluator
    team: TrainingTeam | None = None

    @property
    def parallel(self) -> DataParallel | None:
        """This process among those that train together; None = it trains alone."""
        return None if self.team is None else self.team.parallel

    def losses(self, *, fine_tuning: bool = False, trained_exits: TrainedExits = "all") -> LossSettings:
        """The losses of the supernet or of fine-tuned networks.

        Args:
            fine_tuning: Whether a network is fine-tuned, which has a weight of early exits and a teacher of its own.
            trained_exits: Which exits have a loss.

        Returns:
            The settings of the losses.
        """
        train, fine_tune = self.config.train, self.config.fine_tune
        return LossSettings(
            label_smoothing=train.label_smoothing,
            distillation_weight=train.distillation_weight,
            temperature=train.distillation_temperature,
            early_exit_weight=fine_tune.early_exit_weight if fine_tuning else 1.0,
            class_weights=balanced_weights(self.dataset.splits.train.labels, self.dataset.num_classes)
            if train.class_weights == "balanced"
            else (),
            sample_weighting=train.sample_weighting,
            later_exits_teach=fine_tuning and fine_tune.teacher == "later_exits",
            gradient_equilibrium=train.gradient_equilibrium,
            trained_exits=trained_exits,
        )
