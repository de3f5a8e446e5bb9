from dataclasses import replace

from offramp.cost.mapping.placement import place, streamed_operands, with_offchip_level
from offramp.hardware.accelerator import ArrayDimension, CoreKind
from offramp.workload.layer import LayerShape, Op
from tests.cost.toys import add, conv, core, dense, layer, memory, pool, toy_accelerator, two_exit_workload


def placed(**settings: int | bool | None) -> dict[str, str]:
    accelerator = toy_accelerator(**settings)  # type: ignore[arg-type]
    placements = place(two_exit_workload(), accelerator, accelerator.core("npu"), "offramp")
    return {x.layer.name: x.core.name for x in placements}


def test_pooling_and_element_wise_layers_go_to_their_cores() -> None:
    cores = placed()
    assert cores == {
        "a": "npu",
        "b": "npu",
        "pool0": "pool",
        "fc0": "npu",
        "c": "npu",
        "sum": "simd",
        "pool1": "pool",
        "fc1": "npu",
    }


def test_everything_runs_on_the_compute_core_where_there_is_no_other() -> None:
    assert set(placed(pooling_bits=None, simd_bits=None).values()) == {"npu"}


def test_published_convention_loops_over_the_channels_once_more_when_pooling() -> None:
    accelerator = toy_accelerator()
    for convention, channels in (("offramp", 1), ("published", 4)):
        placements = place(two_exit_workload(), accelerator, accelerator.core("npu"), convention)  # type: ignore[arg-type]
        shapes = {x.layer.name: x.priced_shape for x in placements}
        assert shapes["pool0"].c == channels
        assert shapes["b"].c == 4
        assert all(x.layer.shape.c == 1 for x in placements if x.layer.name == "pool0")


def test_fit_counts_the_output_at_partial_sum_width() -> None:
    # Inputs 2 x 256 elements x 8 bits = 4096, result 256 x 16 bits = 4096.
    shapes = {"x": conv(), "y": conv()}
    both = layer("sum", add(), "x", "y")
    assert streamed_operands(both, core("simd", CoreKind.SIMD, 8192), shapes) == ()
    assert set(streamed_operands(both, core("simd", CoreKind.SIMD, 8191), shapes)) == {"I1", "I2", "O"}


def test_fit_counts_an_input_at_the_width_of_its_producer() -> None:
    wide = replace(conv(), activation_bits=32)
    pooling = layer("pool", pool(), "x")
    # 256 elements x 32 bits = 8192 and 16 results x 16 bits = 256.
    assert streamed_operands(pooling, core("p", CoreKind.POOLING, 8448), {"x": wide}) == ()
    assert streamed_operands(pooling, core("p", CoreKind.POOLING, 8447), {"x": wide}) != ()


def test_graph_input_counts_with_its_padding() -> None:
    first = layer("a", conv(channels_in=3))
    # 3 x 10 x 10 x 8 = 2400, weights 4 x 3 x 9 x 8 = 864, result 256 x 16 = 4096.
    assert streamed_operands(first, core("npu", CoreKind.COMPUTE, 7360), {}) == ()
    assert streamed_operands(first, core("npu", CoreKind.COMPUTE, 7359), {}) != ()


def test_small_operands_stay_when_the_array_still_fits_beside_them() -> None:
    """Weights 160,000 bits go off chip; the input (16,000) and the result (160) stay in a memory of 20,000 bits."""
    inner = replace(memory("rf", 64), served_dimensions=())
    npu = replace(core("npu", CoreKind.COMPUTE), memories=(inner, memory("sram", 20_000)))
    layer_ = layer("fc", dense(2000), "x")
    shapes = {"x": dense(1, 2000)}
    # Four copies of the 64-bit register file need 256 bits.
    assert streamed_operands(layer_, npu, shapes) == ("I2",)
    tight = replace(npu, memories=(inner, memory("sram", 16_160 + 255)))
    assert set(streamed_operands(layer_, tight, shapes)) == {"I1", "I2"}


def test_activation_function_needs_no_room() -> None:
    free = layer("relu", LayerShape(Op.ACTIVATION, g=4, oy=8, ox=8, iy=8, ix=8), "x")
    assert streamed_operands(free, core("npu", CoreKind.COMPUTE, 1), {"x": conv()}) == ()


def test_off_chip_level_serves_the_whole_array_and_only_the_operands_that_need_it() -> None:
    base = replace(core("simd", CoreKind.SIMD), array=(ArrayDimension("D1", 2), ArrayDimension("D2", 2)))
    extended = with_offchip_level(base, core("dram", CoreKind.OFFCHIP), ("I1", "O"))
    assert [x.name for x in extended.memories] == ["ram", "dram_ram"]
    assert extended.memories[-1].operands == ("I1", "O")
    assert extended.memories[-1].served_dimensions == ("D1", "D2")


def test_layer_that_does_not_fit_is_priced_with_the_off_chip_level() -> None:
    accelerator = toy_accelerator(simd_bits=100)
    placements = {x.layer.name: x for x in place(two_exit_workload(), accelerator, accelerator.core("npu"), "offramp")}
    assert len(placements["sum"].priced_core.memories) == 2
    assert placements["sum"].core == accelerator.core("simd")
    assert placements["b"].priced_core == accelerator.core("npu")
