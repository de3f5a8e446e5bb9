"""The command line: what it prints, how it ends, and that bad input is one sentence."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offramp.cli.catalogue import KINDS


def test_version_and_help(offramp) -> None:  # type: ignore[no-untyped-def]
    assert offramp("--version").out.startswith("offramp ")
    shown = offramp("search", "--help")
    assert shown.code == 0
    for option in (
        "--data",
        "--licence",
        "--backbone",
        "--accelerator",
        "--budget",
        "--resume",
        "--pick",
        "--constraint",
    ):
        assert option in shown.out


@pytest.mark.parametrize(
    ("kind", "member"),
    [("accelerators", "edge-tpu-quad"), ("backbones", "resnet"), ("branches", "pool_linear"), ("algorithms", "nsga2")],
)
def test_list(offramp, kind: str, member: str) -> None:  # type: ignore[no-untyped-def]
    lines = offramp("list", kind).out.splitlines()
    row = next(line for line in lines if line.split()[0] == member)
    assert len(row.split()) > 2, "a name needs a description"


def test_list_without_a_kind_shows_the_kinds(offramp) -> None:  # type: ignore[no-untyped-def]
    lines = offramp("list").out.splitlines()
    assert [line.split()[0] for line in lines] == list(KINDS)


def test_front_as_json(offramp, finished_run: Path) -> None:  # type: ignore[no-untyped-def]
    fronts = json.loads(offramp("front", finished_run, "--json").out)
    assert set(fronts) == {"early_exit", "static", "volume_beyond_static"}
    assert fronts["volume_beyond_static"] >= 0.0
    points = [*fronts["early_exit"], *fronts["static"]]
    assert points
    assert all(point["architecture"]["exits"] == [] for point in fronts["static"])
    for point in points:
        assert 0 <= point["validation_accuracy"] <= 1
        assert sum(point["exit_rates"]) == pytest.approx(1)
        assert point["expected"]["energy_pj"] > 0
        assert point["architecture"]["backbone"] == "resnet"


def test_front_as_table_and_report(offramp, finished_run: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "Accuracy" in offramp("front", finished_run).out
    written = offramp("report", finished_run, "--output", tmp_path / "page.html")
    assert written.code == 0
    assert "<html" in (tmp_path / "page.html").read_text()


def test_bundles_of_a_search_state_the_licence_of_its_settings(finished_run: Path) -> None:
    (stated,) = {json.loads(file.read_text())["licence"] for file in finished_run.glob("chosen/*/bundle/manifest.json")}
    assert stated == "CC0-1.0"


def test_predict(offramp, finished_run: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    image = tmp_path / "seven.png"
    Image.fromarray(np.full((16, 12), 200, dtype=np.uint8)).save(image)
    bundle = next((finished_run / "chosen").glob("*/bundle"))
    said = offramp("predict", bundle, image)
    assert said.code == 0
    assert "left at exit" in said.out
    rows = json.loads(offramp("predict", bundle, image, image, "--json").out)
    assert [row["image"] for row in rows] == [str(image)] * 2
    assert rows[0]["exit"] >= 0


def test_predict_takes_folders_and_writes_a_table(offramp, finished_run: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("b/2.png", "a/1.png", "a/.ipynb_checkpoints/1.png", "a/notes.txt"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 200, dtype=np.uint8)).save(tmp_path / "images" / name, "PNG")
    bundle = next((finished_run / "chosen").glob("*/bundle"))
    table = tmp_path / "answers.csv"
    said = offramp("predict", bundle, tmp_path / "images", "--csv", table)
    assert (said.code, said.out) == (0, f"{table}: 2 answers\n")
    assert "1 images that are hidden" in said.err
    image = tmp_path / "images" / "a" / "1.png"
    before = image.read_bytes()
    said = offramp("predict", bundle, image, "--csv", image)
    assert (said.code, image.read_bytes()) == (2, before)
    assert "is a file already" in said.err
    rows = list(csv.DictReader(table.open(newline="")))
    assert [row["file"] for row in rows] == [str(tmp_path / "images" / name) for name in ("a/1.png", "b/2.png")]
    answers = json.loads(offramp("predict", bundle, tmp_path / "images", "--json").out)
    for row, answer in zip(rows, answers, strict=True):
        assert (row["class_name"], int(row["label"]), int(row["exit"])) == (
            answer["class_name"],
            answer["label"],
            answer["exit"],
        )
        assert float(row["confidence"]) == answer["confidence"]
        assert int(row["macs"]) == answer["cost"]["macs"]
    (tmp_path / "empty").mkdir()
    refused = offramp("predict", bundle, tmp_path / "empty")
    assert refused.code == 2
    assert "must hold images" in refused.err


BAD_INPUT = [
    (("search", "--data", "no/such/folder"), "no/such/folder"),
    (("search", "--backbone", "resnett"), "Did you mean 'resnet'"),
    (("search", "--accelerator", "edge-tpu-qad"), "Did you mean 'edge-tpu-quad'"),
    (("search", "--accelerator", "missing.yaml"), "missing.yaml"),
    (("search", "--algorithm", "nsga3"), "Did you mean 'nsga2'"),
    (("search", "--objective", "beauty"), "beauty"),
    (("search", "--constraint", "latency<=five"), "latency"),
    (("search", "--constraint", "accuracy>=1.5"), "accuracy"),
    (("search", "--constraint", "macs<=1M", "--constraint", "macs>=2M"), "Constraints on macs exclude each other"),
    (("search", "--objective", "macs,accuracy", "--objective", "min:macs"), "none twice"),
    (("search", "--pick", "macs<=1M,macs>=2M"), "Constraints on macs exclude each other"),
    (("search", "--pick", "prettiest"), "prettiest"),
    (("search", "--budget", "soon"), "such as 90s"),
    (("search", "--guarantee", "1%"), "such as 0.01@0.95"),
    (("search", "--seed", "-1"), "seed"),
    (("search", "--engine", "crystal-ball"), "engine"),
    (("search", "--config", "missing.yaml"), "cannot be read"),
    (("search", "--run", "/proc/offramp"), "must be writable"),
    (("search", "--resume"), "--run"),
    (("search", "--resume", "--run", "nowhere"), "run.sqlite"),
    (("search", "--resume", "--run", "nowhere", "--seed", "1"), "leave out"),
    (("front", "nowhere"), "run.sqlite"),
    (("report", "nowhere"), "summary"),
    (("cost", "missing.onnx"), "missing.onnx"),
    (("predict", "nowhere", "a.png"), "nowhere"),
    (("list", "colours"), "Available"),
    (("search", "--set", "fine_tune.drop_exit=true"), "Did you mean 'fine_tune.drop_exits'"),
    (("search", "--set", "train.batch_size=many"), "train.batch_size"),
    (("search", "--set", "search.constraints=[macs<=1M, macs>=2M]"), "Constraints on macs exclude each other"),
    (("search", "--resume", "--run", "nowhere", "--set", "seed=1"), "leave out"),
    (("search", "--resume", "--run", "nowhere", "--set", "execution.workers=2"), "run.sqlite"),
    (("search", "--weight-density", "0.5"), "'edge-tpu-quad' does not: no core of its description has a block"),
    (("search", "--weight-density", "1.5"), "fine_tune.weight_density"),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD_INPUT, ids=lambda v: " ".join(v) if isinstance(v, tuple) else v)
def test_bad_input_is_one_sentence(  # type: ignore[no-untyped-def]
    offramp, arguments: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = offramp(*arguments)
    assert outcome.code == 2, outcome.err
    assert expected in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.err.startswith("offramp: ")
    assert not (tmp_path / "runs").exists(), "a run that cannot start must leave nothing behind"


def test_a_file_without_early_exits_is_priced_as_one_stage(offramp, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import onnx
    from onnx import TensorProto, helper

    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 1, 1])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "plain.onnx")
    outcome = offramp("cost", tmp_path / "plain.onnx", "--json")
    assert outcome.code == 0
    assert [stage["exit"] for stage in json.loads(outcome.out)["stages"]] == ["y"]


def test_cost_of_a_reference_graph(offramp, reference: Path) -> None:  # type: ignore[no-untyped-def]
    model = reference / "eenn" / "nas" / "iter_0" / "net_8" / "model.onnx"
    rates = ("--exit-rates", "0.3643,0.4223,0.2134")
    outcome = offramp("cost", model, *rates, "--mapping", "layer_by_layer", "--json")
    priced = json.loads(outcome.out)
    assert priced["accelerator"] == "edge-tpu-quad"
    assert [stage["backbone_latency_cycles"] for stage in priced["stages"]] == [96766, 350967, 193417]
    assert priced["expected"]["energy_delay_product_j_cycles"] == pytest.approx(275.92507143594605, rel=1e-3)
    assert offramp("cost", model, "--exit-rates", "0.5,0.2").code == 2
    assert offramp("cost", model, "--exit-rates", "a,b,c").code == 2
    assert offramp("cost", model).code == 0


def test_cost_says_which_layers_the_analog_core_refuses(offramp, reference: Path) -> None:  # type: ignore[no-untyped-def]
    model = reference / "eenn" / "nas" / "iter_0" / "net_8" / "model.onnx"
    shown = " ".join(offramp("cost", model, "--accelerator", "diana").out.split())
    assert shown.count("cannot run on core 'analog'") == 3
    assert "12 layers cannot run on core 'analog': a depthwise convolution sums within one channel only" in shown
    assert "1 layer cannot run on core 'analog': the first layer reads 8-bit pixels" in shown
    assert "cannot run on core" not in offramp("cost", model).out


@pytest.mark.parametrize(
    ("shares", "complaint"),
    [("0,0.5,1", "needs an accelerator with an analog core"), ("0,2", "analog_shares"), ("0,half", "analog_shares")],
)
def test_analog_shares_are_checked_before_anything_is_done(  # type: ignore[no-untyped-def]
    offramp, shares: str, complaint: str, tmp_path: Path
) -> None:
    outcome = offramp("search", "--analog-shares", shares, "--run", tmp_path / "run")
    assert outcome.code == 2
    assert complaint in outcome.err
    assert not (tmp_path / "run").exists()


def test_cost_with_steps_and_a_timeline(offramp, reference: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model = reference / "eenn" / "nas" / "iter_0" / "net_8" / "model.onnx"
    few = ("--mapping", "optimized", "--mapping-steps", "on_chip,prefetch,split", "--without-step", "split", "--json")
    outcome = offramp("cost", model, *few, "--timeline", tmp_path / "timeline.html")
    priced = json.loads(outcome.out)
    assert priced["mapping_steps"] == ["on_chip", "prefetch"]
    assert "net" in (tmp_path / "timeline.html").read_text(encoding="utf-8")
    plain = offramp("cost", model, "--mapping", "layer_by_layer")
    assert "DRAM of its own" in plain.out
    assert "--mapping optimized" in " ".join(plain.out.split())
    for wrong in (("--without-step", "magic"), ("--mapping-steps", "magic"), ("--timeline", tmp_path / "no" / "t")):
        refused = offramp("cost", model, *wrong)
        assert (refused.code, refused.out) == (2, "")
        assert len(refused.err.splitlines()) == 1


def test_as_a_program(tmp_path: Path) -> None:
    """The installed command ends with the right code and writes errors to standard error alone."""
    environment = {**os.environ, "OFFRAMP_DEBUG": ""}
    done = subprocess.run(
        [sys.executable, "-m", "offramp", "front", "nowhere"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("offramp: ")


def test_a_run_goes_on_with_other_workers_but_no_other_search(offramp, finished_run: Path) -> None:  # type: ignore[no-untyped-def]
    outcome = offramp("search", "--run", finished_run, "--resume", "--seed", "3", "--workers", "2")
    assert outcome.code == 2
    assert "Only --budget, --workers, --devices, --cluster" in outcome.err
    both = offramp("search", "--workers", "2", "--cluster", "tcp://127.0.0.1:1", "--run", finished_run)
    assert both.code == 2
    assert "give one of the two" in both.err
    unknown = offramp("search", "--track", "tensorbord", "--run", finished_run)
    assert unknown.code == 2
    assert "Did you mean 'tensorboard'" in unknown.err


def test_watching_and_exporting_a_finished_run(offramp, finished_run: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    watched = offramp("watch", finished_run)
    assert watched.code == 0
    assert "ended. 12 candidates evaluated" in " ".join(watched.out.split())
    exported = offramp("export-results", finished_run, tmp_path / "all.parquet")
    # 12 candidates, and the static networks that came along.
    count = re.search(r"(\d+) evaluations", exported.out)
    assert count is not None
    assert int(count[1]) > 12


def test_a_plug_in_that_is_skipped_is_one_sentence(tmp_path: Path) -> None:
    info = tmp_path / "half_broken-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: half-broken\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[offramp.cost_engines]\nlate = nowhere_at_all\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    shown = subprocess.run(
        [sys.executable, "-m", "offramp", "list", "engines"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    reason = "ModuleNotFoundError: No module named 'nowhere_at_all'"
    assert shown.stderr == f"offramp: The cost engine 'late' of half-broken 1.2 is skipped: {reason}.\n"
    assert "native" in shown.stdout


def test_ctrl_c_is_answered(offramp, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def interrupted(kind: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("offramp.cli.catalogue.describe", interrupted)
    outcome = offramp("list", "settings")
    assert outcome.code == 130
    assert "offramp: Stopped." in outcome.err


def test_a_search_that_is_stopped_ends_as_other_stopped_programs_do(  # type: ignore[no-untyped-def]
    offramp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("offramp.run.pipeline.Pipeline.run", interrupted)
    outcome = offramp("search", "--run", tmp_path / "run")
    assert outcome.code == 130
    assert "Go on with: offramp search --run" in outcome.err


@pytest.mark.parametrize("arguments", [("cost", ""), ("predict", " ", "image.png"), ("search", "--data", "")])
def test_an_empty_argument_is_no_path(offramp, arguments: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    outcome = offramp(*arguments)
    assert outcome.code == 2
    place = next(index for index, text in enumerate(arguments) if not text.strip())
    assert f"Argument {place + 1} (behind {arguments[place - 1]!r}) must not be empty" in outcome.err


@pytest.mark.parametrize(
    ("option", "value", "setting"),
    [
        ("--branch-bits", "8", "cost.branch_weight_bits=4"),
        ("--mapping-steps", "none", "cost.mapping_steps=[fuse]"),
        ("--without-step", "fuse", "cost.mapping_steps=[fuse]"),
    ],
)
def test_cost_takes_a_setting_once(  # type: ignore[no-untyped-def]
    offramp, reference: Path, option: str, value: str, setting: str
) -> None:
    outcome = offramp("cost", reference, "--mapping", "optimized", option, value, "--set", setting)
    assert outcome.code == 2
    assert f"must be given once, but {option} and --set both give it" in outcome.err
