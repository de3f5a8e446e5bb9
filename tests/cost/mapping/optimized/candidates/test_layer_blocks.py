"""Layers cut into blocks: all of the result once, weights within half of the weight memory."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.mapping.optimized.candidates.block_pricer import BlockPricer
from offramp.cost.mapping.optimized.candidates.layer_blocks import (
    BlockCut,
    LayerBlocks,
    cut_into_blocks,
    partial_shape,
)
from offramp.cost.mapping.optimized.core_groups import core_groups
from offramp.cost.schedule import Region
from offramp.cost.unsupported import UnpricedJob
from offramp.workload.layer import LayerShape, Op
from tests.cost.mapping.optimized.networks import conv, quad
from tests.cost.toys import ToyEngine

CHIP = core_groups(quad())[0]
HALF_WEIGHT_ROOM = 32 * 8192 // 2


def cut(shape: LayerShape, results: list[Region], least: int = 1) -> LayerBlocks:
    found = cut_into_blocks(
        shape, results, CHIP.compute_cores[: len(results)], CHIP, BlockPricer([ToyEngine()]), BlockCut(0, least)
    )
    assert isinstance(found, LayerBlocks)
    return found


def test_part_of_a_convolution() -> None:
    shape = conv(8, 4, 6, kernel=3)
    part = partial_shape(shape, 2, 3)
    assert (part.oy, part.k, part.iy, part.padding) == (2, 3, 4, (0, 1, 0, 1))
    assert part.macs * 4 * 2 == shape.macs
    assert partial_shape(shape, 8, 6) is shape
    grouped = conv(8, 8, 8, groups=4)
    assert (partial_shape(grouped, 8, 4).g, partial_shape(grouped, 8, 4).k) == (2, 2)


def test_weights_within_half_the_memory_come_in_one_block() -> None:
    # 16 KiB of weights: 128 x 128 bytes.
    assert len(cut(conv(4, 128, 128), [Region(0, 128, 0, 4)]).blocks) == 1
    two = cut(conv(4, 128, 129), [Region(0, 129, 0, 4)])
    assert [b.results[0].channels for b in two.blocks] == [128, 1]
    assert two.weight_bits == 128 * 129 * 8


def test_rows_share_weights_and_channels_do_not() -> None:
    shape = conv(4, 128, 256)
    rows = cut(shape, [Region(0, 256, 0, 2), Region(0, 256, 2, 4)])
    assert rows.shared_weights
    assert rows.weight_bits == shape.weight_size_bits
    assert rows.resident_bits == shape.weight_size_bits
    channels = cut(shape, [Region(0, 128, 0, 4), Region(128, 256, 0, 4)])
    assert not channels.shared_weights
    assert channels.weight_bits == shape.weight_size_bits
    assert channels.resident_bits == shape.weight_size_bits // 2
    # 100 cycles and 5 of draining, 7 pJ a part: two cores at once, one block.
    assert (channels.duration, channels.energy_pj) == (105, 14.0)
    assert (rows.duration, rows.energy_pj) == (210, 28.0)


@settings(deadline=None)
@given(
    inputs=st.sampled_from([3, 64, 500]),
    outputs=st.integers(1, 400),
    cores=st.integers(1, 4),
    by_rows=st.booleans(),
    least=st.integers(1, 6),
    depthwise=st.booleans(),
)
def test_blocks_make_everything_once(
    inputs: int, outputs: int, cores: int, by_rows: bool, least: int, depthwise: bool
) -> None:
    shape = conv(4, outputs, outputs, kernel=3, groups=outputs) if depthwise else conv(4, inputs, outputs)
    if by_rows:
        results = [Region(0, outputs, i, i + 1) for i in range(cores)]
    else:
        cuts = [outputs * i // cores for i in range(cores + 1)]
        results = [Region(a, b, 0, 4) for a, b in itertools.pairwise(cuts)]
    blocks = cut(shape, results, least)
    for core, region in enumerate(results):
        made = [c for b in blocks.blocks for c in range(b.results[core].first_channel, b.results[core].end_channel)]
        assert made == list(range(region.first_channel, region.end_channel))
    assert all(max(block.weight_bits) <= HALF_WEIGHT_ROOM for block in blocks.blocks)
    once = shape.weight_size_bits
    assert blocks.weight_bits == once


def test_a_channel_whose_weights_exceed_the_memory_is_refused() -> None:
    shape = LayerShape(Op.DENSE, k=2, c=40_000)
    found = cut_into_blocks(
        shape, [Region(0, 2, 0, 1)], CHIP.compute_cores[:1], CHIP, BlockPricer([ToyEngine()]), BlockCut()
    )
    assert isinstance(found, UnpricedJob)
    assert "one output channel" in found.reason


def test_equal_parts_are_priced_once() -> None:
    engine = ToyEngine()
    pricer = BlockPricer([engine])
    results = [Region(0, 8, i, i + 1) for i in range(4)]
    for _ in range(2):
        cut_into_blocks(conv(4, 8, 8), results, CHIP.compute_cores, CHIP, pricer, BlockCut())
    assert len(engine.asked) == 1


@pytest.mark.parametrize("least", [1, 4])
def test_more_blocks_when_wanted(least: int) -> None:
    assert len(cut(conv(4, 16, 128), [Region(0, 128, 0, 4)], least).blocks) == least
