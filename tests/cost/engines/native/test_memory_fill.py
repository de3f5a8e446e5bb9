"""How much of the memories a mapping fills: all it can as ZigZag does, or as much as is best."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.engines.cost_engine import EngineOptions, build_engines
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.engines.native.memory_levels import partly_used
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import ArrayDimension, Core
from offramp.hardware.loader import load_accelerator
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native import native_toys

HOW_TO = Path(__file__).parents[4] / "docs" / "how-to" / "add-an-accelerator.md"
BEST = NativeEngine(loma_lpf_limit=4, memory_fill="best")
CONV = LayerShape(Op.CONV, k=16, c=16, oy=8, ox=8, fy=3, fx=3, iy=8, ix=8, padding=(1, 1, 1, 1))


@pytest.fixture(scope="module")
def small_mcu(tmp_path_factory: pytest.TempPathFactory) -> Core:
    """The core of the example of the how-to."""
    found = re.search(r"```yaml\n(schema: 1.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert found is not None
    path = tmp_path_factory.mktemp("chips") / "small-mcu.yaml"
    path.write_text(found[1])
    return load_accelerator(path).cores[0]


def with_sram(core: Core, size_bits: int) -> Core:
    memories = (replace(item, size_bits=size_bits) if item.name == "sram" else item for item in core.memories)
    return replace(core, memories=tuple(memories))


def test_a_larger_memory_is_never_worse_where_a_part_of_it_may_be_left_unused(small_mcu: Core) -> None:
    sizes = [2**power for power in range(9, 20, 2)]
    cycles = [BEST.price([(CONV, with_sram(small_mcu, size))])[0].latency_cycles for size in sizes]
    assert cycles == sorted(cycles, reverse=True)


def test_a_mapping_that_fills_the_memory_loads_before_it_computes(small_mcu: Core) -> None:
    """Why more SRAM costs cycles by default: with little of it, weights come while the array computes."""
    little, much = (NativeEngine().price([(CONV, with_sram(small_mcu, size))])[0] for size in (1024, 65536))
    assert little.latency_cycles < much.latency_cycles
    assert little.onload_cycles < much.onload_cycles


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 8), st.sampled_from([512, 3000, 20_000]))
def test_the_best_fill_is_never_slower_than_a_full_memory(k: int, c: int, size: int, sram_bits: int) -> None:
    inner = native_toys.memory("sram", "I1 I2 O", size_bits=sram_bits, bandwidth_bits=32)
    core = native_toys.core(inner, native_toys.memory("ram", "I1 I2 O"), lanes=4)
    shape = LayerShape(Op.CONV, k=k, c=c, oy=size, ox=size, iy=size, ix=size)
    full, best = (
        NativeEngine(loma_lpf_limit=4, memory_fill=fill).price([(shape, core)])[0] for fill in ("full", "best")
    )
    assert best.latency_cycles <= full.latency_cycles


def test_inner_memories_are_cut_to_the_same_power_of_two() -> None:
    sram = native_toys.memory("sram", "I1 I2 O", size_bits=20)
    register = native_toys.memory("reg", "I2", size_bits=6)
    core = native_toys.core(register, sram, native_toys.memory("ram", "I1 I2 O", size_bits=1000))
    sizes = [tuple(memory.size_bits for memory in used.memories) for used in partly_used(core)]
    assert sizes == [(6, 16, 1000), (6, 8, 1000), (4, 4, 1000), (2, 2, 1000), (1, 1, 1000)]
    alone = native_toys.core(native_toys.memory("ram", "I1 I2 O"))
    assert list(partly_used(alone)) == []


def test_a_layer_that_fits_no_best_ranked_mapping_is_priced_under_another() -> None:
    """Of an array of 4 x 4 x 8 x 8 the three best-ranked unrollings fill buffers with more than the next one holds."""
    served = ("D3", "D4")
    every = ("D1", "D2", "D3", "D4")
    memories = (
        native_toys.memory("weights", "I2", 32_768, 64, served),
        native_toys.memory("sums", "O", 3072, 192, served),
        native_toys.memory("inputs", "I1", 524_288, 64, served),
        native_toys.memory("shared", "I1 I2 O", 2_097_152, 1024, every),
        native_toys.memory("ram", "I1 I2 O", 10**10, 64, every),
    )
    array = tuple(ArrayDimension(name, size) for name, size in zip(every, (4, 4, 8, 8), strict=True))
    core = replace(native_toys.core(*memories), array=array)
    shape = LayerShape(Op.MULTIPLY, g=4, oy=484, ox=484, iy=484, ix=484)
    with pytest.raises(UnsupportedLayerError, match="no loop order fits its memories"):
        NativeEngine(unrolling="zigzag").price([(shape, core)])
    (cost,) = NativeEngine().price([(shape, core)])
    assert cost.temporal_cycles >= shape.macs / core.peak_macs_per_cycle


def test_the_fill_is_an_option_of_the_engine_and_part_of_its_version() -> None:
    (engine,) = build_engines("native", EngineOptions(memory_fill="best"))
    assert engine == NativeEngine(memory_fill="best")
    assert engine.version != NativeEngine().version
