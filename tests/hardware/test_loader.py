"""Finding accelerators by name and by path, and telling the three formats apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.errors import AcceleratorError, OfframpError, UnknownNameError
from offramp.hardware.accelerator import Accelerator, Core, CoreKind, Link, PortKind
from offramp.hardware.loader import accelerator_names, load_accelerator
from tests.hardware.samples import REFERENCE, chip, write, zigzag_core

needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference accelerator files are not here")


def without_sources(accelerator: Accelerator) -> list[Core]:
    return [replace(core, source="") for core in accelerator.cores]


def test_the_catalogue_has_names_and_every_entry_loads() -> None:
    names = accelerator_names()
    assert "edge-tpu-quad" in names
    assert names == sorted(names)
    for name in names:
        accelerator = load_accelerator(name)
        assert accelerator.name == name
        assert accelerator.sources
        assert accelerator.description
        assert all(core.source for core in accelerator.cores)


def test_edge_tpu_quad_has_the_published_figures() -> None:
    chip_ = load_accelerator("edge-tpu-quad")
    assert [(core.name, core.kind.value) for core in chip_.cores] == [
        ("core0", "compute"),
        ("core1", "compute"),
        ("core2", "compute"),
        ("core3", "compute"),
        ("pooling", "pooling"),
        ("simd", "simd"),
        ("offchip", "offchip"),
    ]
    core = chip_.core("core0")
    assert core.peak_macs_per_cycle == 8 * 8 * 4 * 4
    assert core.mac_energy_pj == 0.04
    assert core.dataflow == ()
    assert [memory.name for memory in core.memories] == ["rf_W", "rf_O", "sram_32KB", "sram_2MB", "dram"]
    sram = core.memories[3]
    assert (sram.size_bits, sram.read_energy_pj, sram.write_energy_pj) == (2 * 1024 * 1024 * 8, 416.16, 378.4)
    assert {port.min_bandwidth_bits for port in sram.ports} == {64}
    assert {port.bandwidth_bits for port in sram.ports} == {2048}
    assert [port.kind for port in core.top_memory.ports] == [PortKind.READ_WRITE]
    assert (core.top_memory.read_energy_pj, core.top_memory.write_energy_pj) == (700, 750)
    pooling = chip_.core("pooling")
    assert [(loop.array_dimension, loop.loop, loop.size) for loop in pooling.dataflow] == [
        ("D1", "FX", 3),
        ("D2", "FY", 3),
        ("D3", "K", 8),
    ]
    assert pooling.top_memory.read_bandwidth_bits == 576
    assert pooling.top_memory.write_bandwidth_bits == 512
    assert chip_.core("offchip").peak_macs_per_cycle == 0


def test_edge_tpu_quad_has_the_published_links() -> None:
    links = {(link.sender, link.receiver): link for link in load_accelerator("edge-tpu-quad").links}
    mesh = {(0, 1), (0, 2), (1, 3), (2, 3)}
    for a in range(4):
        for b in range(4):
            assert ((f"core{a}", f"core{b}") in links) == ((a, b) in mesh or (b, a) in mesh)
    assert links["core1", "core0"] == Link("core1", "core0", 32)
    assert links["core2", "pooling"] == Link("core2", "pooling", 32)
    assert links["simd", "core3"].bandwidth_bits is None
    offchip = [link for link in links.values() if "offchip" in (link.sender, link.receiver)]
    assert len(offchip) == 2 * 6
    assert {(link.bandwidth_bits, link.shared) for link in offchip} == {(64, "offchip")}
    assert not any(link.shared for link in links.values() if link not in offchip)
    assert all(link.energy_pj_per_bit == 0 for link in links.values())


@needs_reference
def test_the_catalogue_agrees_with_the_reference_files() -> None:
    ours = load_accelerator("edge-tpu-quad")
    theirs = load_accelerator(REFERENCE / "edge_tpu_quad.yaml")
    assert theirs.name == "sys_EEEE"
    assert without_sources(ours) == without_sources(theirs)
    assert set(ours.links) == set(theirs.links)
    assert len(ours.links) == len(set(ours.links)) == len(theirs.links)


@needs_reference
@pytest.mark.parametrize("name", ["edge_tpu_like", "pooling", "simd"])
def test_single_core_reference_files_load(name: str) -> None:
    accelerator = load_accelerator(str(REFERENCE / f"{name}.yaml"))
    assert [core.kind for core in accelerator.cores] == [CoreKind.COMPUTE]
    assert accelerator.links == ()


def test_a_zigzag_file_is_an_accelerator_of_one_core(tmp_path: Path) -> None:
    accelerator = load_accelerator(write(tmp_path, zigzag_core()))
    assert accelerator.name == "tiny"
    assert [(core.name, core.kind) for core in accelerator.cores] == [("tiny", CoreKind.COMPUTE)]
    assert accelerator.sources == ("Figures as given in chip.yaml.",)


@pytest.mark.parametrize("name", ["edge-tpu-qad", "edge_tpu_quad", "edgetpu.quad", "x" * 5000, "a\0b"])
def test_an_unknown_name_is_answered_with_what_there_is(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"Available: .*edge-tpu-quad.*path to its YAML file"):
        load_accelerator(name)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'edge-tpu-quad'"):
        load_accelerator("edge-tpu-qad")


def test_a_catalogue_name_given_as_a_path_is_a_path() -> None:
    with pytest.raises(AcceleratorError, match="cannot be read: No such file"):
        load_accelerator(Path("edge-tpu-quad"))


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(AcceleratorError, match="No such file"):
        load_accelerator(tmp_path / "none.yaml")
    with pytest.raises(AcceleratorError, match="No such file"):
        load_accelerator("none.yaml")
    with pytest.raises(AcceleratorError, match="No such file"):
        load_accelerator("chips/edge-tpu")
    with pytest.raises(AcceleratorError, match="is a folder"):
        load_accelerator(tmp_path)


def test_a_file_of_no_known_format_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AcceleratorError, match=r"`schema` is missing.*`name` is missing.*`cores` is missing"):
        load_accelerator(write(tmp_path, {"answer": 42}))


def test_the_example_of_the_how_to_loads_and_its_faults_read_as_printed(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "add-an-accelerator.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    accelerator = load_accelerator(write(tmp_path, example, "small-mcu.yaml"))
    assert accelerator.core("core").peak_macs_per_cycle == 16
    assert accelerator.clock_hz == 100e6
    broken = example.replace("size: 524288", "size: 0")
    broken += "links: [{between: [core, npx], bandwidth_bits: 8}]\n"
    with pytest.raises(AcceleratorError) as caught:
        load_accelerator(write(tmp_path, broken, "small-mcu.yaml"))
    assert str(caught.value) in " ".join(page.split())


def test_the_table_of_the_how_to_is_the_catalogue() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "add-an-accelerator.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.split("\n## ")[0].splitlines() if line.startswith("| `")]
    shown = {name.strip(" `"): peak.strip() for name, _, peak in rows}
    assert len(shown) == len(rows)
    catalogue = {name: load_accelerator(name).cores_of(CoreKind.COMPUTE) for name in accelerator_names()}
    assert shown == {name: f"{sum(x.peak_macs_per_cycle for x in cores):,}" for name, cores in catalogue.items()}


SCALARS = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=5)
VALUES = st.recursive(SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3))
PLACES: list[tuple[str | int, ...]] = [
    ("cores",),
    ("cores", "mac"),
    ("cores", "mac", "copies"),
    ("cores", "mac", "memories"),
    ("cores", "mac", "memories", "reg"),
    ("cores", "mac", "memories", "reg", "size"),
    ("cores", "mac", "memories", "reg", "operands"),
    ("cores", "mac", "memories", "reg", "ports"),
    ("cores", "mac", "memories", "reg", "ports", 0),
    ("cores", "mac", "memories", "reg", "ports", 0, "allocation"),
    ("cores", "mac", "memories", "reg", "served_dimensions"),
    ("cores", "mac", "operational_array"),
    ("cores", "mac", "operational_array", "dimensions"),
    ("cores", "mac", "operational_array", "sizes"),
    ("links",),
    ("links", 0),
    ("links", 0, "between"),
    ("links", 0, "bandwidth_bits"),
    ("cores", "mac", "mac_energy_by_bits"),
    ("cores", "mac", "sparsity"),
    ("reference",),
    ("sources",),
    ("schema",),
]


@given(place=st.sampled_from(PLACES), value=VALUES)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_the_file_it_loads_or_is_a_sentence(
    place: tuple[str | int, ...], value: Any, tmp_path: Path
) -> None:
    data = chip()
    target: Any = data
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    try:
        accelerator = load_accelerator(write(tmp_path, data))
    except OfframpError as exc:
        assert str(exc).endswith(".")  # noqa: PT017 - either outcome is right
    else:
        assert all(core.memories and core.top_memory.size_bits > 0 for core in accelerator.cores)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_taken_for_the_current_folder(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"got an empty one\. Known: .*edge-tpu-quad"):
        load_accelerator(name)
