"""Transfers between the cores of the shipped accelerator, worked out by hand."""

import pytest

from offramp.cost.mapping.optimized.core_groups import core_groups
from offramp.cost.mapping.optimized.router import Router
from offramp.cost.mapping.optimized.tensor_regions import Axis, Layout, TensorShape
from offramp.cost.schedule import Region
from tests.cost.mapping.optimized.networks import quad


def test_halo_scatter_and_gather_by_hand() -> None:
    router = Router(core_groups(quad())[0])
    tensor = TensorShape(4, 8, 64)  # 4 channels of 8 rows of 8 bytes.
    line = ("core0", "core1", "core3", "core2")
    rows = Layout(Axis.ROWS, line)
    needs = [Region(0, 4, 0, 3), Region(0, 4, 1, 5), Region(0, 4, 3, 7), Region(0, 4, 5, 8)]
    halo = router.traffic(tensor, rows, needs, line)
    # Three borders, a row of 4 x 64 bits in each direction, each on its own link of 32 bits a cycle.
    assert len(halo.transfers) == 6
    assert {x.duration for x in halo.transfers} == {8}
    assert halo.least_cycles == 8
    # 256 bits: one access of 2048 bits at either end.
    assert halo.energy_pj == pytest.approx(6 * (416.16 + 378.4))
    whole = router.traffic(tensor, rows, [tensor.whole], ("core0",))
    assert [x.sender for x in whole.transfers] == ["core1", "core3", "core2"]
    # What core3 sends comes over core1's link too: 512 bits from each.
    assert whole.least_cycles == 32
    nothing = router.traffic(tensor, rows, rows.regions(tensor), line)
    assert (nothing.transfers, nothing.energy_pj) == ((), 0)


def test_a_broadcast_takes_each_link_once_and_reads_once() -> None:
    router = Router(core_groups(quad())[0])
    routed = router.route_transfer("offchip", ("core0", "core1", "core2"), Region(0, 1, 0, 1), 640, weights=True)
    assert routed.media == ("offchip",)
    assert routed.duration == 10
    assert routed.energy_pj == pytest.approx(10 * 1000 + 3 * 2 * 52.01)
    tensor = TensorShape(1, 1, 320)
    one = Layout(Axis.WHOLE, ("core0",))
    spread = router.traffic(tensor, one, [tensor.whole] * 4, ("core0", "core1", "core3", "core2"))
    (tree,) = spread.transfers
    assert tree.duration == 10
    assert len(tree.media) == 3
    assert tree.energy_pj == pytest.approx(416.16 + 3 * 378.4)


def test_links_with_the_simd_core_take_no_time() -> None:
    router = Router(core_groups(quad())[0])
    tensor = TensorShape(1, 1, 1024)
    moved = router.traffic(tensor, Layout(Axis.WHOLE, ("core0",)), [tensor.whole], ("simd",))
    assert moved.least_cycles == 0
    assert moved.energy_pj == pytest.approx(416.16 + 2 * 75)
