"""A core read from ZigZag's YAML, and written back so that ZigZag itself reads the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import ArrayDimension, Core, CoreKind, ImcArray, SpatialLoop
from offramp.hardware.formats.faults import Faults, read_block
from offramp.hardware.formats.zigzag_yaml import ZigzagFile, core_to_zigzag
from offramp.hardware.loader import accelerator_names, load_accelerator
from tests.hardware.samples import imc_core, write, zigzag_core


def read(data: dict[str, Any], kind: CoreKind = CoreKind.COMPUTE) -> tuple[Core | None, list[str]]:
    faults = Faults()
    context = {"min_array_size": 0 if kind is CoreKind.OFFCHIP else 1}
    block = read_block(ZigzagFile, data, "core", faults, context)
    return None if block is None else block.build("tiny", kind), faults.items


def built(data: dict[str, Any], kind: CoreKind = CoreKind.COMPUTE) -> Core:
    core, faults = read(data, kind)
    assert faults == []
    assert core is not None
    return core


def shipped() -> list[Path]:
    zigzag = pytest.importorskip("zigzag")
    return sorted(Path(zigzag.__file__).parent.glob("inputs/hardware/*.yaml"))


def test_both_dialects_give_the_same_core() -> None:
    old, new = built(zigzag_core("old")), built(zigzag_core("new"))
    assert old == new
    assert old.array == (ArrayDimension("D1", 4), ArrayDimension("D2", 2))
    assert old.mac_energy_pj == 0.5
    assert [memory.name for memory in old.memories] == ["reg", "sram"]
    assert old.dataflow == ()


def test_the_oldest_name_of_the_array_is_read() -> None:
    data = zigzag_core("old")
    data["multipliers"] = data.pop("operational_array") | {"multiplier_area": 1, "input_precision": [8, 8]}
    assert built(data) == built(zigzag_core("old"))


def test_dataflow_and_systolic_dimensions_are_read() -> None:
    data = zigzag_core("new")
    data["dataflows"] = {"D1": ["K, 2", "C,2"], "D2": ["OX, 2"]}
    data["operational_array"]["systolic_dimensions"] = ["D1"]
    core = built(data)
    assert core.dataflow == (SpatialLoop("D1", "K", 2), SpatialLoop("D1", "C", 2), SpatialLoop("D2", "OX", 2))
    assert core.systolic_dimensions == ("D1",)


def test_in_memory_arrays_are_read() -> None:
    analog, digital = built(imc_core("analog")), built(imc_core("digital"))
    assert analog.imc == ImcArray("analog", 8, 4, 2, 6)
    assert digital.imc == ImcArray("digital", 8, 4, 2, 0)
    assert analog.mac_energy_pj == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sizes": [4]}, "`sizes` must have one value per dimension, got 1 for 2"),
        ({"sizes": [4, 0]}, "`sizes` must be >= 1, got 0"),
        ({"sizes": [4, "two"]}, "`sizes` must be a whole number, got 'two'"),
        ({"dimensions": ["D1", "X"]}, "`dimensions` must be D1, D2, ..., got 'X'"),
        ({"dimensions": ["D1", "D1"]}, "`dimensions` names 'D1' twice"),
        ({"dimensions": [], "sizes": []}, "`sizes` must have one value per dimension, got 0 for 0"),
        ({"unit_energy": -1}, "`unit_energy` must be a finite number >= 0, got -1"),
        ({"unit_energy": None}, "`multiplier_energy` is missing"),
        ({"systolic_dimensions": ["D3"]}, "`systolic_dimensions` names 'D3', which is not in `dimensions`"),
        ({"volts": 1}, "unknown key `volts`"),
    ],
)
def test_faults_of_the_array(change: dict[str, Any], says: str) -> None:
    data = zigzag_core("new")
    data["operational_array"] |= change
    faults = read(data)[1]
    assert any(says in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bit_serial_precision": 16}, "`bit_serial_precision` must be at most the 8 activation bits, got 16"),
        ({"bit_serial_precision": 3}, "`bit_serial_precision` must be a power of two, got 3"),
        ({"bit_serial_precision": None}, "`bit_serial_precision` is missing"),
        ({"input_precision": [7, 4]}, "`input_precision` must be a power of two, got 7"),
        ({"input_precision": [8]}, "`input_precision` must be [activation bits, weight bits], got 1 values"),
        ({"input_precision": [8, 16]}, "memory 'cells' must hold whole 16-bit weights, got size 8"),
        ({"adc_resolution": None}, "`adc_resolution` is missing"),
        ({"imc_type": "digital"}, "`adc_resolution` must be 0 on a digital array, got 6"),
        ({"imc_type": "optical"}, "`imc_type` must be one of analog, digital, got 'optical'"),
    ],
)
def test_faults_of_an_in_memory_array(change: dict[str, Any], says: str) -> None:
    data = imc_core()
    data["operational_array"] |= change
    faults = read(data)[1]
    assert any(says in fault for fault in faults), faults


def test_an_in_memory_array_needs_its_cells() -> None:
    data = imc_core()
    data["memories"]["cells"]["served_dimensions"] = ["D1"]
    assert any("must have `served_dimensions: []`, got D1" in fault for fault in read(data)[1])
    data["memories"]["weights"] = data["memories"].pop("cells")
    assert any("needs a memory called 'cells'" in fault for fault in read(data)[1])


@pytest.mark.parametrize(
    ("dataflow", "says"),
    [
        ({"D1": ["K; 4"]}, "`D1` must hold entries such as 'K, 8'"),
        ({"D1": ["Z, 4"]}, "`D1` must hold entries such as 'K, 8'"),
        ({"D1": ["K, 0"]}, "`D1` must hold entries such as 'K, 8'"),
        ({"D1": ["K, 3", "C, 2"]}, "`D1` unrolls 6 over an array dimension of size 4"),
        ({"D5": ["K, 2"]}, "unknown key `D5`"),
        (["K, 2"], "must be a mapping"),
    ],
)
def test_faults_of_the_dataflow(dataflow: Any, says: str) -> None:
    faults = read(zigzag_core() | {"dataflows": dataflow})[1]
    assert any(says in fault for fault in faults), faults


def test_every_operand_needs_memories_up_to_the_last() -> None:
    data = zigzag_core()
    del data["memories"]["sram"]
    faults = read(data)[1]
    assert "core: no memory holds operand I1" in faults
    assert "core: no memory holds operand O" in faults
    data = zigzag_core()
    data["memories"] = {"sram": data["memories"]["sram"], "reg": data["memories"]["reg"]}
    assert read(data)[1] == []
    assert "core: the last memory 'reg' must hold all operands, but not O" in read(data, CoreKind.OFFCHIP)[1]
    assert "core: `memories` must hold at least one memory" in read(zigzag_core() | {"memories": {}})[1]


def test_only_the_last_memory_may_have_nothing_above() -> None:
    data = zigzag_core()
    for use in data["memories"]["sram"]["ports"]:
        use.pop("fh")
        use.pop("th", None)
    assert read(data)[1] == []
    data["memories"]["reg"]["ports"][0].pop("fh")
    assert read(data)[1] == ["core: memory 'reg': the write from above (fh) of I2 has no port"]


def test_only_an_offchip_core_may_be_without_multipliers() -> None:
    data = zigzag_core()
    data["operational_array"]["sizes"] = [0, 0]
    assert read(data, CoreKind.OFFCHIP)[1] == []
    assert read(data, CoreKind.SIMD)[1] == ["core.operational_array: `sizes` must be >= 1, got 0"]


def test_a_file_lists_all_its_faults_at_once(tmp_path: Path) -> None:
    data = zigzag_core()
    data["memories"]["reg"]["size"] = 0
    data["memories"]["sram"]["w_cost"] = -3
    data["operational_array"]["multiplier_energy"] = "low"
    data["clock"] = 1
    with pytest.raises(AcceleratorError, match="has 4 faults") as caught:
        load_accelerator(write(tmp_path, data))
    for part in (
        "memory 'reg': `size`",
        "memory 'sram': `w_cost`",
        "operational_array: `multiplier_energy`",
        "`clock`",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("sample", ["old", "new", "analog", "digital"])
def test_writing_and_reading_a_core_changes_nothing(sample: str) -> None:
    data = imc_core(sample) if sample in ("analog", "digital") else zigzag_core(sample)
    data["memories"]["sram"]["force_double_buffering"] = True
    data["memories"]["sram"]["area"] = 0.5
    if sample == "new":
        data["dataflows"] = {"D2": ["K, 2"]}
        data["operational_array"]["systolic_dimensions"] = ["D1", "D2"]
    core = built(data)
    assert read(core_to_zigzag(core)) == (core, [])


def test_every_catalogue_core_survives_the_round_trip() -> None:
    for name in accelerator_names():
        for core in load_accelerator(name).cores:
            again = built(core_to_zigzag(core), core.kind)
            assert replace(again, name=core.name, source=core.source) == core


def test_every_file_that_comes_with_zigzag_loads() -> None:
    files = shipped()
    assert len(files) >= 10
    macs = {path.stem: load_accelerator(path).cores[0].peak_macs_per_cycle for path in files}
    assert macs["edge_tpu_like"] == 1024
    assert macs["eyeriss_like"] == 14 * 12
    assert macs["aimc"] == 128 * 128


def described(core: Any) -> dict[str, Any]:
    """What ZigZag knows about a core, every figure that a price depends on."""
    array = core.operational_array
    memories = [
        (
            level.memory_instance.name,
            level.memory_instance.size,
            level.memory_instance.r_cost,
            level.memory_instance.w_cost,
            level.memory_instance.force_double_buffering,
            sorted(str(operand) for operand in level.operands),
            sorted(str(dimension) for dimension in level.served_dimensions),
            sorted((port.name, str(port.type), port.bw_min, port.bw_max) for port in level.memory_instance.ports),
            {
                str(key): {str(move): port for move, port in use.items()}
                for key, use in level.port_alloc_raw.data.items()
            },
        )
        for level in core.memory_hierarchy.mem_level_list
    ]
    return {
        "memories": memories,
        "sizes": {str(key): value for key, value in array.dimension_sizes.items()},
        "energy": getattr(getattr(array, "unit", None), "energy_cost", None),
        "systolic": sorted(str(dimension) for dimension in getattr(array, "systolic_dimensions", ())),
        "dataflows": str(core.dataflows),
    }


def test_zigzag_reads_the_same_core_from_our_writing(tmp_path: Path) -> None:
    files = shipped()
    parser = pytest.importorskip("zigzag.stages.parser.accelerator_parser").AcceleratorParserStage
    for path in files:
        core = load_accelerator(path).cores[0]
        written = write(tmp_path, core_to_zigzag(core))
        assert described(parser.parse_accelerator(str(written))) == described(parser.parse_accelerator(str(path)))


def test_zigzag_reads_every_core_of_the_catalogue(tmp_path: Path) -> None:
    parser = pytest.importorskip("zigzag.stages.parser.accelerator_parser").AcceleratorParserStage
    for name in accelerator_names():
        for core in load_accelerator(name).cores:
            theirs = parser.parse_accelerator(str(write(tmp_path, core_to_zigzag(core))))
            sizes = [level.memory_instance.size for level in theirs.memory_hierarchy.mem_level_list]
            assert sizes == [memory.size_bits for memory in core.memories]
            assert theirs.operational_array.total_unit_count == core.peak_macs_per_cycle
