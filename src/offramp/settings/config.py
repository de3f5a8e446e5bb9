"""Config: all settings of one search, as one value that a file holds."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from offramp.files.safe_files import write_atomically
from offramp.settings.budget_config import BudgetConfig
from offramp.settings.cost_config import CostConfig
from offramp.settings.data_config import DataConfig
from offramp.settings.deploy_config import DeployConfig
from offramp.settings.execution_config import GIVEN_ANEW, ExecutionConfig
from offramp.settings.fine_tune_config import FineTuneConfig
from offramp.settings.search_config import SearchConfig
from offramp.settings.section import Section, build_section
from offramp.settings.space_config import SpaceConfig
from offramp.settings.train_config import TrainConfig


class Config(Section):
    """All settings of one search."""

    version: Literal[1] = Field(default=1, description="Version of the settings' format.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(default=0, description="Seed of everything random.")
    data: DataConfig = Field(default=DataConfig(), description="The labelled samples and their splits.")
    space: SpaceConfig = Field(default=SpaceConfig(), description="What may be built.")
    cost: CostConfig = Field(default=CostConfig(), description="The accelerator and how networks are priced on it.")
    train: TrainConfig = Field(default=TrainConfig(), description="Training of the supernet.")
    search: SearchConfig = Field(default=SearchConfig(), description="Which candidates are tried, and what is better.")
    fine_tune: FineTuneConfig = Field(default=FineTuneConfig(), description="What happens to the chosen networks.")
    deploy: DeployConfig = Field(default=DeployConfig(), description="What exported bundles hold.")
    budget: BudgetConfig = Field(
        default=BudgetConfig(), description="Wall time of the whole command (90s, 40m, 2h) or a number of evaluations."
    )
    execution: ExecutionConfig = Field(default=ExecutionConfig(), description="How the work is done.")

    @model_validator(mode="after")
    def _a_teacher_is_within_reach(self) -> "Config":
        if self.fine_tune.teacher == "reference" and self.execution.cluster is not None:
            raise ValueError("fine_tune.teacher reference needs the run's folder, which a cluster's workers do not see")
        return self

    @property
    def searches_precision(self) -> bool:
        """Whether bit widths are searched."""
        return self.space.precision != "fixed"

    @property
    def quantizes(self) -> bool:
        """Whether finished networks are trained and exported at the bit widths that they are priced at."""
        return self.fine_tune.quantize or self.searches_precision or bool(self.space.analog_shares)

    def for_record(self) -> "Config":
        """The settings as the record of a run holds them: without `GIVEN_ANEW`, the places where the work is done."""
        left = self.execution.model_dump(exclude=set(GIVEN_ANEW))
        return self.model_copy(update={"execution": ExecutionConfig(**left)})

    def to_yaml(self) -> str:
        """All settings as YAML text."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def save(self, path: Path) -> None:
        """Write the settings to a file that `load_config` reads.

        Args:
            path: The YAML file; one that exists is replaced.
        """
        write_atomically(path, self.to_yaml())


def build_config(data: dict[str, Any], origin: str = "Settings") -> Config:
    """Check plain data and make a Config of them.

    Args:
        data: Sections by name, each with its settings by name; what is left out keeps its default.
        origin: Where the data came from, for the error message.

    Returns:
        The settings.

    Raises:
        ConfigError: A name is unknown or a value is not allowed; the message lists all faults.
    """
    return build_section(Config, data, origin)
