"""Workload: layers of an early-exit network, the edges between them, and its exits."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from offramp.workload.layer import MATRIX_OPS, LayerShape, Op

GRAPH_INPUT = "input"


class Role(StrEnum):
    """Whether a layer serves all later exits or one exit only."""

    BACKBONE = "backbone"
    BRANCH = "branch"


@dataclass(frozen=True)
class Layer:
    """A layer at its place in a network.

    Backbone layers of stage ``s`` run after exit ``s - 1`` and before exit ``s``; branch layers of stage ``s`` lead to
    exit
    ``s`` alone. The final classifier is the branch of the last stage.

    Attributes:
        name: Unique name.
        shape: Loop sizes and bit widths.
        inputs: Names of the layers whose outputs it reads, or `GRAPH_INPUT`.
        stage: Index of the stage, from 0.
        role: Backbone or branch.
        analog_channels: Number of its output channels, the first ones, that have ternary weights and run on an analog
            core;
            None if that is not decided.
    """

    name: str
    shape: LayerShape
    inputs: tuple[str, ...]
    stage: int
    role: Role
    analog_channels: int | None = None

    @property
    def has_weights(self) -> bool:
        """Whether it multiplies by weights; a convolution with several inputs is a product of two computed matrices."""
        return self.shape.op in MATRIX_OPS and not (self.shape.op is Op.CONV and len(self.inputs) > 1)


@dataclass(frozen=True)
class Workload:
    """Layers and exits of a network.

    Attributes:
        name: Name of the network.
        layers: Layers in topological order, which is the order of execution.
        exits: Names of the layers that compute the logits, one per exit, in order.
    """

    name: str
    layers: tuple[Layer, ...]
    exits: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.exits:
            raise ValueError("a workload must have at least one exit.")
        seen = {GRAPH_INPUT}
        for layer in self.layers:
            if layer.name in seen:
                raise ValueError(f"layer name {layer.name!r} occurs twice.")
            missing = [name for name in layer.inputs if name not in seen]
            if missing or not layer.inputs:
                raise ValueError(
                    f"inputs of layer {layer.name!r} must come before it, got {layer.inputs}; unknown: {missing}."
                )
            if not 0 <= layer.stage < len(self.exits):
                raise ValueError(f"layer {layer.name!r} is in stage {layer.stage} of {len(self.exits)}.")
            seen.add(layer.name)
        unknown = [name for name in self.exits if name not in seen]
        if unknown:
            raise ValueError(f"exits must name layers, got unknown {unknown}.")

    @property
    def num_stages(self) -> int:
        """Number of stages, which is the number of exits."""
        return len(self.exits)

    def layer(self, name: str) -> Layer:
        """Find a layer.

        Args:
            name: Name of the layer.

        Returns:
            The layer.

        Raises:
            KeyError: There is no such layer.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    def stage_layers(self, stage: int, role: Role | None = None) -> tuple[Layer, ...]:
        """Select the layers of one stage.

        Args:
            stage: Index of the stage, from 0.
            role: Backbone or branch; None: both.

        Returns:
            The layers, in order of execution.
        """
        return tuple(x for x in self.layers if x.stage == stage and (role is None or x.role == role))

    def macs_to_exit(self) -> tuple[int, ...]:
        """MACs up to each exit, with all branches on the way."""
        totals: list[int] = []
        for stage in range(self.num_stages):
            before = totals[-1] if totals else 0
            totals.append(before + sum(layer.shape.macs for layer in self.stage_layers(stage)))
        return tuple(totals)

    def with_bits(
        self, weight_bits: int, activation_bits: int, branch_weight_bits: int, branch_activation_bits: int
    ) -> "Workload":
        """Change the bit widths.

        The second operand of a product of two computed matrices (a convolution with several inputs) has the width of
        activations.

        Args:
            weight_bits: Bits of weights in the backbone.
            activation_bits: Bits of activations in the backbone.
            branch_weight_bits: Bits of weights in the branches.
            branch_activation_bits: Bits of activations in the branches.

        Returns:
            The workload with these bit widths.
        """

        def changed(layer: Layer) -> Layer:
            backbone = layer.role is Role.BACKBONE
            activations = activation_bits if backbone else branch_activation_bits
            weights = weight_bits if backbone else branch_weight_bits
            if layer.shape.op in MATRIX_OPS and not layer.has_weights:
                weights = activations
            shape = replace(layer.shape, weight_bits=weights, activation_bits=activations, input_bits=())
            return replace(layer, shape=shape)

        return replace(self, layers=tuple(changed(layer) for layer in self.layers))

    def with_weight_bits(self, bits: Mapping[str, int]) -> "Workload":
        """Change the bit widths of weights of single layers.

        Args:
            bits: Bits of each weight by layer name.

        Returns:
            The workload with these bit widths.
        """
        layers = (
            replace(layer, shape=replace(layer.shape, weight_bits=bits[layer.name])) if layer.name in bits else layer
            for layer in self.layers
        )
        return replace(self, layers=tuple(layers))

    def with_analog_channels(self, channels: Mapping[str, int]) -> "Workload":
        """Decide for all layers how many channels are analog.

        Args:
            channels: Number of analog output channels by layer name; 0 for other layers.

        Returns:
            The workload with these numbers.
        """
        layers = tuple(replace(layer, analog_channels=channels.get(layer.name, 0)) for layer in self.layers)
        return replace(self, layers=layers)

    def with_weight_densities(self, densities: Mapping[str, float]) -> "Workload":
        """Set shares of nonzero weights.

        Args:
            densities: Shares by layer name, above 0 and at most 1. Unknown layers and layers without weights are
                ignored.

        Returns:
            The workload with these shares.
        """

        def changed(layer: Layer) -> Layer:
            if layer.shape.op not in MATRIX_OPS or layer.name not in densities:
                return layer
            return replace(layer, shape=replace(layer.shape, weight_density=densities[layer.name]))

        return replace(self, layers=tuple(changed(layer) for layer in self.layers))

    @property
    def weight_density(self) -> float:
        """Share of nonzero weights among all weights; 1.0 without weights."""
        shapes = [layer.shape for layer in self.layers]
        weights = sum(shape.num_weights for shape in shapes)
        return sum(shape.num_weights * shape.weight_density for shape in shapes) / weights if weights else 1.0

    def static(self) -> "Workload":
        """The backbone and the final classifier alone: the workload of a network without early exits.

        What the final classifier adds of earlier exits is left out, too.
        """
        last = self.num_stages - 1
        kept: list[Layer] = []
        left_out: set[str] = set()
        # The value that a sum of which one term is left out stands for.
        instead: dict[str, str] = {}
        for layer in self.layers:
            inputs = tuple(instead.get(name, name) for name in layer.inputs if name not in left_out)
            if (layer.role is Role.BRANCH and layer.stage != last) or not inputs:
                left_out.add(layer.name)
            elif len(inputs) < len(layer.inputs):
                instead[layer.name] = inputs[0]
            else:
                kept.append(replace(layer, stage=0, inputs=inputs))
        end = instead.get(self.exits[-1], self.exits[-1])
        return Workload(name=f"{self.name}.static", layers=tuple(kept), exits=(end,))
