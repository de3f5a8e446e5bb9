"""Accelerators drawn for the terminal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from offramp.cost.published_figures import ReferenceComparison
from offramp.hardware.accelerator import Accelerator, Link, SparseStorage, WeightSparsity
from offramp.hardware.loader import load_accelerator
from offramp.hardware.published_figures import MacEnergy, MacEnergyTable
from offramp.report.terminal.accelerator_tree import (
    accelerator_json,
    accelerator_tree,
    peak_macs_per_cycle,
    reference_table,
)
from tests.hardware.samples import chip, imc_core, write, zigzag_core


def drawn(what: Any, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def lines(accelerator: Accelerator) -> list[str]:
    return [line.strip("│├└─ ") for line in drawn(accelerator_tree(accelerator)).splitlines()]


def test_cores_memories_and_links_are_drawn(tmp_path: Path) -> None:
    accelerator = load_accelerator(write(tmp_path, chip()))
    assert lines(accelerator) == [
        "two-core",
        "peak 16 MACs/cycle on all compute cores",
        "mac0, mac1: 2 equal cores (compute)",
        "array D1 4 x D2 2: peak 8 MACs/cycle, 0.5 pJ each at any width",
        "reg [I2] 512 B; read 64, write 32 bit/cycle; 2.5 / 3 pJ, one for each group along D1",
        "sram [I1 I2 O] 512 B; read 64, write 32 bit/cycle; 2.5 / 3 pJ",
        "pool (pooling)",
        "array D1 3 x D2 3: peak 9 operations/cycle, 0.5 pJ each at any width",
        "reg [I2] 512 B; read 64, write 32 bit/cycle; 2.5 / 3 pJ, one for each group along D1",
        "sram [I1 I2 O] 512 B; read 64, write 32 bit/cycle; 2.5 / 3 pJ",
        "dram (offchip)",
        "reg [I2] 512 B; read 64, write 32 bit/cycle; 2.5 / 3 pJ, one for each group along D1",
        "sram [I1 I2 O] 512 B; read 64, write 32 bit/cycle; 2.5 / 3 pJ",
        "10 links",
        "32 bit/cycle, 0 pJ/bit, each direction a link of its own",
        "mac0 <-> mac1",
        "no transfer time, 0 pJ/bit, each direction a link of its own",
        "mac0 <-> pool",
        "mac1 <-> pool",
        "64 bit/cycle, 0.25 pJ/bit, all on the shared medium bus",
        "mac0 <-> dram",
        "mac1 <-> dram",
    ]


def test_a_link_in_one_direction_has_an_arrow(tmp_path: Path) -> None:
    data = chip() | {"links": [{"from": "mac0", "to": "pool", "bandwidth_bits": 8}], "clock_hz": 5e8}
    shown = lines(load_accelerator(write(tmp_path, data)))
    assert "mac0 -> pool" in shown
    assert "peak 16 MACs/cycle on all compute cores, clock 500 MHz" in shown


def test_energies_by_width_and_dataflows_are_drawn() -> None:
    core = load_accelerator("edge-tpu-quad").core("core0")
    table = MacEnergyTable((MacEnergy(8, 8, 0.04), MacEnergy(4, 8, 0.03)), "a paper")
    shown = lines(Accelerator("x", (replace(core, mac_energy_by_bits=table),), ()))
    assert any("0.04 pJ each, by weight x activation bits: 8x8: 0.04, 4x8: 0.03 pJ" in line for line in shown)
    assert "dataflow D1: FX 3, D2: FY 3, D3: K 8" in lines(load_accelerator("edge-tpu-quad"))


def test_gains_from_zero_weights_are_drawn() -> None:
    core = load_accelerator("edge-tpu-quad").core("core0")
    for storage, told in (
        (None, "zero weights: 80% of the cycles and 50% of the MAC energy saved, stored like any others"),
        (SparseStorage(1, 4), "saved, not stored: 4 bits more for each other weight, 1 for each position"),
    ):
        sparsity = WeightSparsity(0.8, 0.5, storage, "a paper")
        shown = lines(Accelerator("x", (replace(core, sparsity=sparsity),), ()))
        assert any(told in line for line in shown)
    assert not any("zero weights" in line for line in lines(load_accelerator("edge-tpu-quad")))


def test_in_memory_arrays_say_how_long_an_operation_takes(tmp_path: Path) -> None:
    shown = lines(load_accelerator(write(tmp_path, imc_core())))
    assert "array D1 4 x D2 2: peak 8 MACs/cycle, analog in-memory array, 4-bit weights, 4 cycles an operation" in shown


def test_many_cores_and_links_stay_short() -> None:
    core = load_accelerator("edge-tpu-quad").core("core0")
    cores = tuple(replace(core, name=f"c{index}") for index in range(200))
    links = tuple(Link(f"c{index}", f"c{index + 1}", 8) for index in range(199))
    shown = lines(Accelerator("many", cores, links))
    assert "c0 ... c199: 200 equal cores (compute)" in shown
    assert shown[-1] == "and from 175 more"
    assert len(shown) < 50


def test_names_from_files_are_shown_as_they_are(tmp_path: Path) -> None:
    data = zigzag_core("new") | {"name": "[red]\x1b[2Jchip"}
    data["memories"] = {"[bold]reg\x07": data["memories"]["reg"], "sram": data["memories"]["sram"]}
    shown = drawn(accelerator_tree(load_accelerator(write(tmp_path, data))))
    assert "[red]�[2Jchip" in shown
    assert "[bold]reg�" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("name", "peak"),
    [("edge-tpu-quad", 4096), ("meta-quad", 4096), ("eyeriss-quad", 4200), ("mixed-quad", 4122), ("mcu", 1)],
)
def test_peak_macs_per_cycle(name: str, peak: int) -> None:
    accelerator = load_accelerator(name)
    assert peak_macs_per_cycle(accelerator) == peak
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "add-an-accelerator.md").read_text()
    assert any(f"`{name}`" in line and f"| {peak:,} |" in line for line in page.splitlines())


ROWS = (
    ReferenceComparison("conv1", "mac0", "cycles", 1000.0, 1100.0, 0.2, "s"),
    ReferenceComparison("conv1", "mac0", "energy_pj", 2e6, 1e6, 0.001, "s"),
)


def test_published_and_priced_figures_stand_side_by_side() -> None:
    text = drawn(reference_table(ROWS))
    assert [line.split() for line in text.splitlines() if "conv1" in line] == [
        ["conv1", "mac0", "cycles", "1,000", "1,100", "+10.00%", "0.2"],
        ["conv1", "mac0", "energy,", "pJ", "2e+06", "1e+06", "-50.00%", "0.001"],
    ]


def test_json_has_all_that_is_drawn(tmp_path: Path) -> None:
    data = accelerator_json(load_accelerator(write(tmp_path, chip())), ROWS)
    assert data["peak_macs_per_cycle"] == 16
    assert [core["name"] for core in data["cores"]] == ["mac0", "mac1", "pool", "dram"]
    assert data["cores"][0]["memories"][1]["size_bits"] == 4096
    assert len(data["links"]) == 10
    assert [row["agrees"] for row in data["reference"]] == [True, False]
    assert data["reference"][1]["difference"] == pytest.approx(-0.5)
