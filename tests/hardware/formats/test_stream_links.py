"""Stream's files of today: numbered cores, core files that say what they run, connections one by one."""

from pathlib import Path
from typing import Any, Literal

import pytest

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.operator_rules import rule_cost
from offramp.cost.pricing import build_cost_model
from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import CoreKind
from offramp.hardware.loader import load_accelerator
from offramp.settings.cost_config import CostConfig
from offramp.workload.layer import LayerShape, Op
from tests.cost.toys import two_exit_workload
from tests.hardware.formats.test_stream_yaml import offchip, pairs
from tests.hardware.samples import new_memory, write, zigzag_core

TODAY = Path(__file__).parents[4] / "shared" / "reference" / "stream_hardware"


def write_cores(folder: Path) -> None:
    """Core files of today's dialect in the folder `cores`."""
    (folder / "cores").mkdir(exist_ok=True)
    compute = zigzag_core("new")
    write(folder / "cores", compute | {"type": "compute"}, "mac.yaml")
    write(folder / "cores", compute | {"type": "zigzag.compute", "operator_types": ["MaxPool"]}, "pool.yaml")
    precision = {"input": "fp32", "accumulator": "fp32"}
    vector = {"type": "zigzag.compute", "operator_types": ["Add", "Mul", "Relu"], "operand_precision": precision}
    write(folder / "cores", compute | vector, "vector.yaml")
    write(folder / "cores", offchip() | {"type": "zigzag.offchip"}, "dram.yaml")


def today(folder: Path, **change: Any) -> Path:
    """Two compute cores, a pooling and a SIMD core and an off-chip memory in today's dialect."""
    write_cores(folder)
    data: dict[str, Any] = {
        "name": "today",
        "cores": {0: "mac.yaml", 1: "./cores/mac.yaml", 2: "pool.yaml", 3: "vector.yaml", 4: "dram.yaml"},
        "core_coordinates": {0: [0, 0]},
        "offchip_core_id": 4,
        "unit_energy_cost": 4,
        "core_connectivity": [
            {"type": "link", "cores": [0, 1], "bandwidth": 32},
            {"type": "link", "cores": [1, 2], "bandwidth": 32, "unit_energy_cost": 1},
            {"type": "bus", "cores": [0, 1, 2, 3, 4], "bandwidth": 128},
        ],
    }
    return write(folder, {key: value for key, value in (data | change).items() if value is not None}, "today.yaml")


def test_todays_files_say_by_their_cores_what_each_runs(tmp_path: Path) -> None:
    accelerator = load_accelerator(today(tmp_path))
    assert [(core.name, core.kind) for core in accelerator.cores] == [
        ("core0", CoreKind.COMPUTE),
        ("core1", CoreKind.COMPUTE),
        ("pooling", CoreKind.POOLING),
        ("simd", CoreKind.SIMD),
        ("offchip", CoreKind.OFFCHIP),
    ]


def test_connections_are_links_of_two_cores_and_buses_of_many(tmp_path: Path) -> None:
    links = {(link.sender, link.receiver): link for link in load_accelerator(today(tmp_path)).links}
    assert len(links) == 5 * 4
    direct, cheap, bus = links["core1", "core0"], links["core1", "pooling"], links["simd", "offchip"]
    # The first connection of a pair counts: core 0 and 1 are on the bus too.
    assert (direct.bandwidth_bits, direct.shared, direct.energy_pj_per_bit) == (32, "", 4 / 32)
    assert (cheap.bandwidth_bits, cheap.energy_pj_per_bit) == (32, 1 / 32)
    assert (bus.bandwidth_bits, bus.shared, bus.energy_pj_per_bit) == (128, "bus3", 4 / 128)
    assert links["core0", "offchip"].shared == bus.shared


def test_cores_may_be_listed_in_any_order_and_written_in_place(tmp_path: Path) -> None:
    cores = {4: "dram.yaml", 3: "vector.yaml", 2: "pool.yaml", 1: "mac.yaml", 0: zigzag_core("new")}
    accelerator = load_accelerator(today(tmp_path, cores=cores))
    assert [core.name for core in accelerator.cores] == ["core0", "core1", "pooling", "simd", "offchip"]
    assert accelerator.cores[0].source == "core 0"


def test_several_cores_of_a_kind_are_numbered(tmp_path: Path) -> None:
    cores = dict(enumerate(["mac.yaml", "vector.yaml", "vector.yaml", "pool.yaml", "dram.yaml"]))
    names = [core.name for core in load_accelerator(today(tmp_path, cores=cores)).cores]
    assert names == ["core0", "simd0", "simd1", "pooling", "offchip"]


def test_older_connections_are_text_with_one_bandwidth(tmp_path: Path) -> None:
    path = today(
        tmp_path,
        cores={0: "mac.yaml", 1: "mac.yaml", 2: "vector.yaml"},
        offchip_core_id=None,
        offchip_core="dram.yaml",
        core_connectivity=["0, 1", "0, 1, 2"],
        bandwidth=64,
    )
    links = {(link.sender, link.receiver): link for link in load_accelerator(path).links}
    assert (links["core0", "core1"].bandwidth_bits, links["core0", "core1"].shared) == (64, "")
    assert (links["core1", "simd"].bandwidth_bits, links["core1", "simd"].shared) == (64, "bus2")
    assert (links["simd", "offchip"].bandwidth_bits, links["simd", "offchip"].shared) == (16, "offchip")


@pytest.mark.parametrize("key", ["2d_mesh", "graph"])
def test_a_mesh_is_read_under_either_key_and_with_numbered_cores(tmp_path: Path, key: str) -> None:
    mesh = {"nb_rows": 1, "nb_cols": 2, "bandwidth": 32, "pooling_core_id": 2, "simd_core_id": 3, "offchip_core_id": 4}
    graph = {"core_connectivity": None, "offchip_core_id": None, "unit_energy_cost": 0}
    path = today(tmp_path, **graph, **{key: mesh | ({"type": "2d_mesh"} if key == "graph" else {})})
    accelerator = load_accelerator(path)
    assert ("core0", "core1") in pairs(accelerator)
    assert accelerator.cores[2].kind is CoreKind.POOLING


def test_an_older_bus_is_one_medium_between_the_compute_cores(tmp_path: Path) -> None:
    bus = {"bandwidth": 32, "pooling_core_id": 2, "simd_core_id": 3, "offchip_core_id": 4}
    path = today(tmp_path, core_connectivity=None, offchip_core_id=None, bus=bus)
    links = {(link.sender, link.receiver): link for link in load_accelerator(path).links}
    assert links["core0", "core1"].shared == links["core1", "pooling"].shared == "bus"
    assert links["core0", "simd"].bandwidth_bits is None


def link_to(*cores: int) -> dict[str, Any]:
    return {"core_connectivity": [{"type": "link", "cores": list(cores), "bandwidth": 8}]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"cores": {0: "mac.yaml", 2: "dram.yaml"}},
            "`cores` must number the cores 0, 1, ... without a gap, got [0, 2]",
        ),
        ({"cores": {"a": "mac.yaml"}}, "`cores` must number the cores 0, 1, ... without a gap, got ['a']"),
        ({"cores": {0: "mac.yaml", 1: 7}}, "`cores` must hold names, got 7"),
        ({"offchip_core_id": 9}, "`offchip_core_id` must be below the number of cores (5), got 9"),
        ({"offchip_core_id": 0}, "is an off-chip memory, but `offchip_core_id` names another core"),
        ({"core_connectivity": None}, "`core_connectivity` is missing"),
        (link_to(0, 7), "core_connectivity 1: `cores` must name cores below 5, got 7"),
        (link_to(0), "core_connectivity 1: `cores` must name at least two cores, got 1"),
        (link_to(0, 0), "core_connectivity 1: `cores` names 0 twice"),
        (link_to(0, 1, 2), "core_connectivity 1: `cores` must name two cores, because a link joins two, got 3"),
        ({"core_connectivity": [{"cores": [0, 1]}]}, "core_connectivity 1: `bandwidth` is missing"),
        ({"core_connectivity": ["0, 1"]}, "core_connectivity 1: `bandwidth` is missing"),
        ({"core_connectivity": ["0 - 1"]}, "core_connectivity 1: must be a mapping, got '0 - 1'"),
        ({"core_memory_sharing": ["0, 1"]}, "cores that share their outermost memory are not modelled"),
        ({"bandwidth": {4: 100}}, "measured bandwidths are not modelled"),
        ({"graph": {"type": "2d_mesh"}}, "`core_connectivity` and `graph` both say how cores are connected"),
        ({"wires": 3}, "unknown key `wires`"),
    ],
)
def test_faults_of_todays_files(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(AcceleratorError) as caught:
        load_accelerator(today(tmp_path, **change))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"type": "aie2.compute"}, "`type` must be in the namespace zigzag"),
        ({"type": "memory"}, "`type` must be one of compute, offchip, pooling, simd"),
        ({"operator_types": ["Add", "MaxPool"]}, "`operator_types` must name the operators of one kind of core"),
        ({"utilization": 30.9}, "`utilization` must be 100 where it is given, got 30.9"),
    ],
)
def test_core_files_that_cannot_be_modelled_are_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    path = today(tmp_path)
    write(tmp_path / "cores", zigzag_core("new") | change, "mac.yaml")
    with pytest.raises(AcceleratorError) as caught:
        load_accelerator(path)
    assert f"core file 'mac.yaml': {says}" in str(caught.value)


def test_one_core_at_least_computes(tmp_path: Path) -> None:
    with pytest.raises(AcceleratorError, match="one core at least must be a compute core, got none"):
        load_accelerator(today(tmp_path, cores={0: "vector.yaml", 1: "dram.yaml"}, offchip_core_id=1, **link_to(0, 1)))


def test_a_core_file_alone_is_an_accelerator_if_it_computes(tmp_path: Path) -> None:
    write_cores(tmp_path)
    assert load_accelerator(tmp_path / "cores" / "mac.yaml").cores[0].kind is CoreKind.COMPUTE
    with pytest.raises(AcceleratorError, match="must describe a compute core, but it describes a core of kind offchip"):
        load_accelerator(tmp_path / "cores" / "dram.yaml")


def test_operands_may_have_outermost_memories_of_their_own(tmp_path: Path) -> None:
    """As in Stream's Eyeriss and Meta prototype: weights in one memory, activations in another."""
    path = today(tmp_path)
    core = zigzag_core("new")
    core["memories"] = {"acts": new_memory(["I1", "O"], ["D1", "D2"]), "weights": new_memory(["I2"], ["D1", "D2"])}
    write(tmp_path / "cores", core, "mac.yaml")
    loaded = load_accelerator(path).cores[0]
    assert [loaded.outermost_memory(operand).name for operand in ("I1", "I2", "O")] == ["acts", "weights", "acts"]
    (cost,) = NativeEngine().price([(LayerShape(Op.DENSE, k=4, c=8), loaded)])
    assert cost.temporal_cycles == 4
    rule = rule_cost(LayerShape(Op.CONCAT, g=8), loaded)
    assert {part.memory for part in rule.memory_energy} == {"acts"}


@pytest.mark.skipif(not TODAY.is_dir(), reason="the files of Stream lie in ../shared, which is absent")
@pytest.mark.parametrize("path", sorted(TODAY.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("mapping", ["layer_by_layer", "optimized"])
def test_a_network_is_priced_on_every_file_of_stream(
    path: Path, mapping: Literal["layer_by_layer", "optimized"]
) -> None:
    accelerator = load_accelerator(path)
    model = build_cost_model(CostConfig(accelerator=str(path), mapping=mapping), accelerator=accelerator)
    report = model.estimate(two_exit_workload(), accelerator)
    assert all(stage.latency_to_exit_cycles > 0 and stage.energy_to_exit_pj > 0 for stage in report.stages)
