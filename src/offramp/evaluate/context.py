"""Context: the objects that one run works with, built once from its settings."""

from dataclasses import dataclass

from offramp.config import Config
from offramp.cost.base import CostModel
from offramp.hardware.accelerator import Accelerator
from offramp.nn.backbone import BackboneFamily
from offramp.nn.supernet import Supernet
from offramp.objectives.evaluation import Constraint, Objective
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.train.augment import Augmentation
from offramp.train.compute import Compute
from offramp.train.data import Dataset


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
