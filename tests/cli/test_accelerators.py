"""`offramp accelerators check`: all three formats, bad files, and the how-to's example from file to catalogue."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from offramp.hardware import loader
from offramp.hardware.loader import accelerator_names
from tests.cli.conftest import Run
from tests.hardware.samples import REFERENCE, chip, imc_core, write, zigzag_core

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-an-accelerator.md"


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "130")


def blocks(language: str = "yaml") -> list[str]:
    return [part.split("```")[0] for part in PAGE.read_text().split(f"```{language}\n")[1:]]


@pytest.mark.parametrize("name", accelerator_names())
def test_shipped_accelerators_pass(offramp: Run, name: str) -> None:
    done = offramp("accelerators", "check", name)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(name)
    assert "MACs/cycle" in done.out


def test_peaks_of_a_chip_with_formulas_are_compared(offramp: Run) -> None:
    rows = json.loads(offramp("accelerators", "check", "diana", "--json").out)["reference"]
    peaks = {row["core"]: row["priced"] for row in rows if row["quantity"] == "tops_per_watt"}
    assert peaks == pytest.approx({"digital": 14, "analog": 600}, rel=0.1)


def test_zigzag_files_of_both_dialects_pass(offramp: Run, tmp_path: Path) -> None:
    for index, data in enumerate((zigzag_core("old"), zigzag_core("new"), imc_core())):
        done = offramp("accelerators", "check", write(tmp_path, data, f"{index}.yaml"))
        assert done.code == 0, done.err
        assert "peak 8 MACs/cycle" in done.out


def test_a_stream_file_passes(offramp: Run) -> None:
    if not REFERENCE.is_dir():
        pytest.skip("the reference accelerator files are not here")
    done = offramp("accelerators", "check", REFERENCE / "edge_tpu_quad.yaml")
    assert done.code == 0
    assert "core0, core1, core2, core3: 4 equal cores" in done.out


def test_json(offramp: Run, tmp_path: Path) -> None:
    done = offramp("accelerators", "check", write(tmp_path, chip()), "--json")
    data = json.loads(done.out)
    assert done.code == 0
    assert (data["name"], data["peak_macs_per_cycle"], data["reference"]) == ("two-core", 16, [])
    rows = json.loads(offramp("accelerators", "check", "edge-tpu-quad", "--json").out)["reference"]
    assert rows
    assert all(row["agrees"] for row in rows)


def two_faults() -> dict[str, Any]:
    data = chip()
    data["cores"]["mac"]["memories"]["sram"]["size"] = 0
    data["clocks"] = 3
    return data


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            two_faults(),
            "has 2 faults: unknown key `clocks`, did you mean `clock_hz`?; "
            "core 'mac' memory 'sram': `size` must be >= 1, got 0",
        ),
        ("", "it is empty"),
        ("[1, 2]", "must hold a mapping"),
        ("a: [1", "must be YAML, but it cannot be read"),
        ("a: &a [*a]", "values once its aliases are written out"),
        ("!!python/object/apply:os.system ['true']", "must be YAML"),
        ("answer: 42\n", "`schema` is missing"),
        ("x" * 300_000, "at most 256 KiB"),
        (zigzag_core() | {"memories": {}}, "`memories` must hold at least one memory"),
        ({"name": "s", "cores": ["../x.yaml"], "graph": {"type": "2d_mesh"}}, "must lie in the folder"),
    ],
)
def test_bad_files_are_one_sentence_and_exit_code_2(offramp: Run, tmp_path: Path, content: Any, says: str) -> None:
    for option in ((), ("--json",)):
        done = offramp("accelerators", "check", write(tmp_path, content, "bad.yaml"), *option)
        assert done.code == 2
        assert says in done.err
        assert done.out == ""
        assert len(done.err.splitlines()) == 1
        assert done.err.startswith("offramp: ")


def test_files_that_are_none(offramp: Run, tmp_path: Path) -> None:
    (tmp_path / "noise.yaml").write_bytes(b"\xff\xfe\x00\x01")
    for given, says in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "noise.yaml", "must be UTF-8"),
        ("meta-qad", "Did you mean 'meta-quad'"),
    ):
        done = offramp("accelerators", "check", given)
        assert done.code == 2
        assert says in done.err
    assert offramp("accelerators", "check").code == 2


def test_a_figure_that_is_not_met_is_shown_and_exit_code_2(offramp: Run, tmp_path: Path) -> None:
    text = (loader.CATALOG / "edge-tpu-quad.yaml").read_text().replace("r_cost: 700", "r_cost: 701")
    done = offramp("accelerators", "check", write(tmp_path, text))
    assert done.code == 2
    assert "Published figures" in done.out
    assert "5 of 12 figures differ: first_conv of MobileNetV2 at 32 x 32, energy_pj: " in done.err
    data = offramp("accelerators", "check", write(tmp_path, text), "--json")
    assert data.code == 2
    assert [row["agrees"] for row in json.loads(data.out)["reference"]].count(False) == 5


def test_a_published_layer_that_cannot_be_priced_is_exit_code_2(offramp: Run, tmp_path: Path) -> None:
    text = (loader.CATALOG / "edge-tpu-quad.yaml").read_text().replace("weight_bits: 4", "weight_bits: 32")
    text = text.replace("size: 32\n", "size: 8\n")
    done = offramp("accelerators", "check", write(tmp_path, text))
    assert done.code == 2
    assert "cannot price" in done.err


def small_network(folder: Path) -> Path:
    """An early-exit graph with two exits, without weights' values."""
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"], name="stem", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["a"], ["pooled"], name="pool1"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flat1"),
        helper.make_node("Gemm", ["flat", "f1"], ["exit0"], name="exit0/fc"),
        helper.make_node("Conv", ["a", "w2"], ["b"], name="block", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["b"], ["pooled2"], name="pool2"),
        helper.make_node("Flatten", ["pooled2"], ["flat2"], name="flat2"),
        helper.make_node("Gemm", ["flat2", "f2"], ["exit1"], name="exit1/fc"),
    ]
    sizes = {"w1": [8, 3, 3, 3], "w2": [16, 8, 3, 3], "f1": [8, 10], "f2": [16, 10]}
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, size, [0.0] * math.prod(size)) for name, size in sizes.items()
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 10]) for name in ("exit0", "exit1")],
        weights,
    )
    path = folder / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_the_how_to_from_its_file_to_the_catalogue(
    offramp: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of the page: write the file, check it, price a network on it, put it into the catalogue."""
    base, _, energies, _, _, reference, *_ = blocks()
    file = write(tmp_path, base, "small-mcu.yaml")
    checked = offramp("accelerators", "check", file)
    assert checked.code == 0, checked.err
    assert [line.rstrip() for line in checked.out.splitlines()] == blocks("text")[0].splitlines()

    network = small_network(tmp_path)
    plain = offramp("cost", network, "--accelerator", file, "--weight-bits", "4", "--json")
    assert plain.code == 0, plain.err

    file = write(tmp_path, base.rstrip() + "\n" + energies + reference, "small-mcu.yaml")
    checked = offramp("accelerators", "check", file)
    assert checked.code == 0, checked.err
    assert "third convolution of the paper's network" in checked.out
    assert "4x8: 0.06" in checked.out

    catalog = tmp_path / "catalog"
    catalog.mkdir()
    (catalog / "small-mcu.yaml").write_text(file.read_text())
    monkeypatch.setattr(loader, "CATALOG", catalog)
    assert offramp("list", "accelerators").out.split()[:3] == ["small-mcu", "One", "core"]
    cheaper = offramp("cost", network, "--accelerator", "small-mcu", "--weight-bits", "4", "--json")
    assert cheaper.code == 0, cheaper.err

    first, second = (json.loads(done.out)["stages"][-1] for done in (plain, cheaper))
    assert first["latency_to_exit_cycles"] == second["latency_to_exit_cycles"]
    saved = first["energy_to_exit_pj"] - second["energy_to_exit_pj"]
    # 0.06 instead of 0.1 pJ; pooling has no weights, so its operations take unit_energy with and without the table.
    assert saved == pytest.approx(0.04 * first["macs_to_exit"], rel=1e-9)


def test_the_how_to_on_zero_weights(offramp: Run, tmp_path: Path) -> None:
    """A dense layer alone, half of its weights zero, at 0.1 pJ a MAC: all of the zeros' MACs are saved."""
    base, _, _, sparsity, *_ = blocks()
    network = tmp_path / "net.onnx"
    weights = np.zeros((10, 64), dtype=np.float32)
    weights[:, ::2] = 1.0
    tensors = [numpy_helper.from_array(weights, name) for name in ("w0", "w1")]
    nodes = [helper.make_node("Gemm", ["image", f"w{i}"], [f"exit{i}"], transB=1) for i in range(2)]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 64))
    exits = [helper.make_tensor_value_info(f"exit{i}", TensorProto.FLOAT, (1, 10)) for i in range(2)]
    onnx.save(helper.make_model(helper.make_graph(nodes, "net", [image], exits, tensors)), network)

    plain = write(tmp_path, base, "plain.yaml")
    sparse = write(tmp_path, base.rstrip() + "\n" + sparsity, "sparse.yaml")
    checked = offramp("accelerators", "check", sparse)
    assert "zero weights: 80% of the cycles and 100% of the MAC energy saved, not stored: 0 bits more" in checked.out
    dense, thin = (json.loads(offramp("cost", network, "--accelerator", x, "--json").out) for x in (plain, sparse))
    assert (dense["weight_density"], thin["weight_density"]) == (None, 0.5)
    assert dense["stages"][0]["macs_to_exit"] == thin["stages"][0]["macs_to_exit"] == 640
    assert thin["stages"][0]["latency_to_exit_cycles"] < dense["stages"][0]["latency_to_exit_cycles"]
    # MACs are saved exactly; weights of 5 instead of 8 bits save more.
    saved = dense["stages"][0]["energy_to_exit_pj"] - thin["stages"][0]["energy_to_exit_pj"]
    assert saved > 320 * 0.1
    shown = " ".join(offramp("cost", network, "--accelerator", sparse).out.split())
    assert re.search(r"Zero weights counted: 50(\.0+)?.% of those in the file", shown)
