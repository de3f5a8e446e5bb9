"""Settings of the search space: what may be built."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from offramp.exits.confidence_measures import MEASURES, Measure
from offramp.settings.section import ClosedShare, Count, Section

PrecisionText = Annotated[str, Field(pattern=r"^(ternary|32|[2-8])/(32|[2-8])$")]
"""Bits of weights and of activations, such as ``8/4`` or ``ternary/8``."""


class SpaceConfig(Section):
    """What may be built: backbone, exit branches, exit rules and bit widths."""

    backbone: str = Field(
        default="auto",
        description="Backbone family (see `offramp list backbones`), timm:NAME for a timm model, an ONNX file, or "
        "auto: what suits the data.",
    )
    weights: str | None = Field(
        default=None, description="Weights of a timm backbone: a safetensors file (default: random weights)."
    )
    freeze: bool = Field(
        default=False, description="Whether only the branches are trained, not a timm or ONNX backbone."
    )
    max_taps: Count = Field(default=8, description="Largest number of places for exits in a timm or ONNX backbone.")
    branches: tuple[str, ...] = Field(
        default=("pool_linear", "pool_mlp", "depthwise_separable", "conv", "global_pool"),
        description="Types of exit branches (see `offramp list branches`); `searched` is built layer by layer.",
    )
    measures: tuple[Measure, ...] = Field(default=MEASURES, description="Confidence measures to choose from.")
    accuracy_drops: tuple[ClosedShare, ...] = Field(
        default=(0.0, 0.0025, 0.005, 0.01, 0.02, 0.04),
        description="Shares of accuracy that leaving early may cost, to choose from.",
    )
    max_exits: Annotated[int, Field(ge=1, le=6)] = Field(
        default=3, description="Largest number of early exits of a network."
    )
    exit_reuse: Literal["none", "cascade", "geometric_mean"] = Field(
        default="none",
        description="What an exit adds of the logits of the exit before it: none, cascade (a learned matrix "
        "times them), geometric_mean (a learned weight per class times them).",
    )
    elastic_widths: bool = Field(
        default=True, description="Whether the widths of the stages are searched; otherwise all stages have full width."
    )
    precision: Literal["fixed", "network", "stage", "layer"] = Field(
        default="fixed",
        description="Granularity of the searched bit widths: fixed (none), network (backbone, branches), stage, layer.",
    )
    precisions: tuple[PrecisionText, ...] = Field(
        default=("32/32", "8/8", "8/4", "4/8", "4/4"),
        description="Weight/activation bits to search among, such as 8/8 or ternary/8.",
    )
    analog_shares: tuple[ClosedShare, ...] = Field(
        default=(),
        description="Shares of a layer's channels on the analog core to search among (accelerator diana): 0,0.5,1.",
    )

    @field_validator("branches", "measures", "accuracy_drops", "precisions")
    @classmethod
    def _not_empty(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("must have at least one entry and no entry twice")
        return value
