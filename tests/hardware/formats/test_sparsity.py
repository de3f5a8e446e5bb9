"""The block `sparsity` of a core: what is read, and every way in which it can make no sense."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import SparseStorage, WeightSparsity
from offramp.hardware.loader import accelerator_names, load_accelerator
from tests.hardware.samples import chip, imc_core, write


def block() -> dict[str, Any]:
    return {
        "source": "a paper,\n  section 4",
        "cycles_saved": 0.8,
        "energy_saved": 1,
        "storage": {"bits_per_weight": 1},
    }


def sparse_chip(core: str = "mac") -> dict[str, Any]:
    data = chip()
    data["cores"][core]["sparsity"] = block()
    return data


def test_the_block_is_read_for_every_copy(tmp_path: Path) -> None:
    accelerator = load_accelerator(write(tmp_path, sparse_chip()))
    expected = WeightSparsity(0.8, 1.0, SparseStorage(1.0, 0.0), "a paper, section 4")
    assert [core.sparsity for core in accelerator.cores] == [expected, expected, None, None]
    assert accelerator.gains_from_zero_weights


def test_storage_may_be_left_out(tmp_path: Path) -> None:
    data = sparse_chip()
    del data["cores"]["mac"]["sparsity"]["storage"]
    sparsity = load_accelerator(write(tmp_path, data)).cores[0].sparsity
    assert sparsity is not None
    assert sparsity.storage is None


def test_no_shipped_accelerator_claims_a_gain_that_no_source_gives() -> None:
    assert not any(load_accelerator(name).gains_from_zero_weights for name in accelerator_names())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda x: x.update(cycles_saved=1.5), "`cycles_saved` is a share and must be <= 1, got 1.5"),
        (lambda x: x.update(energy_saved=-1), "`energy_saved` must be a finite number >= 0, got -1"),
        (lambda x: x.pop("cycles_saved"), "`cycles_saved` is missing"),
        (lambda x: x.pop("energy_saved"), "`energy_saved` is missing"),
        (lambda x: x.pop("source"), "`source` is missing"),
        (lambda x: x.update(cycle_saved=1), "unknown key `cycle_saved`, did you mean `cycles_saved`?"),
        (lambda x: x["storage"].update(bitmap=1), r"core 'mac'.sparsity.storage: unknown key `bitmap`"),
        (lambda x: x["storage"].update(bits_per_weight=0), "something has to say where the nonzero weights belong"),
        (lambda x: x["storage"].update(bits_per_nonzero=65), "its figures must be <= 64 bits"),
        (lambda x: x["storage"].update(bits_per_weight="one"), "`bits_per_weight` must be a number"),
        (lambda x: x.update(storage="bitmap"), "storage: must be a mapping, got 'bitmap'"),
        (lambda x: (x.update(cycles_saved=0, energy_saved=0), x.pop("storage")), "nothing is gained by it"),
    ],
)
def test_faults(tmp_path: Path, change: Callable[[dict[str, Any]], Any], fault: str) -> None:
    data = sparse_chip()
    change(data["cores"]["mac"]["sparsity"])
    with pytest.raises(AcceleratorError, match="has 1 fault:") as caught:
        load_accelerator(write(tmp_path, data))
    assert fault in str(caught.value)


def test_all_faults_at_once(tmp_path: Path) -> None:
    data = sparse_chip()
    data["cores"]["mac"]["sparsity"] = {"cycles_saved": 2, "what": 1, "storage": {"bits_per_nonzero": 99}}
    with pytest.raises(AcceleratorError, match="has 5 faults"):
        load_accelerator(write(tmp_path, data))


@pytest.mark.parametrize("value", [[], "yes", 1])
def test_a_block_that_is_no_mapping(tmp_path: Path, value: object) -> None:
    data = sparse_chip()
    data["cores"]["mac"]["sparsity"] = value
    with pytest.raises(AcceleratorError, match=r"has 1 fault: core 'mac'\.sparsity: must be a mapping"):
        load_accelerator(write(tmp_path, data))


def test_only_cores_with_weights_that_are_multiplied_gain(tmp_path: Path) -> None:
    with pytest.raises(AcceleratorError, match="a core of kind pooling has no weights"):
        load_accelerator(write(tmp_path, sparse_chip("pool")))
    data = chip()
    array = imc_core()
    del array["name"]
    data["cores"]["mac"] = {"kind": "compute", "copies": 2, **array, "sparsity": block()}
    with pytest.raises(AcceleratorError, match="holds every weight in a cell"):
        load_accelerator(write(tmp_path, data))


def test_a_chip_with_formulas_has_no_use_for_it(tmp_path: Path) -> None:
    import yaml

    from offramp.hardware.loader import CATALOG

    data = yaml.safe_load((CATALOG / "diana.yaml").read_text())
    name = next(key for key, core in data["cores"].items() if core["kind"] == "compute" and "is_imc" not in str(core))
    data["cores"][name]["sparsity"] = block()
    with pytest.raises(AcceleratorError, match=f"`sparsity` of core '{name}' is unused"):
        load_accelerator(write(tmp_path, data))
