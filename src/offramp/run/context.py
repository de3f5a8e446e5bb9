"""Context: the objects that one run works with, built once from its settings."""

from dataclasses import dataclass

from offramp.cost.report import CostModel
from offramp.data.labelled_data import Dataset
from offramp.data.mini_batches import Augmentation
from offramp.exits.quality.quality_measures import QualityMeasures
from offramp.hardware.accelerator import Accelerator
from offramp.nn.backbone import BackboneFamily
from offramp.nn.supernet.supernet import Supernet
from offramp.objectives.evaluation import Constraint, Objective
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.settings.config import Config
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.train.compute import Compute
from offramp.train.loss import LossSettings, balanced_weights


@dataclass(frozen=True)
class Context:
    """The parts of a run.

    Attributes:
        config: The settings, as the user gave them.
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
        fine_tune_epochs: Epochs of fine-tuning without a time budget; 0 = no fine-tuning.
        evaluator: Judges a candidate by the weights that it inherits from ``supernet``.
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
    fine_tune_epochs: int
    evaluator: SupernetEvaluator

    def losses(self, early_exit_weight: float = 1.0) -> LossSettings:
        """The losses of the supernet and of fine-tuned networks.

        Args:
            early_exit_weight: What the loss of each early exit counts; other values than 1 are for fine-tuning.

        Returns:
            The settings of the losses.
        """
        train = self.config.train
        return LossSettings(
            train.label_smoothing,
            train.distillation_weight,
            train.distillation_temperature,
            early_exit_weight,
            balanced_weights(self.dataset.splits.train.labels, self.dataset.num_classes)
            if train.class_weights == "balanced"
            else (),
        )
