"""Stream's multi-core files: names and kinds of cores, the links of the mesh, and core files that must stay inside."""

from pathlib import Path
from typing import Any

import pytest

from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.hardware.loader import load_accelerator
from tests.hardware.samples import old_memory, write, zigzag_core


def offchip() -> dict[str, Any]:
    data = zigzag_core("new")
    port = {"name": "rw_port_1", "type": "read_write", "bandwidth_min": 16, "bandwidth_max": 16}
    data["memories"] = {"dram": data["memories"]["sram"]}
    data["memories"]["dram"]["ports"] = [
        port | {"allocation": ["I1, fh", "I1, tl", "I2, fh", "I2, tl", "O, fh", "O, tl", "O, fl", "O, th"]}
    ]
    data["operational_array"]["sizes"] = [0, 0]
    return data


def stream(folder: Path, rows: int, columns: int, **change: Any) -> Path:
    """A mesh of ``rows x columns`` cores with a pooling, a SIMD and an off-chip core at the end of the list."""
    compute = rows * columns
    write(folder, zigzag_core(), "mac.yaml")
    write(folder, zigzag_core(), "vector.yaml")
    write(folder, offchip(), "dram.yaml")
    graph = {
        "type": "2d_mesh",
        "nb_rows": rows,
        "nb_cols": columns,
        "bandwidth": 32,
        "unit_energy_cost": 4,
        "pooling_core_id": compute,
        "simd_core_id": compute + 1,
        "offchip_core_id": compute + 2,
    }
    files = ["mac.yaml"] * compute + ["./vector.yaml", "vector.yaml", "dram.yaml"]
    data: dict[str, Any] = {"name": "mesh", "cores": files, "graph": graph}
    data["cores"] = change.pop("cores", files)
    data["graph"] |= change
    return write(folder, data, "mesh.yaml")


def pairs(accelerator: Accelerator) -> set[tuple[str, str]]:
    return {(link.sender, link.receiver) for link in accelerator.links}


def test_names_and_kinds(tmp_path: Path) -> None:
    accelerator = load_accelerator(stream(tmp_path, 1, 2))
    assert accelerator.name == "mesh"
    assert [(core.name, core.kind) for core in accelerator.cores] == [
        ("core0", CoreKind.COMPUTE),
        ("core1", CoreKind.COMPUTE),
        ("pooling", CoreKind.POOLING),
        ("simd", CoreKind.SIMD),
        ("offchip", CoreKind.OFFCHIP),
    ]
    assert accelerator.cores[0].source == "mac.yaml, named by mesh.yaml"


def test_special_cores_may_stand_anywhere_in_the_list(tmp_path: Path) -> None:
    files = ["dram.yaml", "mac.yaml", "vector.yaml", "mac.yaml", "vector.yaml"]
    path = stream(tmp_path, 1, 2, cores=files, offchip_core_id=0, pooling_core_id=2, simd_core_id=4)
    assert [core.name for core in load_accelerator(path).cores] == ["offchip", "core0", "pooling", "core1", "simd"]


def test_the_mesh_fills_column_by_column(tmp_path: Path) -> None:
    # core0 core2 core4
    # core1 core3 core5
    accelerator = load_accelerator(stream(tmp_path, 2, 3))
    mesh = {(a, b) for a, b in pairs(accelerator) if a.startswith("core") and b.startswith("core")}
    expected = {(0, 1), (2, 3), (4, 5), (0, 2), (2, 4), (1, 3), (3, 5)}
    assert mesh == {(f"core{a}", f"core{b}") for a, b in expected} | {(f"core{b}", f"core{a}") for a, b in expected}


def test_bandwidth_energy_and_sharing_of_the_links(tmp_path: Path) -> None:
    links = {(link.sender, link.receiver): link for link in load_accelerator(stream(tmp_path, 1, 2)).links}
    assert (links["core0", "core1"].bandwidth_bits, links["core0", "core1"].energy_pj_per_bit) == (32, 4 / 32)
    assert (links["core0", "pooling"].bandwidth_bits, links["pooling", "core0"].shared) == (32, "")
    assert (links["core0", "simd"].bandwidth_bits, links["core0", "simd"].energy_pj_per_bit) == (None, 0)
    assert links["pooling", "simd"].bandwidth_bits is None
    for name in ("core0", "core1", "pooling", "simd"):
        for pair in ((name, "offchip"), ("offchip", name)):
            link = links[pair]
            assert (link.bandwidth_bits, link.shared, link.energy_pj_per_bit) == (16, "offchip", 4 / 16)
    assert len(links) == 2 + 4 + 4 + 2 + 8


def test_an_offchip_memory_with_two_ports_reads_and_writes_at_once(tmp_path: Path) -> None:
    path = stream(tmp_path, 1, 1)
    data = offchip()
    data["memories"]["dram"] = old_memory(["I1", "I2", "O"], ["D1", "D2"])
    write(tmp_path, data, "dram.yaml")
    links = {(link.sender, link.receiver): link for link in load_accelerator(path).links}
    assert (links["offchip", "core0"].bandwidth_bits, links["offchip", "core0"].shared) == (64, "offchip-read")
    assert (links["core0", "offchip"].bandwidth_bits, links["core0", "offchip"].shared) == (32, "offchip-write")


def test_special_cores_may_be_missing(tmp_path: Path) -> None:
    path = stream(tmp_path, 1, 2, cores=["mac.yaml"] * 2, pooling_core_id=None, simd_core_id=None, offchip_core_id=None)
    accelerator = load_accelerator(path)
    assert pairs(accelerator) == {("core0", "core1"), ("core1", "core0")}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"type": "ring"}, "graph: `type` must be one of 2d_mesh, bus, got 'ring'"),
        ({"nb_rows": 3}, "graph: a 3 x 2 mesh needs as many compute cores, got 2"),
        ({"nb_rows": 0}, "graph: `nb_rows` must be >= 1, got 0"),
        ({"bandwidth": -1}, "graph: `bandwidth` must be >= 1, got -1"),
        ({"unit_energy_cost": "free"}, "graph: `unit_energy_cost` must be a number"),
        ({"simd_core_id": 9}, "graph: `simd_core_id` must be below the number of cores (5), got 9"),
        ({"simd_core_id": 2}, "graph: `simd_core_id` names core 2, which is the pooling core already"),
        ({"diagonal": True}, "graph: unknown key `diagonal`"),
        ({"cores": ["mac.yaml", 7]}, "`cores` must hold names, got 7"),
        ({"cores": "mac.yaml"}, "`cores` must be a list"),
        ({"cores": ["none.yaml"] * 5}, "none.yaml' cannot be read: No such file"),
        ({"cores": ["mac.yaml"] * 2000}, "at most 1024 cores, got 2000"),
    ],
)
def test_faults(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(AcceleratorError) as caught:
        load_accelerator(stream(tmp_path, 1, 2, **change))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_faults_of_core_files_are_listed_with_the_file(tmp_path: Path) -> None:
    path = stream(tmp_path, 1, 2, bandwidth=0)
    data = zigzag_core()
    data["memories"]["reg"]["size"] = 0
    write(tmp_path, data, "mac.yaml")
    with pytest.raises(AcceleratorError, match="has 2 faults") as caught:
        load_accelerator(path)
    assert "core file 'mac.yaml' memory 'reg': `size` must be >= 1, got 0" in str(caught.value)
    assert "graph: `bandwidth` must be >= 1, got 0" in str(caught.value)


@pytest.mark.parametrize("file", ["../secret.yaml", "/etc/hostname", "sub/../../secret.yaml", "link.yaml", "a\0b"])
def test_core_files_must_stay_in_the_folder(tmp_path: Path, file: str) -> None:
    write(tmp_path, zigzag_core(), "secret.yaml")
    folder = tmp_path / "chip"
    folder.mkdir()
    (folder / "sub").mkdir()
    (folder / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    path = stream(folder, 1, 1, cores=[file, "vector.yaml", "vector.yaml", "dram.yaml"])
    with pytest.raises(AcceleratorError, match="must lie in the folder of mesh"):
        load_accelerator(path)


def test_core_files_may_lie_in_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "cores").mkdir()
    write(tmp_path / "cores", zigzag_core(), "mac.yaml")
    path = stream(tmp_path, 1, 1, cores=["cores/mac.yaml", "vector.yaml", "vector.yaml", "dram.yaml"])
    assert load_accelerator(path).cores[0].source == "cores/mac.yaml, named by mesh.yaml"
