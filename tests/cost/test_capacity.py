"""What a network needs of the memories: sums by hand."""

from dataclasses import replace
from itertools import pairwise

import pytest

from offramp.cost.capacity import memory_needs, most_live_bits, size_text
from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.hardware.loader import load_accelerator
from offramp.workload.graph import Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.cost.toys import ToyEngine, add, conv, core, dense, layer, toy_accelerator


def heads(*sizes: int) -> Workload:
    """Dense layers one after another, 8 bits throughout; the last one is the exit."""
    layers = []
    for place, (inputs, outputs) in enumerate(pairwise(sizes)):
        before = (f"l{place - 1}",) if place else ()
        role = Role.BRANCH if place == len(sizes) - 2 else Role.BACKBONE
        layers.append(layer(f"l{place}", dense(inputs, outputs), *before, role=role))
    return Workload("heads", tuple(layers), (layers[-1].name,))


def test_weights_that_exceed_the_flash_are_told() -> None:
    # 2,670,000 weights of 8 bits on a microcontroller with 2 MiB of flash.
    needs = memory_needs(heads(1000, 2000, 335), load_accelerator("mcu"))
    weights, activations = needs
    assert (weights.content, weights.needed_bits, weights.available_bits) == ("weights", 2_670_000 * 8, 2**24)
    assert not weights.fits
    assert weights.share == 2_670_000 / 2**21
    assert activations.fits
    assert weights.sentence == (
        "The weights do not fit: they need 2.546 MiB at once, and memory 'flash' of core 'flash' holds 2 MiB."
    )


def test_activations_that_exceed_the_sram_are_told() -> None:
    # Flash holds no activations: 64 channels of 96 x 96 read and as many written are 1,152 KiB at once.
    shape = conv(64, 64, 96)
    workload = Workload("maps", (layer("a", shape), layer("b", shape, "a", role=Role.BRANCH)), ("b",))
    _, activations = memory_needs(workload, load_accelerator("mcu"))
    assert activations.memory == "memory 'sram' of core 'cpu'"
    assert (activations.needed_bits, activations.available_bits) == (2 * 64 * 96 * 96 * 8, 512 * 1024 * 8)
    assert not activations.fits


def test_a_memory_that_holds_both_must_hold_both_at_once() -> None:
    workload = heads(10, 20, 30)
    bits = (10 * 20 + 20 * 30 + 50) * 8
    for size, fits in ((bits, True), (bits - 1, False)):
        chip = toy_accelerator()
        small = tuple(
            replace(c, memories=(replace(c.memories[0], size_bits=size),)) if c.kind is CoreKind.OFFCHIP else c
            for c in chip.cores
        )
        (need,) = memory_needs(workload, replace(chip, cores=small))
        assert (need.content, need.needed_bits, need.fits) == ("weights and activations", bits, fits)


def test_without_an_offchip_memory_all_must_be_on_the_core() -> None:
    (need,) = memory_needs(heads(10, 20, 30), toy_accelerator(compute_bits=1000, offchip=False))
    assert need.memory == "memory 'ram' of core 'npu'"
    assert not need.fits


def test_tensors_are_live_until_their_last_reader() -> None:
    # While a is computed, the input and a are live; then a and b; in the end a, b and their sum.
    size = 4 * 8 * 8 * 8
    layers = (layer("a", conv()), layer("b", conv(), "a"), layer("sum", add(), "b", "a", role=Role.BRANCH))
    assert most_live_bits(Workload("skip", layers, ("sum",))) == 3 * size
    chain = (layer("a", conv()), layer("b", conv(), "a"), layer("c", conv(), "b", role=Role.BRANCH))
    assert most_live_bits(Workload("chain", chain, ("c",))) == 2 * size


def test_activation_functions_work_in_place() -> None:
    active = LayerShape(Op.ACTIVATION, g=4, oy=8, ox=8, iy=8, ix=8)
    layers = (
        layer("a", conv()),
        Layer("relu", active, ("a",), 0, Role.BACKBONE),
        layer("b", conv(), "relu", role=Role.BRANCH),
    )
    assert most_live_bits(Workload("active", layers, ("b",))) == 2 * 4 * 8 * 8 * 8


def test_a_report_says_what_does_not_fit() -> None:
    report = LayerByLayerModel(ToyEngine()).estimate(heads(1000, 2000, 335), load_accelerator("mcu"))
    assert [need.content for need in report.memory] == ["weights", "activations"]
    assert report.memory_use == 2_670_000 / 2**21
    assert any("The weights do not fit" in text for text in report.warnings)
    small = LayerByLayerModel(ToyEngine()).estimate(heads(10, 10), load_accelerator("mcu"))
    assert not any("fit" in text for text in small.warnings)


def test_an_accelerator_without_a_compute_core_has_nothing_to_compare() -> None:
    assert memory_needs(heads(10, 10), Accelerator("none", (core("dram", CoreKind.OFFCHIP),), ())) == ()


@pytest.mark.parametrize(
    ("bits", "text"),
    [(0, "0 bit"), (7, "7 bit"), (8, "1 B"), (2**13, "1 KiB"), (3 * 2**22, "1.5 MiB"), (2**33, "1 GiB")],
)
def test_sizes_are_written_in_their_largest_unit(bits: int, text: str) -> None:
    assert size_text(bits) == text
