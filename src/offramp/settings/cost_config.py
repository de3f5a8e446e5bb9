"""Settings of the cost model: the accelerator, and how a network is priced on it."""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from offramp.errors import ConfigError
from offramp.settings.section import Section

Bits = Annotated[int, Field(ge=1, le=32)]
"""A bit width."""

MappingStep = Literal["on_chip", "prefetch", "split", "beside", "fuse", "optimum"]
ALL_MAPPING_STEPS: tuple[MappingStep, ...] = get_args(MappingStep)


class CostConfig(Section):
    """The accelerator, the engine that prices layers on it, and the bit widths that are priced."""

    accelerator: str = Field(
        default="edge-tpu-quad", description="Accelerator: a name (see `offramp list accelerators`) or a YAML file."
    )
    engine: str = Field(default="native", description="Cost engine (see `offramp list engines`).")
    convention: Literal["offramp", "published"] = Field(
        default="offramp", description="How pooling is charged: offramp, or published (as in the reference)."
    )
    loads: Literal["before", "overlap"] = Field(
        default="before",
        description="When data that a layer loads once arrives: before it computes, or overlap (as zigzag-dse 3.9).",
    )
    unrolling: Literal["best", "zigzag"] = Field(
        default="best",
        description="How the native engine cuts a core's dataflow down to a smaller layer: best, or as zigzag.",
    )
    memory_fill: Literal["full", "best"] = Field(
        default="full",
        description="How much of a core's memories the native engine fills: full, or best (slower, never worse).",
    )
    mapping: Literal["layer_by_layer", "optimized"] = Field(
        default="optimized",
        description="Mapping: optimized (all cores) or layer_by_layer (one core; the one of convention published).",
    )
    mapping_steps: tuple[MappingStep, ...] = Field(
        default=ALL_MAPPING_STEPS,
        description="Steps that the optimized mapping may take: on_chip, prefetch, split, beside, fuse, optimum.",
    )
    weight_bits: Bits = Field(default=8, description="Bits of backbone weights.")
    activation_bits: Bits = Field(default=8, description="Bits of backbone activations.")
    branch_weight_bits: Bits = Field(default=8, description="Bits of branch weights.")
    branch_activation_bits: Bits = Field(default=8, description="Bits of branch activations.")

    @model_validator(mode="after")
    def _published_figures_are_layer_by_layer(self) -> "CostConfig":
        if self.convention != "published" or self.mapping == "layer_by_layer":
            return self
        if "mapping" in self.model_fields_set:
            raise ValueError(
                "convention published is the reference's own, which has mapping layer_by_layer only; leave mapping out"
            )
        # The default follows the convention and does not count as given, so that it changes back with the convention.
        self.__dict__["mapping"] = "layer_by_layer"
        return self

    @model_validator(mode="after")
    def _steps_are_those_of_the_optimized_mapping(self) -> "CostConfig":
        if set(self.mapping_steps) != set(ALL_MAPPING_STEPS) and self.mapping != "optimized":
            raise ValueError("mapping_steps belong to mapping optimized; set it, or leave them out")
        return self


def parse_mapping_steps(given: str | None, without: Sequence[str]) -> tuple[str, ...]:
    """Read the steps of the optimized mapping.

    Args:
        given: Steps separated by commas, or ``none``; None stands for all.
        without: Steps to leave out.

    Returns:
        The steps, in the order of `ALL_MAPPING_STEPS`.

    Raises:
        ConfigError: A step is unknown.
    """
    names = ALL_MAPPING_STEPS if given is None else tuple(x.strip() for x in given.split(",") if x.strip() != "none")
    unknown = [name for name in (*names, *without) if name not in ALL_MAPPING_STEPS]
    if unknown:
        raise ConfigError(
            f"Steps of the optimized mapping must be among {', '.join(ALL_MAPPING_STEPS)} (or none), got "
            f"{', '.join(map(repr, unknown))}."
        )
    return tuple(name for name in ALL_MAPPING_STEPS if name in names and name not in without)
