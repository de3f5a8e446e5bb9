import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from offramp.errors import AcceleratorError
from offramp.hardware.chip_formulas import Converters, InMemoryArray, Software, TiledArray
from offramp.hardware.loader import CATALOG, load_accelerator
from offramp.workload.layer import Op
from tests.hardware.samples import write


@pytest.fixture
def description() -> dict[str, Any]:
    return copy.deepcopy(yaml.safe_load((CATALOG / "diana.yaml").read_text()))


def test_the_shipped_chip_has_the_published_figures() -> None:
    chip = load_accelerator("diana")
    formulas = chip.formulas
    assert formulas is not None
    assert chip.clock_hz == 260e6
    digital, analog, host = (formulas.core(name) for name in ("digital", "analog", "host"))
    assert digital.cycles == TiledArray(channels=16, columns=16, values_per_cycle=8)
    assert analog.cycles == InMemoryArray(1152, 512, 64, 128, (1, 2, 4, 8), 8.0, 70e-9, Converters(7, 6, 25.0, "any"))
    assert isinstance(host.cycles, Software)
    idle = formulas.idle_power_mw
    assert idle + digital.power_mw == pytest.approx(24.96)
    assert idle + analog.power_mw == pytest.approx(28.74)
    assert idle + digital.power_mw + analog.power_mw == pytest.approx(42.39)
    assert formulas.analog is analog
    assert (analog.is_analog, host.is_software, digital.is_analog or digital.is_software) == (True, True, False)
    assert Op.DENSE in digital.rules.ops
    assert analog.rules.ops == (Op.CONV,)
    assert not analog.rules.first_layer
    assert analog.rules.groups == "none"
    sizes = {memory.name: memory.size_bits // 8 for core in chip.cores for memory in core.memories}
    assert sizes == {"digital_weights": 64_000, "analog_cells": 1152 * 512 * 2 // 8, "l1": 256_000, "l2": 512_000}


def test_every_figure_has_a_source() -> None:
    chip = load_accelerator("diana")
    assert chip.formulas is not None
    assert chip.formulas.source
    for formula in chip.formulas.cores:
        assert formula.source
        assert formula.rules.source
        assert formula.peak is None or formula.peak.source
    assert all(core.source for core in chip.cores)


def test_other_accelerators_have_none() -> None:
    assert load_accelerator("edge-tpu-quad").formulas is None


def _delete(data: dict[str, Any], *path: str) -> None:
    for key in path[:-1]:
        data = data[key]
    del data[path[-1]]


def _set(value: Any, data: dict[str, Any], *path: str) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


CORES = ("formulas", "cores")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("clock_hz",), None, "powers need a clock"),
        (("formulas", "source"), None, "`source` is missing"),
        (("formulas", "idle_power_mw"), -1, "finite number >= 0"),
        (("formulas", "shared_memory"), "sram", "no memory 'sram'"),
        ((*CORES, "host"), None, "every compute core needs a formula, host has none"),
        ((*CORES, "gpu"), {}, "no such core"),
        ((*CORES, "digital", "form"), "magic", "`form` must be one of"),
        ((*CORES, "digital", "form"), "in_memory", "at most one core may have the form in_memory"),
        ((*CORES, "digital", "weights"), "rom", "which is no memory of the core"),
        ((*CORES, "digital", "figures", "channels"), 0, "`channels` must be >= 1"),
        ((*CORES, "digital", "figures", "channel"), 3, "unknown key `channel`"),
        ((*CORES, "digital", "rules", "ops"), ["conv", "fly"], "got 'fly'"),
        ((*CORES, "digital", "rules", "groups"), "some", "`groups` must be one of"),
        ((*CORES, "analog", "figures", "pass_s"), 0, "`pass_s` must be a finite number > 0"),
        ((*CORES, "analog", "figures", "converters", "output_bits"), 1, "`output_bits` must be >= 2"),
        ((*CORES, "analog", "figures", "converters"), None, "`converters` is missing"),
        ((*CORES, "analog", "peak", "source"), None, "`source` is missing"),
        ((*CORES, "analog", "rules", "first_layer"), "maybe", "`first_layer` must be one of"),
    ],
)
def test_faults_are_named(
    tmp_path: Path, description: dict[str, Any], path: tuple[str, ...], value: Any, words: str
) -> None:
    if value is None:
        _delete(description, *path)
    else:
        _set(value, description, *path)
    with pytest.raises(AcceleratorError, match="fault") as caught:
        load_accelerator(write(tmp_path, description))
    assert words in str(caught.value)


def test_formulas_that_are_no_mapping_are_one_fault(tmp_path: Path, description: dict[str, Any]) -> None:
    description["formulas"] = 7
    with pytest.raises(AcceleratorError, match="formulas: must be a mapping"):
        load_accelerator(write(tmp_path, description))
