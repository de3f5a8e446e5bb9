"""The steps from the layer-by-layer baseline to the full mapping, each a switch of its own."""

from enum import StrEnum


class MappingStep(StrEnum):
    """What the mapper may do beyond running layer after layer on one core with everything through the DRAM."""

    ON_CHIP = "on_chip"
    """Activations stay in the scratchpads while they fit; the rest is spilled."""
    PREFETCH = "prefetch"
    """Weights come while earlier layers compute, as far as the weight memories hold them."""
    SPLIT = "split"
    """A layer runs on several cores: rows or channels (groups) of its result are divided."""
    BESIDE = "beside"
    """Work for the next stage may start before the verdict of an exit, where the exit rates make it worth it."""
    FUSE = "fuse"
    """Chains whose tensors do not fit run in row tiles through several layers."""
    OPTIMUM = "optimum"
    """Dynamic programming over layers, splits and loop orders instead of the best choice layer by layer."""


ALL_STEPS: frozenset[MappingStep] = frozenset(MappingStep)
