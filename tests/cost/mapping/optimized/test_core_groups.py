"""The accelerator as the mapper sees it."""

from dataclasses import replace

import pytest

from offramp.cost.mapping.optimized.core_groups import core_groups, without_private_dram
from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import CoreKind
from offramp.workload.layer import Op
from tests.cost.mapping.optimized.networks import quad, team_of
from tests.cost.toys import toy_accelerator


def test_private_dram_goes_and_the_scratchpads_stay() -> None:
    group = core_groups(quad())[0]
    assert [memory.name for memory in group.compute_cores[0].memories] == ["rf_W", "rf_O", "sram_32KB", "sram_2MB"]
    assert group.activation_memories["core0"].size_bits == 2 * 1024 * 8192
    assert group.weight_memories["core0"].size_bits == 32 * 8192
    assert group.core_for(Op.CONV) is None
    assert group.core_for(Op.ADD) is group.simd
    assert group.core_for(Op.MAX_POOL) is group.pooling


def test_a_memory_that_is_all_a_core_has_stays() -> None:
    accelerator = toy_accelerator(compute_bits=10**9)
    group = core_groups(accelerator)[0]
    assert group.compute_cores[0].memories == accelerator.cores[0].memories
    # Shared by weights and activations: a quarter and the rest.
    assert group.weight_memories["npu"].size_bits == 10**9 // 4
    assert group.activation_memories["npu"].size_bits == 10**9 - 10**9 // 4
    assert without_private_dram(accelerator.cores[0], accelerator.core("dram")) is accelerator.cores[0]


def test_memories_are_paid_for_whole_accesses() -> None:
    memory = replace(
        core_groups(quad())[0].activation_memories["core0"], read_bits=64, read_pj=2.0, write_bits=32, write_pj=5.0
    )
    assert [memory.read_energy_pj(bits) for bits in (0, 1, 64, 65)] == [0.0, 2.0, 2.0, 4.0]
    assert [memory.write_energy_pj(bits) for bits in (0, 1, 64, 65)] == [0.0, 5.0, 10.0, 15.0]


def test_rows_go_to_neighbours() -> None:
    # In the mesh core1 and core2 are two links apart.
    assert [core.name for core in core_groups(quad())[0].compute_cores] == ["core0", "core1", "core3", "core2"]
    assert [core.name for core in core_groups(team_of(3))[0].compute_cores] == ["npu0", "npu1", "npu2"]


def test_without_dram_the_cores_have_been_given_what_they_need() -> None:
    (group,) = core_groups(toy_accelerator(offchip=False))
    assert group.offchip.name == "given"
    assert group.route("given", "npu").duration(10**9) == 0


def test_without_compute_core_there_is_no_mapping() -> None:
    full = quad()
    bare = replace(full, cores=tuple(x for x in full.cores if x.kind is not CoreKind.COMPUTE))
    with pytest.raises(AcceleratorError, match="compute core"):
        core_groups(bare)


def test_each_kind_of_compute_core_is_a_team() -> None:
    full = quad()
    odd = replace(full.cores[3], mac_energy_pj=9.0)
    teams = [
        len(group.compute_cores) for group in core_groups(replace(full, cores=(*full.cores[:3], odd, *full.cores[4:])))
    ]
    assert teams == [3, 1]
