"""Context: the objects that one run works with, built once from its settings."""

from dataclasses import dataclass

from offramp.cost.report import CostModel
from offramp.data.labelled_data import Dataset
from offramp.data.mini_batches import Augmentation
from offramp.hardware.accelerator import Accelerator
from offramp.nn.backbone import BackboneFamily
from offramp.nn.supernet.supernet import Supernet
from offramp.objectives.evaluation import Constraint, Objective
from offramp.settings.config import Config
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.train.compute import Compute
from offramp.train.loss import LossSettings


@dataclass(frozen=True)
class Context:
    """``search_cost`` prices candidates, ``report_cost`` what is reported; the native engine serves as both."""

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
    augmentation: Augmentation | None
    epochs: int
    fine_tune_epochs: int

    def losses(self, early_exit_weight: float = 1.0) -> LossSettings:
        """Of supernet and fine-tuned networks alike; the weight of early exits is the latter's."""
        train = self.config.train
        return LossSettings(
            train.label_smoothing, train.distillation_weight, train.distillation_temperature, early_exit_weight
        )
