"""Settings of the search: which candidates are tried, and what is better."""

from typing import Annotated

from pydantic import Field

from offramp.settings.section import Count, Section


class SearchConfig(Section):
    """Which candidates are tried, and what is better."""

    algorithm: str = Field(default="exact", description="Search algorithm (see `offramp list algorithms`).")
    evaluations: Count = Field(default=200, description="Candidates to evaluate, where no budget says otherwise.")
    batch: Count = Field(default=20, description="Candidates proposed at a time.")
    open_batches: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="Batches that may be incomplete at the same time, so that no worker waits for the slowest "
        "candidate (default: 1, or as many as keep all workers busy where these are more than half a batch).",
    )
    objectives: tuple[str, ...] = Field(
        default=("accuracy", "energy_pj", "latency_cycles"),
        description="Metrics to optimise: accuracy, balanced_accuracy, macro_f1, recall:CLASS, energy_pj, "
        "latency_cycles, macs, energy_delay_product_j_cycles, memory_use.",
    )
    constraints: tuple[str, ...] = Field(
        default=(), description='Bounds that a network must keep, such as "latency_cycles<=200000" or "macs<=2.4M".'
    )
    fit_memory: bool = Field(
        default=True,
        description="Whether a network must fit the accelerator's memories (constraint memory_use<=1).",
    )
    validation_samples: Count = Field(
        default=2000, description="Largest number of validation samples to judge candidates on."
    )
    calibration_samples: Count = Field(
        default=1024, description="Training samples that set the batch-norm statistics of a candidate."
    )
    class_thresholds: bool = Field(
        default=False,
        description="Whether thresholds differ by predicted class, as far as validation samples show differences.",
    )
    calibrate_confidences: bool = Field(
        default=False,
        description="Whether each exit gets a temperature, fitted on validation samples, before its threshold.",
    )
