"""What may be done with a layer or a chain of layers: on which cores, in which parts, and where the result goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from offramp.cost.mapping.optimized.layer_blocks import Blocks
from offramp.cost.mapping.optimized.tensor_regions import Layout
from offramp.cost.schedule import Region
from offramp.workload.graph import Layer


@dataclass(frozen=True, eq=False)
class Source:
    """A tensor that a layer reads, and what of it each core needs: in all, and for each block if they differ."""

    tensor: str
    needs: tuple[Region, ...]
    block_needs: tuple[tuple[Region, ...], ...] = ()


@dataclass(frozen=True, eq=False)
class Stretch:
    """One layer in one tile: all cores of the task make their ``results`` block by block."""

    layer: Layer
    sources: tuple[Source, ...]
    results: tuple[Region, ...]
    blocks: Blocks


@dataclass(frozen=True, eq=False)
class Task:
    """One layer, or a chain of layers tile by tile, on ``cores``; the last result comes to lie in ``layout``.

    ``resident``: weights are loaded with the first tile and stay until the last.
    """

    layers: tuple[Layer, ...]
    cores: tuple[str, ...]
    tiles: tuple[tuple[Stretch, ...], ...]
    layout: Layout
    resident: bool

    @property
    def result(self) -> str:
        return self.layers[-1].name

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Tensors from outside the task, each once."""
        names = {layer.name for layer in self.layers}
        found = dict.fromkeys(source.tensor for stretch in self.tiles[0] for source in stretch.sources)
        return tuple(name for name in found if name not in names)

    @cached_property
    def work(self) -> tuple[Blocks, ...]:
        """What is made, whatever the layers are called: equal for tasks that stand for equal layers."""
        return tuple(stretch.blocks for tile in self.tiles for stretch in tile)

    @cached_property
    def duration(self) -> int:
        return sum(stretch.blocks.duration for tile in self.tiles for stretch in tile)

    @cached_property
    def num_blocks(self) -> int:
        """Blocks of the last layer in the last tile."""
        return len(self.tiles[-1][-1].blocks.blocks)

    @cached_property
    def last_duration(self) -> int:
        """Cycles that the last block takes."""
        return self.tiles[-1][-1].blocks.blocks[-1].duration

    @cached_property
    def energy_pj(self) -> float:
        return sum(stretch.blocks.energy_pj for tile in self.tiles for stretch in tile)

    @cached_property
    def weight_bits(self) -> int:
        """Bits of weights that leave the DRAM."""
        loaded = self.tiles[:1] if self.resident else self.tiles
        return sum(stretch.blocks.weight_bits for tile in loaded for stretch in tile)

    def named(self, layer: Layer, sources: Sequence[str]) -> "Task":
        """The same work for an equal layer; ``sources`` in the order of this one's."""
        if self.layers == (layer,) and tuple(x.tensor for x in self.tiles[0][0].sources) == tuple(sources):
            return self
        tiles = []
        for (stretch,) in self.tiles:
            renamed = tuple(
                Source(name, source.needs, source.block_needs)
                for name, source in zip(sources, stretch.sources, strict=True)
            )
            tiles.append((Stretch(layer, renamed, stretch.results, stretch.blocks),))
        return Task((layer,), self.cores, tuple(tiles), self.layout, self.resident)
