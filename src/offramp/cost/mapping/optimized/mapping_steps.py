"""The steps of the optimized mapping beyond the layer-by-layer baseline, each with its own switch."""

from enum import StrEnum


class MappingStep(StrEnum):
    """What the mapping may do beyond running one layer after the other on one core with all tensors in the DRAM."""

    ON_CHIP = "on_chip"
    """Activations stay in the scratchpads while they fit; the rest is spilled."""
    PREFETCH = "prefetch"
    """Weights are loaded while earlier layers compute, as far as the weight memories hold them."""
    SPLIT = "split"
    """A layer runs on several cores: rows or channels (groups) of its result are divided."""
    BESIDE = "beside"
    """Speculation: work for the next stage may start before the verdict of an exit, where the exit rates justify it."""
    FUSE = "fuse"
    """Layer fusion: chains of layers whose tensors do not fit run in row tiles."""
    OPTIMUM = "optimum"
    """Dynamic programming over layers, splits and loop orders instead of the best choice layer by layer."""


ALL_STEPS: frozenset[MappingStep] = frozenset(MappingStep)
