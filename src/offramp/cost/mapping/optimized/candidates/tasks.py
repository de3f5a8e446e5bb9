"""A task: one way to run a layer or a chain of layers, with the cores, the parts and the place of the result."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from offramp.cost.mapping.optimized.candidates.layer_blocks import LayerBlocks
from offramp.cost.mapping.optimized.tensor_regions import Layout
from offramp.cost.schedule import Region
from offramp.workload.graph import Layer


@dataclass(frozen=True, eq=False)
class SourceTensor:
    """A tensor that a layer reads.

    Attributes:
        tensor: Its name.
        needs: The part that each core needs.
        block_needs: The same for each block; empty where all blocks need the same.
    """

    tensor: str
    needs: tuple[Region, ...]
    block_needs: tuple[tuple[Region, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class LayerTile:
    """One layer in one tile; all cores of the task compute their results block by block.

    Attributes:
        layer: The layer.
        sources: The tensors that it reads.
        results: What each core computes.
        blocks: The same, divided into blocks.
    """

    layer: Layer
    sources: tuple[SourceTensor, ...]
    results: tuple[Region, ...]
    blocks: LayerBlocks


@dataclass(frozen=True, eq=False)
class Task:
    """One layer, or a chain of layers tile by tile.

    Attributes:
        layers: The layers.
        cores: Names of the cores that compute them.
        tiles: The tiles, each with all layers.
        layout: Where the result of the last layer is kept.
        resident: Whether weights are loaded with the first tile and stay until the last.
        streamed: Whether inputs, weights and result stay in the off-chip memory, which the core reads and writes while
            it computes.
    """

    layers: tuple[Layer, ...]
    cores: tuple[str, ...]
    tiles: tuple[tuple[LayerTile, ...], ...]
    layout: Layout
    resident: bool
    streamed: bool = False

    @property
    def result(self) -> str:
        """Name of the tensor that the task computes."""
        return self.layers[-1].name

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Names of the tensors from outside the task, each once."""
        names = {layer.name for layer in self.layers}
        found = dict.fromkeys(source.tensor for layer_tile in self.tiles[0] for source in layer_tile.sources)
        return tuple(name for name in found if name not in names)

    @cached_property
    def blocks_of_tiles(self) -> tuple[LayerBlocks, ...]:
        """All blocks, whatever the layers are called: equal for tasks of equal layers."""
        return tuple(layer_tile.blocks for tile in self.tiles for layer_tile in tile)

    @cached_property
    def duration(self) -> int:
        """Cycles of all blocks, one after the other."""
        return sum(layer_tile.blocks.duration for tile in self.tiles for layer_tile in tile)

    @cached_property
    def num_blocks(self) -> int:
        """Number of blocks of the last layer in the last tile."""
        return len(self.tiles[-1][-1].blocks.blocks)

    @cached_property
    def last_duration(self) -> int:
        """Cycles of the last block."""
        return self.tiles[-1][-1].blocks.blocks[-1].duration

    @cached_property
    def energy_pj(self) -> float:
        """Energy of the cores."""
        return sum(layer_tile.blocks.energy_pj for tile in self.tiles for layer_tile in tile)

    @cached_property
    def weight_bits(self) -> int:
        """Bits of weights that are read from the DRAM."""
        loaded = self.tiles[:1] if self.resident else self.tiles
        return sum(layer_tile.blocks.weight_bits for tile in loaded for layer_tile in tile)

    def for_layer(self, layer: Layer, sources: Sequence[str]) -> "Task":
        """Reuse the task for an equal layer.

        Args:
            layer: The other layer.
            sources: Names of the tensors that it reads, in the order of this task's.

        Returns:
            The same task under the names of that layer.
        """
        if self.layers == (layer,) and tuple(x.tensor for x in self.tiles[0][0].sources) == tuple(sources):
            return self
        tiles = []
        for (layer_tile,) in self.tiles:
            renamed = tuple(
                SourceTensor(name, source.needs, source.block_needs)
                for name, source in zip(sources, layer_tile.sources, strict=True)
            )
            tiles.append((LayerTile(layer, renamed, layer_tile.results, layer_tile.blocks),))
        return Task((layer,), self.cores, tuple(tiles), self.layout, self.resident, self.streamed)
