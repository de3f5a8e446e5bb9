"""Engines held against published figures: the comparison itself, and every figure of the catalogue."""

from dataclasses import replace

import pytest

from offramp.cost.engines.formula.engine import FormulaEngine
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.published_figures import ReferenceComparison, compare_with_reference
from offramp.errors import UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.loader import accelerator_names, load_accelerator
from offramp.hardware.published_figures import ReferenceLayer
from offramp.workload.layer import LayerShape, Op
from tests.cost.engines.native.native_toys import core

DENSE = LayerShape(Op.DENSE, k=4, c=6)


def chip(*rows: ReferenceLayer) -> Accelerator:
    return Accelerator("toy-chip", (core(),), (), reference=rows)


def test_each_given_quantity_is_one_comparison() -> None:
    (cost,) = NativeEngine().price([(DENSE, core())])
    rows = compare_with_reference(
        chip(
            ReferenceLayer("a", "toy", DENSE, cost.latency_cycles, cost.energy_pj * 2, 0.1, "s"),
            ReferenceLayer("b", "toy", DENSE, None, cost.energy_pj, 0.0, "t"),
            ReferenceLayer("c", "toy", DENSE, cost.latency_cycles / 2, None, 1.0, "u"),
        ),
        NativeEngine(),
    )
    assert [(row.layer, row.quantity, row.agrees) for row in rows] == [
        ("a", "cycles", True),
        ("a", "energy_pj", False),
        ("b", "energy_pj", True),
        ("c", "cycles", True),
    ]
    assert [row.difference for row in rows] == pytest.approx([0.0, -0.5, 0.0, 1.0])


@pytest.mark.parametrize(("priced", "agrees"), [(90.0, True), (89.0, False), (110.0, True), (111.0, False)])
def test_the_tolerance_goes_both_ways(priced: float, agrees: bool) -> None:
    assert ReferenceComparison("a", "toy", "cycles", 100.0, priced, 0.1 + 1e-9, "s").agrees is agrees


def test_nothing_published_is_nothing_to_compare() -> None:
    assert compare_with_reference(chip(), NativeEngine()) == ()


def test_a_layer_that_cannot_be_priced_is_an_error() -> None:
    tiny = replace(core().memories[0], size_bits=8)
    accelerator = Accelerator(
        "toy-chip", (core(tiny),), (), reference=(ReferenceLayer("a", "toy", DENSE, 9.0, None, 0.1, "s"),)
    )
    with pytest.raises(UnsupportedLayerError, match="its weights need 24 B, and ram holds 1 B"):
        compare_with_reference(accelerator, NativeEngine())


@pytest.mark.parametrize("name", accelerator_names())
def test_shipped_accelerators_are_priced_as_published(name: str) -> None:
    accelerator = load_accelerator(name)
    engine = NativeEngine() if accelerator.formulas is None else FormulaEngine(accelerator)
    for row in compare_with_reference(accelerator, engine):
        assert row.agrees, f"{row.layer}, {row.quantity}: {row.priced} instead of {row.published}"


def test_the_reference_accelerator_has_such_figures() -> None:
    rows = compare_with_reference(load_accelerator("edge-tpu-quad"), NativeEngine())
    assert len(rows) >= 10
    assert max(row.tolerance for row in rows) <= 1e-9
