"""Links and cores are busy with one thing at a time: starts and ends by hand."""

from types import SimpleNamespace
from typing import Any

import pytest

from offramp.cost.mapping.optimized.router import RoutedTransfer
from offramp.cost.mapping.optimized.simulation.memory_occupancy import Residency
from offramp.cost.mapping.optimized.simulation.shared_resources import SharedResources
from offramp.cost.schedule import Region, TransferKind

HERE = Region(0, 1, 0, 1)
NONE = Region(0, 0, 0, 0)


def routed(media: tuple[str, ...], duration: int, energies: tuple[float, ...] = (1.0,)) -> RoutedTransfer:
    receivers = ("b", "c")[: len(energies)]
    return RoutedTransfer(HERE, "a", receivers, media, duration, 8 * duration, energies)


def sent(resources: SharedResources, media: tuple[str, ...], duration: int, ready: float) -> float:
    """When a transfer has arrived."""
    return resources.send(routed(media, duration), "x", TransferKind.ACTIVATION, "conv", ready)


def block(*durations: int, weights: int = 0) -> Any:
    """A block that takes so many cycles on each core; a core of 0 cycles has no part of it."""
    costs = [SimpleNamespace(mac_energy_pj=2.0 * x, memory_energy=()) if x else None for x in durations]
    return SimpleNamespace(
        durations=durations,
        duration=max(durations),
        energy_pj=10.0,
        results=tuple(HERE if x else NONE for x in durations),
        costs=costs,
        weight_bits=(weights,) * len(durations),
    )


def tile(name: str = "conv") -> Any:
    return SimpleNamespace(layer=SimpleNamespace(name=name))


def computed(resources: SharedResources, cores: tuple[str, ...], what: Any, ready: float, **others: Any) -> float:
    """When a block is done."""
    return resources.compute(tile(), what, cores, ready, [], **others)


def test_a_transfer_waits_for_its_link_and_uses_a_gap_that_is_long_enough() -> None:
    resources = SharedResources()
    assert sent(resources, ("bus",), 10, 5) == 15
    assert sent(resources, ("bus",), 10, 30) == 40
    assert sent(resources, ("bus",), 16, 0) == 56
    assert sent(resources, ("bus",), 15, 0) == 30
    assert sent(resources, ("other",), 16, 0) == 16


def test_a_transfer_over_two_links_waits_until_both_are_idle_at_once() -> None:
    """`near` is busy from 0 to 10 and 14 to 20, `far` from 8 to 15: 4 cycles fit both from 20 on, and not at 10."""
    resources = SharedResources()
    sent(resources, ("near",), 10, 0)
    sent(resources, ("near",), 6, 14)
    sent(resources, ("far",), 7, 8)
    assert sent(resources, ("near", "far"), 4, 0) == 24
    # Both are taken: the next one comes after it on either.
    assert sent(resources, ("near",), 5, 20) == 29
    assert sent(resources, ("far",), 5, 20) == 29
    # The gap of `far` before its first transfer is left.
    assert sent(resources, ("far",), 8, 0) == 8


def test_the_cores_of_a_block_start_together_and_each_is_free_when_its_own_part_is_done() -> None:
    resources = SharedResources()
    assert computed(resources, ("a",), block(7), 0) == 7
    assert computed(resources, ("a", "b"), block(3, 9), 2) == 16
    assert computed(resources, ("a",), block(2), 0) == 12
    assert computed(resources, ("b",), block(7), 0) == 7
    assert computed(resources, ("b",), block(1), 7) == 17
    assert resources.last_cycle == 17


def test_a_core_without_a_part_of_a_block_is_neither_waited_for_nor_busy() -> None:
    resources = SharedResources()
    assert computed(resources, ("b",), block(50), 0) == 50
    assert computed(resources, ("a", "b"), block(4, 0), 1) == 5
    assert computed(resources, ("b",), block(1), 0) == 51
    assert [(x.core, x.start_cycle, x.end_cycle) for x in resources.executions()] == [
        ("b", 0, 50),
        ("a", 1, 5),
        ("b", 50, 51),
    ]


def test_a_block_with_operands_off_chip_has_its_links_to_itself() -> None:
    """The core is idle from 6 on, the link from 20 on but for 25 to 30: 6 cycles fit from 30 on."""
    resources = SharedResources()
    computed(resources, ("a",), block(6), 0)
    sent(resources, ("dram",), 20, 0)
    sent(resources, ("dram",), 5, 25)
    assert computed(resources, ("a",), block(6), 0, media=("dram",)) == 36
    assert sent(resources, ("dram",), 2, 29) == 38
    assert sent(resources, ("dram",), 5, 20) == 25
    (_, streamed) = resources.executions()
    assert (streamed.start_cycle, streamed.held_media) == (30, ("dram",))


def test_a_block_whose_link_is_free_before_its_core_waits_for_the_core() -> None:
    resources = SharedResources()
    sent(resources, ("dram",), 4, 0)
    computed(resources, ("a",), block(8), 2)
    # The link is idle from 4 on; the core is idle until 2 and from 10 on.
    assert computed(resources, ("a",), block(3), 0, media=("dram",)) == 13


def test_energy_is_charged_to_the_layer_at_the_start() -> None:
    resources = SharedResources()
    resources.send(routed(("bus",), 4, (1.5, 0.25)), "x", TransferKind.WEIGHTS, "dense", 3)
    computed(resources, ("a",), block(4), 5)
    assert [(x.layer, x.start_cycle, x.energy_pj) for x in resources.charges] == [("dense", 3, 1.75), ("conv", 5, 10.0)]
    first, second = resources.transfers()
    assert (first.receiver, first.energy_pj, first.broadcast) == ("b", 1.5, False)
    assert (second.receiver, second.energy_pj, second.broadcast) == ("c", 0.25, True)
    assert (second.start_cycle, second.end_cycle, second.bits) == (3, 7, 32)


@pytest.mark.parametrize(("bits", "weights"), [(16, "weights of conv/0.0"), (0, "")])
def test_an_execution_names_its_weights_where_it_needs_any(bits: int, weights: str) -> None:
    """Where a core holds several units, the first names them."""
    resources = SharedResources()
    residencies = [("a", Residency(f"weights of conv/0.{unit}", HERE, 8, 0)) for unit in (0, 1)]
    resources.compute(tile(), block(4, weights=bits), ("a",), 0, residencies)
    (execution,) = resources.executions()
    assert execution.weights == weights
    assert execution.mac_energy_pj == 8.0
