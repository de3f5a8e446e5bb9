"""What running a graph for one sample takes, as a manifest states it and as the rules of the operators compute it."""

from dataclasses import dataclass, fields

MAX_TENSOR_VALUES = 2**27
"""The largest number of values of one tensor."""


@dataclass(frozen=True)
class GraphDemand:
    """What a graph takes for one sample.

    Attributes:
        nodes: Nodes, those of branches included.
        live_bytes: The largest sum of the sizes of tensors that are needed at one time. What follows from constants
            alone is needed all the time. The weights in the file are not counted.
        total_bytes: The sum of the sizes of all tensors that nodes compute.
        macs: Multiply-accumulates, and values that pooling windows read.
    """

    nodes: int
    live_bytes: int
    total_bytes: int
    macs: int

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 0:
                raise ValueError(f"`{item.name}` must be >= 0, got {getattr(self, item.name)}")

    def beyond(self, limit: "GraphDemand") -> tuple[str, ...]:
        """Say where this demand exceeds a limit.

        Args:
            limit: The limit.

        Returns:
            A clause for each figure that is larger.
        """
        pairs = [(item.name, getattr(self, item.name), getattr(limit, item.name)) for item in fields(self)]
        return tuple(f"{name} {value} (at most {most})" for name, value, most in pairs if value > most)


USUAL_LIMIT = GraphDemand(nodes=5_000, live_bytes=2**29, total_bytes=2**32, macs=2**40)
"""What a graph may take without a word from the user."""
