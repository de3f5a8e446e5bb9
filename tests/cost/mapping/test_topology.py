import pytest

from offramp.cost.mapping.topology import Topology, read_energy_pj, write_energy_pj
from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import Accelerator, CoreKind, Link
from tests.cost.toys import core, memory, toy_accelerator


def test_direct_link_and_its_medium() -> None:
    route = Topology(toy_accelerator()).route("npu", "pool")
    assert route.media == ("npu->pool",)
    assert (route.duration(0), route.duration(1), route.duration(32), route.duration(33)) == (0, 1, 1, 2)


def test_links_of_one_shared_medium_are_one_medium() -> None:
    topology = Topology(toy_accelerator())
    assert topology.route("npu", "dram").media == topology.route("dram", "simd").media == ("bus",)


def test_link_without_bandwidth_takes_no_time() -> None:
    assert Topology(toy_accelerator()).route("npu", "simd").duration(10**9) == 0


def test_fewest_links_and_the_slowest_decides() -> None:
    cores = tuple(core(name, CoreKind.COMPUTE) for name in "abcd")
    links = (Link("a", "b", 8), Link("b", "c", 2, 0.5), Link("c", "d", 8, 0.25), Link("a", "c", 4))
    route = Topology(Accelerator("x", cores, links)).route("a", "d")
    assert [(x.sender, x.receiver) for x in route.links] == [("a", "c"), ("c", "d")]
    assert route.duration(16) == 4
    assert route.energy_pj(16) == 4.0


def test_missing_way_is_named() -> None:
    accelerator = Accelerator("x", (core("a", CoreKind.COMPUTE), core("b", CoreKind.POOLING)), (Link("b", "a", 8),))
    with pytest.raises(AcceleratorError, match="from core 'a' to core 'b'"):
        Topology(accelerator).route("a", "b")


def test_energies_pay_whole_accesses() -> None:
    ram = memory("ram", 1000, width_bits=64, read_pj=3.0, write_pj=5.0)
    assert read_energy_pj(ram, 65) == 6.0
    assert write_energy_pj(ram, 64) == 5.0
    assert read_energy_pj(ram, 0) == 0.0


def test_top_memory_of_an_operand() -> None:
    one = core("a", CoreKind.COMPUTE)
    assert one.outermost_memory("I2").name == "ram"
