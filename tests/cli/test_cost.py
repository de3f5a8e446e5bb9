"""The settings that `offramp cost` makes of its options, and what it prints."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from offramp.cli.cost import _parse_rates, _parse_sizes, _settings
from offramp.cli.main import app
from offramp.errors import ConfigError, InputError
from offramp.settings.cost_config import CostConfig
from tests.workload.from_onnx.onnx_samples import Net, two_exits


def test_branches_have_the_bits_of_the_backbone_unless_they_are_given() -> None:
    assert _settings({}, None, None, []) == CostConfig()
    narrow = _settings({"cost.weight_bits": 4}, None, None, [])
    assert (narrow.branch_weight_bits, narrow.branch_activation_bits) == (4, 8)
    both = _settings({"cost.weight_bits": 4, "cost.activation_bits": 6}, 2, None, [])
    assert (both.weight_bits, both.activation_bits) == (4, 6)
    assert (both.branch_weight_bits, both.branch_activation_bits) == (2, 2)
    by_name = _settings({"cost.weight_bits": 4, "cost.branch_weight_bits": 3}, None, None, [])
    assert by_name.branch_weight_bits == 3


def test_mapping_steps() -> None:
    steps = _settings({"cost.mapping": "optimized"}, None, "on_chip,split", ["split"]).mapping_steps
    assert steps == ("on_chip",)
    with pytest.raises(ConfigError, match="belong to mapping optimized"):
        _settings({"cost.mapping": "layer_by_layer"}, None, "none", [])
    assert _settings({}, None, "none", []).mapping_steps == ()


def test_rates() -> None:
    assert _parse_rates(None) is None
    assert _parse_rates("0.7, 0.3") == (0.7, 0.3)
    with pytest.raises(InputError, match="shares separated by commas"):
        _parse_rates("most")


def test_a_plain_network_is_priced_as_one_stage(tmp_path: Path) -> None:
    net = Net()
    net.exit(net.head(net.conv(net.input, 8, 3), 8))
    done = CliRunner().invoke(app, ["cost", str(net.save(tmp_path)), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (stage,) = found["stages"]
    assert (stage["exit"], stage["macs_to_exit"]) == (net.outputs[0].name, 8 * 27 * 64 + 80)
    assert found["static"]["macs"] == stage["macs_to_exit"]
    assert found["warnings"][0] == "The file has no early exits: its whole network is one stage."


def test_the_final_exit_can_be_named(tmp_path: Path) -> None:
    net = two_exits()
    early, last = (output.name for output in net.outputs)
    path = str(net.save(tmp_path))
    for options, exits in ([], [early, last]), (["--final", early], [last, early]):
        done = CliRunner().invoke(app, ["cost", path, "--json", *options])
        assert [stage["exit"] for stage in json.loads(done.stdout)["stages"]] == exits
    shown = CliRunner().invoke(app, ["cost", path], env={"COLUMNS": "200"}).output
    assert [line.split()[0] for line in shown.splitlines() if line.strip().startswith((early, last))] == [early, last]


def test_an_empty_name_of_the_final_exit_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["cost", str(two_exits().save(tmp_path)), "--final", ""])
    assert done.exit_code
    assert "final exit must be an output" in str(done.exception)


def test_what_a_mapping_of_a_layer_may_do_is_an_option(tmp_path: Path) -> None:
    options = ["--loads", "overlap", "--unrolling", "zigzag", "--memory-fill", "best"]
    done = CliRunner().invoke(app, ["cost", str(two_exits().save(tmp_path)), "--json", *options])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["engine_version"].endswith(".overlap.zigzag.fill, mapping optimized")


def test_cost_maps_on_all_cores_and_as_the_reference_with_its_convention(tmp_path: Path) -> None:
    path = str(two_exits().save(tmp_path))

    def priced(*options: str) -> dict[str, object]:
        done = CliRunner().invoke(app, ["cost", path, "--json", *options])
        assert done.exit_code == 0, done.output
        found: dict[str, object] = json.loads(done.stdout)
        return found

    assert priced()["mapping"] == "optimized"
    published = priced("--convention", "published")
    assert published["mapping"] == "layer_by_layer"
    assert published == priced("--convention", "published", "--mapping", "layer_by_layer")


def test_a_mapping_that_is_not_the_published_one_is_refused_with_the_published_convention(tmp_path: Path) -> None:
    options = ["--convention", "published", "--mapping", "optimized"]
    done = CliRunner().invoke(app, ["cost", str(two_exits().save(tmp_path)), *options])
    assert done.exit_code
    assert "has mapping layer_by_layer only; leave mapping out" in str(done.exception)


def test_what_does_not_fit_the_memories_is_told(tmp_path: Path) -> None:
    # 3 + 8 maps of 256 x 256 values of 8 bits are 704 KiB at once, more than the 512 KiB of the microcontroller.
    net = Net((1, 3, 256, 256))
    net.exit(net.head(net.conv(net.input, 8, 3), 8))
    path = str(net.save(tmp_path))
    done = CliRunner().invoke(app, ["cost", path, "--accelerator", "mcu", "--json"])
    found = json.loads(done.stdout)
    assert [(need["content"], need["fits"]) for need in found["memory"]] == [("weights", True), ("activations", False)]
    assert any("The activations do not fit" in warning for warning in found["warnings"])
    shown = CliRunner().invoke(app, ["cost", path, "--accelerator", "mcu"], env={"COLUMNS": "200"}).output
    assert "The activations do not fit: they need" in shown


def test_sizes_that_the_file_leaves_open_are_options(tmp_path: Path) -> None:
    net = Net((1, "tokens", 4))
    path = str(net.exit(net.op("MatMul", net.input, net.weight(4, 2))).save(tmp_path))
    refused = CliRunner().invoke(app, ["cost", path])
    assert refused.exit_code != 0
    done = CliRunner().invoke(app, ["cost", path, "--json", "--size", "tokens=5"])
    assert json.loads(done.stdout)["static"]["macs"] == 5 * 4 * 2
    assert _parse_sizes(["a=b=3", "image.2=224"]) == {"a=b": 3, "image.2": 224}
    for wrong in (["tokens"], ["=3"], ["n=-1"], ["n=1", "n=2"]):
        with pytest.raises(InputError, match="name of an axis and its size"):
            _parse_sizes(wrong)
