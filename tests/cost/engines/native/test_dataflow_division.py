"""Loops that a dataflow has on several array dimensions: divisions by hand, against all choices and against ZigZag."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.engines.cost_engine import EngineOptions, build_engines
from offramp.cost.engines.native.dataflow_division import best_divisions, zigzag_division
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.engines.native.loop_nest import loop_nest
from offramp.cost.engines.native.memory_levels import view_core
from offramp.cost.report import LayerCost
from offramp.hardware.accelerator import ArrayDimension, Core, SpatialLoop
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native import native_toys

BEST = NativeEngine(loma_lpf_limit=4)
ZIGZAG = NativeEngine(loma_lpf_limit=4, unrolling="zigzag")


def array(flow: str, bandwidth_bits: int = 10**6, *inner: str) -> Core:
    """A core whose dataflow is given as loops with their array dimensions' sizes, such as ``K4 C4 K8``."""
    names = [f"D{place}" for place in range(1, len(flow.split()) + 1)]
    loops = tuple(
        SpatialLoop(name, word.rstrip("0123456789"), int(word.lstrip("BGKCOXYF")))
        for name, word in zip(names, flow.split(), strict=True)
    )
    ram = native_toys.memory("ram", "I1 I2 O", bandwidth_bits=bandwidth_bits, served=tuple(names))
    registers = [native_toys.memory(f"reg_{link}", link, 64, 64, served=()) for link in inner]
    core = native_toys.core(*registers, ram, dataflow=loops)
    return replace(core, array=tuple(ArrayDimension(loop.array_dimension, loop.size) for loop in loops))


def conv(k: int, c: int, size: int = 16, kernel: int = 3) -> LayerShape:
    return LayerShape(
        Op.CONV, k=k, c=c, oy=size, ox=size, fy=kernel, fx=kernel, iy=size, ix=size, padding=(kernel // 2,) * 4
    )


def price(engine: NativeEngine, shape: LayerShape, core: Core) -> LayerCost:
    return engine.price([(shape, core)])[0]


SIMBA = array("K4 C4 K8 C8")


@pytest.mark.parametrize(
    ("outputs", "rounds"),
    # 16 inputs run at once, as 4 x 4; so do up to 32 outputs. What is left are 16 x 16 positions and 9 taps.
    [(8, 2304), (10, 2304), (16, 2304), (24, 2304), (31, 2304), (32, 2304), (33, 4608), (64, 4608)],
)
def test_a_loop_is_divided_over_all_dimensions_that_unroll_it(outputs: int, rounds: int) -> None:
    assert price(BEST, conv(outputs, 16), SIMBA).temporal_cycles == rounds


def test_fewer_channels_never_cost_more_cycles_on_a_core_like_simba() -> None:
    core = array("K4 C4 K8 C8", 1024, "I2", "O")
    cycles = [price(BEST, conv(outputs, 16, 8), core).latency_cycles for outputs in (8, 10, 16, 24, 32, 40, 64)]
    assert cycles == sorted(cycles)


def test_zigzags_division_leaves_dimensions_idle() -> None:
    # 24 < 4 x 8 and 16 < 4 x 8: each loop leaves its later dimension. 24 / 4 x 16 / 4 rounds for each of 2,304.
    assert price(ZIGZAG, conv(24, 16), SIMBA).temporal_cycles == 24 * 2304
    # 32 = 4 x 8 fits.
    assert price(ZIGZAG, conv(32, 16), SIMBA).temporal_cycles == 4 * 2304


def test_what_zigzag_does_has_a_name() -> None:
    (best,) = build_engines("native", EngineOptions())
    (zigzag,) = build_engines("native", EngineOptions(unrolling="zigzag"))
    assert (best, zigzag) == (NativeEngine(), NativeEngine(unrolling="zigzag"))
    assert best.version != zigzag.version


sizes = st.integers(1, 40)
dataflows = st.lists(
    st.tuples(st.sampled_from(["K", "C", "OX"]), st.sampled_from([2, 3, 4, 5, 8])), min_size=1, max_size=4
).map(lambda loops: " ".join(f"{loop}{size}" for loop, size in loops))


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, dataflows)
def test_no_other_division_leaves_fewer_rounds(outputs: int, inputs: int, flow: str) -> None:
    shape, core = LayerShape(Op.DENSE, k=outputs, c=inputs), array(flow)
    extents = {"K": outputs, "C": inputs}
    every = []
    loops = [loop for loop in core.dataflow if loop.loop in extents]
    for factors in itertools.product(*(range(1, loop.size + 1) for loop in loops)):
        units = dict.fromkeys(extents, 1)
        for loop, factor in zip(loops, factors, strict=True):
            units[loop.loop] *= factor
        every.append(math.prod(math.ceil(extent / units[dim]) for dim, extent in extents.items()))
    assert price(BEST, shape, core).temporal_cycles == min(every)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(0, 9), st.integers(0, 9), dataflows)
def test_a_smaller_layer_never_costs_more_cycles(k: int, c: int, more_k: int, more_c: int, flow: str) -> None:
    """On cores that never wait for a memory; where they do, ZigZag's model of stalls is not monotone itself."""
    core = array(flow)
    small, large = price(BEST, conv(k, c, 4, 1), core), price(BEST, conv(k + more_k, c + more_c, 4, 1), core)
    assert small.temporal_cycles <= large.temporal_cycles
    assert small.latency_cycles <= large.latency_cycles


@settings(max_examples=40, deadline=None)
@given(
    sizes, sizes, st.sampled_from([1, 3]), dataflows, st.sampled_from([32, 64, 512]), st.sampled_from(["", "I2", "O"])
)
def test_the_best_division_is_never_slower_than_zigzags(
    k: int, c: int, kernel: int, flow: str, bandwidth: int, register: str
) -> None:
    core = array(flow, bandwidth, *register.split())
    shape = conv(k, c, 6, kernel)
    assert price(BEST, shape, core).latency_cycles <= price(ZIGZAG, shape, core).latency_cycles


def test_a_smaller_layer_may_take_more_energy_when_the_fastest_mapping_is_wanted() -> None:
    """Energy is not monotone: cycles decide first, and a faster mapping may move more data."""
    core = array("K4 K8", 64, "I2")
    small, large = (price(BEST, LayerShape(Op.DENSE, k=6, c=inputs), core) for inputs in (13, 14))
    # The register holds 8 weights: 14 inputs go as 2 x 7, 13 cannot be cut, and their weights come one by one.
    assert small.latency_cycles < large.latency_cycles
    assert small.energy_pj > large.energy_pj


def test_a_dataflow_that_fits_the_layer_has_one_division() -> None:
    nest, view = loop_nest(conv(64, 32)), view_core(SIMBA)
    limits = {
        (item.name, dim): min(item.size, size)
        for item in SIMBA.array
        for dim, size in zip(nest.dims, nest.sizes, strict=True)
    }
    assert best_divisions(nest, view, limits) == ()
    assert [loop.size for item in zigzag_division(nest, view, limits) for loop in item.loops] == [4, 4, 8, 8]


def test_loops_whose_length_is_no_multiple_run_in_as_few_rounds_as_possible() -> None:
    """34 inputs on 5 lanes take 7 rounds; 34 / (34 / 7) is 7.000000000000001 in floating point, 8 rounds in ZigZag."""
    shape = LayerShape(Op.DENSE, k=1, c=34)
    assert price(BEST, shape, array("C5")).temporal_cycles == 7
    assert price(ZIGZAG, shape, array("C5")).temporal_cycles == 8


def test_dummies_beside_the_layer_take_no_multiplication() -> None:
    # 11 outputs on 4 x 8 units run as 4 x 3, one of them a dummy.
    assert price(BEST, LayerShape(Op.DENSE, k=11, c=5), array("K4 K8")).mac_energy_pj == 11 * 5 * 100
