"""offramp's own format: copies, links in both directions or one, and every fault with its place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import CoreKind, Link
from offramp.hardware.loader import load_accelerator
from tests.hardware.samples import chip, write

Change = Callable[[dict[str, Any]], Any]


def test_cores_copies_and_links(tmp_path: Path) -> None:
    accelerator = load_accelerator(write(tmp_path, chip()))
    assert accelerator.name == "two-core"
    assert accelerator.clock_hz is None
    assert accelerator.sources == ("a datasheet",)
    assert [(core.name, core.kind) for core in accelerator.cores] == [
        ("mac0", CoreKind.COMPUTE),
        ("mac1", CoreKind.COMPUTE),
        ("pool", CoreKind.POOLING),
        ("dram", CoreKind.OFFCHIP),
    ]
    assert {core.source for core in accelerator.cores[:2]} == {"datasheet, compute core"}
    assert set(accelerator.links) == {
        Link("mac0", "mac1", 32),
        Link("mac1", "mac0", 32),
        Link("mac0", "pool", None),
        Link("pool", "mac0", None),
        Link("mac1", "pool", None),
        Link("pool", "mac1", None),
        Link("mac0", "dram", 64, 0.25, "bus"),
        Link("dram", "mac0", 64, 0.25, "bus"),
        Link("mac1", "dram", 64, 0.25, "bus"),
        Link("dram", "mac1", 64, 0.25, "bus"),
    }


def test_a_link_in_one_direction(tmp_path: Path) -> None:
    data = chip()
    data["links"] = [{"from": "mac0", "to": "pool", "bandwidth_bits": 8}]
    assert load_accelerator(write(tmp_path, data)).links == (Link("mac0", "pool", 8),)


def test_a_core_without_copies_keeps_its_name_and_one_copy_gets_a_number(tmp_path: Path) -> None:
    data = chip()
    data["links"] = []
    data["cores"]["mac"]["copies"] = 1
    assert load_accelerator(write(tmp_path, data)).cores[0].name == "mac0"
    del data["cores"]["mac"]["copies"]
    assert load_accelerator(write(tmp_path, data)).cores[0].name == "mac"


def test_clock_and_description(tmp_path: Path) -> None:
    text = yaml.safe_dump(chip() | {"description": "  two\n  cores "}, sort_keys=False) + "clock_hz: 5e8\n"
    accelerator = load_accelerator(write(tmp_path, text))
    assert accelerator.clock_hz == 5e8
    assert accelerator.description == "two cores"


def test_links_may_be_left_out(tmp_path: Path) -> None:
    data = chip()
    del data["links"]
    assert load_accelerator(write(tmp_path, data)).links == ()


def test_anchors_share_a_memory(tmp_path: Path) -> None:
    data = chip()
    data["cores"]["pool"]["memories"] = data["cores"]["mac"]["memories"]
    text = yaml.safe_dump(data, sort_keys=False)
    assert "&id001" in text
    accelerator = load_accelerator(write(tmp_path, text))
    assert accelerator.core("pool").memories == accelerator.core("mac0").memories


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(schema=2), "`schema` must be 1, got 2"),
        (lambda d: d.pop("schema"), "`schema` is missing"),
        (lambda d: d.pop("name"), "`name` is missing"),
        (lambda d: d.pop("sources"), "`sources` is missing"),
        (lambda d: d.update(sources="a book"), "`sources` must be a list, got 'a book'"),
        (lambda d: d.update(clock_hz=0), "`clock_hz` must be a finite number > 0, got 0"),
        (lambda d: d.update(linx=[]), "unknown key `linx`, did you mean `links`?"),
        (lambda d: d.update(cores={}), "`cores` must hold at least one core"),
        (lambda d: d.update(cores=[1]), "cores: must be a mapping"),
        (lambda d: d.pop("cores"), "`cores` is missing"),
        (lambda d: d["cores"].update({"9": d["cores"]["mac"]}), "a core name must be a letter"),
        (lambda d: d["cores"].update({"mac1": d["cores"]["pool"]}), "core name 'mac1' is used twice"),
        (lambda d: d["cores"]["mac"].update(kind="gpu"), "core 'mac': `kind` must be one of compute, pooling"),
        (lambda d: d["cores"]["mac"].pop("kind"), "core 'mac': `kind` is missing"),
        (lambda d: d["cores"]["mac"].update(copies=0), "core 'mac': `copies` must be >= 1, got 0"),
        (lambda d: d["cores"]["mac"].update(copies=10**9), "core 'mac': `copies` must be <= 1024"),
        (lambda d: d["cores"]["mac"].pop("memories"), "core 'mac': `memories` is missing"),
        (lambda d: d["cores"]["mac"].update(name="x"), "core 'mac': unknown key `name`"),
        (lambda d: d["cores"]["mac"]["memories"]["reg"].update(size=0), "core 'mac' memory 'reg': `size` must be >= 1"),
        (
            lambda d: d["cores"]["mac"]["memories"]["reg"].update(served_dimensions=["D9"], size=0),
            "core 'mac' memory 'reg': `served_dimensions` names unknown array dimension 'D9'",
        ),
        (
            lambda d: d["links"][0].update(between=["mac0", "mca1"]),
            "names unknown core 'mca1' (did you mean 'mac1'?); there",
        ),
        (lambda d: d["links"][0].update(between=["mac0", "npx"]), "link 1: names unknown core 'npx'; there are mac0"),
        (lambda d: d["links"][0].update(between=["mac0"]), "link 1: `between` must name two different cores, got 1"),
        (lambda d: d["links"][0].update(between=["mac", "mac1"]), "a link joins core 'mac1' with itself"),
        (lambda d: d["links"][0].pop("bandwidth_bits"), "link 1: `bandwidth_bits` is missing"),
        (lambda d: d["links"][0].update(bandwidth_bits=0), "link 1: `bandwidth_bits` must be >= 1, got 0"),
        (lambda d: d["links"][0].update(bandwidth_bits="wide"), "link 1: `bandwidth_bits` must be a whole number"),
        (lambda d: d["links"][0].update(energy_pj_per_bit=-1), "link 1: `energy_pj_per_bit` must be a finite number"),
        (lambda d: d["links"][0].update({"from": "mac0"}), "link 1: unknown key `from`"),
        (lambda d: d["links"].append({"bandwidth_bits": 1}), "link 4: `from` is missing"),
        (lambda d: d["links"].append("mac0"), "link 4: must be a mapping, got 'mac0'"),
        (lambda d: d["links"].append(dict(d["links"][0])), "there are two links from 'mac0' to 'mac1'"),
        (
            lambda d: d["links"].append({"between": ["pool", "dram"], "bandwidth_bits": 8, "shared": "bus"}),
            "links that share 'bus' are one medium",
        ),
    ],
)
def test_faults(tmp_path: Path, change: Change, says: str) -> None:
    data = chip()
    change(data)
    text = yaml.dump(data, sort_keys=False)
    with pytest.raises(AcceleratorError) as caught:
        load_accelerator(write(tmp_path, text))
    assert says in str(caught.value)
    assert str(caught.value).startswith("Accelerator 'chip.yaml' has ")


def test_too_many_links_are_refused_at_once(tmp_path: Path) -> None:
    data = chip()
    data["cores"]["mac"]["copies"] = 1024
    data["cores"]["pool"]["copies"] = 1024
    with pytest.raises(AcceleratorError, match="link 2: stands for 1048576 links; at most 20000"):
        load_accelerator(write(tmp_path, data))
    data["cores"]["pool"]["copies"] = 10
    data["links"] = [{"from": "mac", "to": "pool", "bandwidth_bits": 8}] * 9
    with pytest.raises(AcceleratorError, match="at most 20000 links, got more up to link 2"):
        load_accelerator(write(tmp_path, data))


def test_a_key_given_twice_is_a_fault(tmp_path: Path) -> None:
    text = yaml.safe_dump(chip(), sort_keys=False) + "name: again\n"
    with pytest.raises(AcceleratorError, match="'name' stands a second time in line"):
        load_accelerator(write(tmp_path, text))


def test_faults_of_all_kinds_come_together(tmp_path: Path) -> None:
    data = chip()
    data["cores"]["mac"]["memories"]["sram"]["size"] = 0
    data["cores"]["pool"]["operational_array"]["unit_energy"] = -0.1
    data["links"][0]["between"] = ["mac0", "npx"]
    data["clocks"] = 3
    with pytest.raises(AcceleratorError, match="has 4 faults") as caught:
        load_accelerator(write(tmp_path, data))
    for part in (
        "core 'mac' memory 'sram': `size`",
        "core 'pool'.operational_array: `unit_energy`",
        "'npx'",
        "`clocks`",
    ):
        assert part in str(caught.value)


def test_a_link_in_a_file_without_cores_says_that_there_are_none(tmp_path: Path) -> None:
    data = chip() | {"cores": {}, "links": [{"between": ["a", "b"], "bandwidth_bits": 8}]}
    with pytest.raises(AcceleratorError, match="link 1: names unknown core 'a'; there are none"):
        load_accelerator(write(tmp_path, data))
