"""Settings of how the work is done, as opposed to what is searched."""

from typing import Annotated

from pydantic import Field, model_validator

from offramp.settings.section import Section

Resources = dict[str, Annotated[float, Field(gt=0.0)]]
"""What a job of a cluster needs, such as ``{GPU: 1}``."""

GIVEN_ANEW = ("workers", "devices", "cluster", "tracker", "evaluation_resources", "training_resources")
"""Settings of where the work is done and to whom it is reported.

No record holds them, so that a run folder from elsewhere does not say where to connect. Resumed runs are given them
anew.
"""


class ExecutionConfig(Section):
    """How the work is done; a run may be resumed with other values, and is given workers, cluster and tracker anew.

    Without workers and without a cluster this process does all the work.
    """

    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None, description="Processes of this machine that evaluate and fine-tune (default: this one alone)."
    )
    devices: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None,
        description="Processes of this machine, or its GPUs, that train one network together (default: one).",
    )
    cluster: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None,
        description="Scheduler of a Dask cluster that evaluates and fine-tunes: tcp://host:8786 (default: none).",
    )
    evaluation_timeout_s: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="Seconds after which a candidate counts as failed (default: never)."
    )
    max_failures: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="More failed candidates than this end the search (default: half of all, from twenty on).",
    )
    evaluation_resources: Resources = Field(
        default={}, description="Resources of a cluster's worker that an evaluation needs, such as {GPU: 1}."
    )
    training_resources: Resources = Field(
        default={}, description="Resources of a cluster's worker that a training needs, such as {GPU: 1}."
    )
    tracker: str | None = Field(
        default=None, description="Where figures are logged, too (see `offramp list trackers`; default: nowhere)."
    )

    @model_validator(mode="after")
    def _one_place_to_work(self) -> "ExecutionConfig":
        if self.workers is not None and self.cluster is not None:
            raise ValueError("workers are of this machine and cluster names others: give one of the two")
        return self


def places_of_work(execution: ExecutionConfig) -> tuple[str, ...]:
    """Which of `GIVEN_ANEW` have a value of their own.

    Args:
        execution: The settings.

    Returns:
        Their names.
    """
    plain = ExecutionConfig()
    return tuple(name for name in GIVEN_ANEW if getattr(execution, name) != getattr(plain, name))
