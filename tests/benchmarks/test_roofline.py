"""The roofline: bounds worked out by hand, and what an accelerator must have for one."""

from dataclasses import replace

import pytest
from benchmarks.roofline import dram_bits_per_cycle, roofline

from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import CoreKind
from tests.cost.mapping.optimized.networks import quad
from tests.cost.toys import two_exit_workload


def test_without_a_compute_core_there_is_no_roofline() -> None:
    full = quad()
    bare = replace(full, cores=tuple(x for x in full.cores if x.kind is not CoreKind.COMPUTE))
    with pytest.raises(AcceleratorError, match="roofline"):
        roofline(two_exit_workload(), bare)


def test_roofline_by_hand() -> None:
    workload = two_exit_workload()
    first, second = roofline(workload, quad())
    # conv 3 -> 4, conv 4 -> 4 (3 x 3, 8 x 8), dense 16 -> 10.
    macs = 64 * 9 * (3 * 4 + 4 * 4) + 160
    assert first.macs == macs
    assert first.dram_bits == 8 * (9 * 12 + 9 * 16 + 160 + 3 * 64 + 10)
    assert first.compute_cycles == macs / 4096
    assert first.dram_cycles == first.dram_bits / 64
    assert first.latency_cycles == first.dram_cycles
    assert first.energy_pj == pytest.approx(macs * 0.04 + first.dram_bits * 1000 / 64)
    assert second.macs == macs + 64 * 9 * 16 + 160
    assert second.exit == "fc1"
    assert dram_bits_per_cycle(quad()) == 64
