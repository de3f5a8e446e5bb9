"""Proposed spatial mappings against exhaustive ranking, and shrinking by hand."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.cost.engines.native.memory_levels import view_core
from offramp.cost.engines.native.spatial_unrolling import SpatialSearch, spatial_mappings
from offramp.hardware.accelerator import ArrayDimension, Core, CoreKind, SpatialLoop
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native import native_toys

ACCELERATOR = load_accelerator("edge-tpu-quad")
COMPUTE = ACCELERATOR.cores_of(CoreKind.COMPUTE)[0]
SIMD = ACCELERATOR.cores_of(CoreKind.SIMD)[0]


def proposed(shape: LayerShape, core: Core, count: int = 3, mixed: bool = False) -> list[str]:
    found = spatial_mappings(loop_nest(shape), view_core(core), SpatialSearch(count, mixed))
    return [" ".join(f"{loop.loop}{loop.size}" for loop in mapping) for mapping in found]


def grid(*sizes: int) -> Core:
    """An array whose memory limits nothing."""
    ram = native_toys.memory(
        "ram", "I1 I2 O", bandwidth_bits=10**6, served=tuple(f"D{i + 1}" for i in range(len(sizes)))
    )
    core = native_toys.core(ram)
    return type(core)(**{**vars(core), "array": tuple(ArrayDimension(f"D{i + 1}", s) for i, s in enumerate(sizes))})


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    st.lists(st.sampled_from([2, 3, 4, 6]), min_size=1, max_size=3),
)
def test_proposals_are_the_best_of_all(layer: tuple[int, int, int], sizes: list[int]) -> None:
    shape = LayerShape(Op.DENSE, k=layer[0], c=layer[1], b=layer[2])
    nest = loop_nest(shape)

    def score(mapping: tuple[SpatialLoop, ...]) -> float:
        per_loop: dict[str, int] = {}
        for loop in mapping:
            per_loop[loop.loop] = per_loop.get(loop.loop, 1) * loop.size
        units = math.prod(per_loop.values())
        return units + units / max(per_loop.values()) - 1

    every = []
    for choice in itertools.product(nest.dims, repeat=len(sizes)):
        factors = [
            [f for f in range(1, 10) if min(size, nest.size(dim)) % f == 0]
            for dim, size in zip(choice, sizes, strict=True)
        ]
        for combination in itertools.product(*factors):
            loops = tuple(
                SpatialLoop(f"D{i + 1}", dim, f) for i, (dim, f) in enumerate(zip(choice, combination, strict=True))
            )
            total = {dim: math.prod(x.size for x in loops if x.loop == dim) for dim in nest.dims}
            if all(total[dim] <= nest.size(dim) for dim in nest.dims):
                every.append(score(loops))
    found = spatial_mappings(nest, view_core(grid(*sizes)), SpatialSearch(3))
    assert [score(mapping) for mapping in found] == pytest.approx(sorted(every, reverse=True)[: len(found)])
    assert len(found) == min(3, len(every))


def test_a_pointwise_convolution_fills_the_edge_tpu() -> None:
    shape = LayerShape(Op.CONV, k=16, c=32, oy=32, ox=32, iy=32, ix=32)
    assert "K8 C8 OX4 OY4" in proposed(shape, COMPUTE)


def test_a_dataflow_is_kept_and_cut_to_the_layer() -> None:
    add = LayerShape(Op.ADD, g=24, oy=32, ox=16, iy=32, ix=16)
    assert proposed(add, SIMD) == ["K16"]
    # 512 bits a cycle carry 16 partial sums of 32 bits.
    wide = LayerShape(Op.ADD, g=24, oy=32, ox=32, iy=32, ix=32, weight_bits=32, activation_bits=32)
    assert proposed(wide, SIMD) == ["K16"]
    partly = native_toys.core(lanes=4, dataflow=(SpatialLoop("D1", "OX", 4),))
    assert proposed(LayerShape(Op.DENSE, k=8, c=8), partly) == [""]


def test_a_dataflow_that_unrolls_a_loop_too_often_gives_up_the_later_dimension() -> None:
    core = grid(4, 4)
    flow = (SpatialLoop("D1", "K", 4), SpatialLoop("D2", "K", 4))
    core = type(core)(**{**vars(core), "dataflow": flow})
    assert proposed(LayerShape(Op.DENSE, k=8, c=8), core) == ["K4"]
    assert proposed(LayerShape(Op.DENSE, k=16, c=8), core) == ["K4 K4"]


def test_dimensions_that_a_dataflow_leaves_open_are_searched() -> None:
    core = grid(4, 2)
    core = type(core)(**{**vars(core), "dataflow": (SpatialLoop("D1", "K", 4),)})
    assert proposed(LayerShape(Op.DENSE, k=4, c=6), core)[0] == "K4 C2"


def test_unrollings_shrink_to_the_register() -> None:
    # 4-bit weights: the 32-bit register takes 8. Three full candidates want 4 x 4; the first becomes 2 x 3, and what it
    # shrank stays so: the last finds C2 beside K4, which fits. The published 4-bit classifiers were mapped like that.
    found = proposed(LayerShape(Op.DENSE, k=10, c=512, weight_bits=4, activation_bits=4), COMPUTE)
    assert found[0] == "K8 C8 C2 C3"
    assert found[2] == "C8 C8 C2 K4"
    # 8-bit weights: 4 fit.
    assert proposed(LayerShape(Op.DENSE, k=128, c=256), COMPUTE)[0] in ("K8 C8 K2 C2", "K8 C8 C2 C2")


def test_equal_proposals_are_made_once() -> None:
    # 32-bit weights: a single one fits, whatever was unrolled.
    found = proposed(LayerShape(Op.DENSE, k=10, c=512, weight_bits=32, activation_bits=32), COMPUTE)
    assert len(found) == len(set(found))


def test_mixed_search_adds_to_the_plain_one() -> None:
    # 3 x 5 on one dimension of 16: no single loop fills more than 5.
    core = grid(16)
    shape = LayerShape(Op.DENSE, k=3, c=5)
    assert proposed(shape, core)[0] == "C5"
    mixed = proposed(shape, core, mixed=True)
    assert mixed[: len(proposed(shape, core))] == proposed(shape, core)
    assert "K3 C5" in mixed
    assert len(proposed(shape, core, count=5)) == 5
