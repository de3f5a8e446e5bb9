"""The two optional blocks of a description: energies per bit width, and published figures of layers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from offramp.errors import AcceleratorError
from offramp.hardware.loader import accelerator_names, load_accelerator
from offramp.hardware.published_figures import MacEnergy, MacEnergyTable, ReferenceLayer
from offramp.workload.layer import LayerShape, Op
from tests.hardware.samples import chip, imc_core, write

Change = Callable[[dict[str, Any]], Any]


def full_chip() -> dict[str, Any]:
    data = chip()
    data["cores"]["mac"]["mac_energy_by_bits"] = {
        "source": "a paper,\n  table 1",
        "entries": [
            {"weight_bits": 8, "activation_bits": 8, "energy_pj": 0.5},
            {"weight_bits": 2, "activation_bits": 4, "energy_pj": 0},
        ],
    }
    data["reference"] = [
        {
            "layer": "conv1",
            "core": "mac",
            "shape": {
                "op": "conv",
                "k": 6,
                "c": 3,
                "oy": 5,
                "ox": 7,
                "fy": 3,
                "fx": 5,
                "stride_y": 2,
                "dilation_x": 2,
                "padding": [1, 4, 0, 4],
                "weight_bits": 4,
            },
            "cycles": 99,
            "source": "a paper",
        },
        {
            "layer": "pool",
            "core": "pool",
            "shape": {"op": "max_pool"},
            "energy_pj": 1.5,
            "tolerance": 0.1,
            "source": "b",
        },
    ]
    return data


def test_both_blocks_are_read(tmp_path: Path) -> None:
    accelerator = load_accelerator(write(tmp_path, full_chip()))
    table = MacEnergyTable((MacEnergy(8, 8, 0.5), MacEnergy(2, 4, 0.0)), "a paper, table 1")
    assert [core.mac_energy_by_bits for core in accelerator.cores] == [table, table, None, None]
    conv = LayerShape(
        op=Op.CONV,
        k=6,
        c=3,
        oy=5,
        ox=7,
        fy=3,
        fx=5,
        iy=4 * 2 + 3 - 1,
        ix=6 + 4 * 2 + 1 - 8,
        stride_y=2,
        dilation_x=2,
        padding=(1, 4, 0, 4),
        weight_bits=4,
    )
    assert accelerator.reference == (
        ReferenceLayer("conv1", "mac0", conv, 99.0, None, 0.001, "a paper"),
        ReferenceLayer("pool", "pool", LayerShape(Op.MAX_POOL), None, 1.5, 0.1, "b"),
    )


def test_a_single_copy_can_be_named_and_input_sizes_given(tmp_path: Path) -> None:
    data = full_chip()
    data["reference"][0]["core"] = "mac1"
    data["reference"][0]["shape"] |= {"iy": 11, "ix": 8}
    (row, _) = load_accelerator(write(tmp_path, data)).reference
    assert (row.core, row.shape.iy, row.shape.ix) == ("mac1", 11, 8)


def test_both_blocks_may_be_left_out(tmp_path: Path) -> None:
    accelerator = load_accelerator(write(tmp_path, chip()))
    assert accelerator.reference == ()
    assert {core.mac_energy_by_bits for core in accelerator.cores} == {None}


def energies(data: dict[str, Any]) -> dict[str, Any]:
    block: dict[str, Any] = data["cores"]["mac"]["mac_energy_by_bits"]
    return block


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: energies(d).pop("source"), "core 'mac'.mac_energy_by_bits: `source` is missing"),
        (lambda d: energies(d).pop("entries"), "`entries` is missing"),
        (lambda d: energies(d).update(entries=[]), "`entries` must hold at least one entry"),
        (lambda d: energies(d).update(entries=[3]), "mac_energy_by_bits entry 1: must be a mapping, got 3"),
        (lambda d: energies(d)["entries"][0].update(weight_bits=0), "entry 1: `weight_bits` must be >= 1, got 0"),
        (lambda d: energies(d)["entries"][1].update(activation_bits=33), "entry 2: `activation_bits` must be <= 32"),
        (lambda d: energies(d)["entries"][0].update(energy_pj=-1), "entry 1: `energy_pj` must be a finite number >= 0"),
        (lambda d: energies(d)["entries"][0].pop("energy_pj"), "entry 1: `energy_pj` is missing"),
        (lambda d: energies(d)["entries"][0].update(bits=3), "entry 1: unknown key `bits`"),
        (lambda d: energies(d).update(sources=[]), "unknown key `sources`, did you mean `source`?"),
        (
            lambda d: energies(d)["entries"].append(dict(energies(d)["entries"][0])),
            "`entries` has 8-bit weights with 8-bit activations twice",
        ),
        (lambda d: d["cores"]["mac"].update(mac_energy_by_bits=3), "mac_energy_by_bits: must be a mapping, got 3"),
        (lambda d: d.update(reference={}), "`reference` must be a list"),
        (lambda d: d.update(reference=["conv1"]), "reference 1: must be a mapping, got 'conv1'"),
        (lambda d: d["reference"][0].update(core="npu"), "reference 1: names unknown core 'npu'; there are mac0, mac1"),
        (lambda d: d["reference"][0].update(core="dram"), "reference 1: core 'dram' is a memory and computes no layer"),
        (lambda d: d["reference"][0].pop("cycles"), "reference 1: `cycles` or `energy_pj` must be given"),
        (lambda d: d["reference"][0].update(cycles=0), "reference 1: `cycles` must be a finite number > 0, got 0"),
        (lambda d: d["reference"][0].update(tolerance=-1), "reference 1: `tolerance` must be a finite number"),
        (lambda d: d["reference"][0].pop("source"), "reference 1: `source` is missing"),
        (lambda d: d["reference"][0].pop("layer"), "reference 1: `layer` is missing"),
        (lambda d: d["reference"][0].pop("shape"), "reference 1: `shape` is missing"),
        (lambda d: d["reference"][0].update(cycle=9), "reference 1: unknown key `cycle`, did you mean `cycles`?"),
        (lambda d: d["reference"][0]["shape"].update(op="gemm"), "reference 1.shape: `op` must be one of conv, dense"),
        (lambda d: d["reference"][0]["shape"].update(k=2**61 - 1), "`k` must be <= 1048576, got 2305843009213693951"),
        (lambda d: d["reference"][0]["shape"].update(ix=2**21), "`ix` must be <= 1048576, got 2097152"),
        (lambda d: d["reference"][0]["shape"].update(k=0), "reference 1.shape: `k` must be >= 1, got 0"),
        (
            lambda d: d["reference"][0]["shape"].update(padding=[1]),
            "`padding` must be [top, left, bottom, right], got 1",
        ),
        (lambda d: d["reference"][0]["shape"].update(padding=[1, 1, 1, -1]), "`padding` must be >= 0, got -1"),
        (lambda d: d["reference"][0]["shape"].update(stride=2), "unknown key `stride`, did you mean `stride_"),
        (lambda d: d["reference"][0]["shape"].update(weight_bits=64), "`weight_bits` must be <= 32, got 64"),
        (lambda d: d["reference"][1]["shape"].update(c=4), "reference 2.shape: the channels of pooling are `g`"),
    ],
)
def test_faults(tmp_path: Path, change: Change, says: str) -> None:
    data = full_chip()
    change(data)
    with pytest.raises(AcceleratorError) as caught:
        load_accelerator(write(tmp_path, yaml.dump(data, sort_keys=False)))
    assert says in str(caught.value)
    assert str(caught.value).startswith("Accelerator 'chip.yaml' has 1 fault: ")


def test_an_in_memory_array_has_energies_of_its_own(tmp_path: Path) -> None:
    data = full_chip()
    core = imc_core()
    data["cores"]["mac"] |= {key: core[key] for key in ("memories", "operational_array")}
    with pytest.raises(AcceleratorError, match="an in-memory computing array has energies of its own"):
        load_accelerator(write(tmp_path, data))


def test_no_shipped_accelerator_claims_cheaper_multiplications_without_a_source() -> None:
    for name in accelerator_names():
        for core in load_accelerator(name).cores:
            assert core.mac_energy_by_bits is None or core.mac_energy_by_bits.source
