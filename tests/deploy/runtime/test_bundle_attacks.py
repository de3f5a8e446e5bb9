"""Bundles made to do harm, with checksums that agree: each is refused, soon and in little memory."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from offramp.deploy.bench.latency_bench import bench
from offramp.deploy.bundle.export_bundle import ExportRecord
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.bundle.widened_bundle import widen_bundle
from offramp.deploy.graph_rules.graph_demand import USUAL_LIMIT, GraphDemand
from offramp.deploy.graph_rules.wire_scan import MAX_FIELDS, StrippedFile
from offramp.deploy.runtime.graph_check import CheckedGraph, check_graph
from offramp.deploy.runtime.graph_sessions import start_graph
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError
from tests.deploy import toys
from tests.deploy.resealed import change_graph, change_manifest, replace_file

GRAPHS = ("stage_0.onnx", "stage_2.onnx", "model.onnx", "model_early_exit.onnx")
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def ints(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def model(nodes: list[Any], initializers: list[Any] | None = None, result: int = FLOAT) -> Any:
    """A graph from ``x`` (batch, 4) to ``y``."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", result, None)],
        initializers or [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def endless_loop() -> Any:
    """A loop of 2**62 rounds that changes nothing."""
    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    inside, outside = (helper.make_tensor_value_info(name, FLOAT, None) for name in ("inside", "outside"))
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["inside"], ["outside"])],
        "body",
        [helper.make_tensor_value_info("round", INT64, []), flag, inside],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), outside],
    )
    rounds = numpy_helper.from_array(np.array(2**62), "rounds")
    return model([helper.make_node("Loop", ["rounds", "", "x"], ["y"], body=body)], [rounds])


def sizes_through_a_cast() -> Any:
    sizes = numpy_helper.from_array(np.array([65536.0, 65536.0], np.float32), "sizes")
    cast = helper.make_node("Cast", ["sizes"], ["n"], to=INT64)
    return model([cast, helper.make_node("ConstantOfShape", ["n"], ["y"])], [sizes])


def two_constants_of_one_name() -> Any:
    large, small = ints("", 2**16, 2**16), ints("", 1, 4)
    nodes = [helper.make_node("Constant", [], ["n"], value=value) for value in (large, small)]
    return model([*nodes, helper.make_node("ConstantOfShape", ["n"], ["y"])])


def square_of_the_batch() -> Any:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], end=1),
        helper.make_node("Concat", ["s", "s", "s"], ["cube"], axis=0),
        helper.make_node("ConstantOfShape", ["cube"], ["y"]),
    ]
    return model(nodes)


def product_of_batches() -> Any:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], end=1),
        helper.make_node("Mul", ["s", "s"], ["square"]),
        helper.make_node("ConstantOfShape", ["square"], ["y"]),
    ]
    return model(nodes)


def doubled_strings() -> Any:
    text = helper.make_tensor("t0", TensorProto.STRING, [1], [b"x" * 1000])
    nodes = [helper.make_node("StringConcat", [f"t{i}", f"t{i}"], [f"t{i + 1}"]) for i in range(40)]
    made = model([*nodes, helper.make_node("Identity", ["t40"], ["y"])], [text], TensorProto.STRING)
    made.opset_import[0].version = 20
    return made


def doubled_concat() -> Any:
    nodes = [helper.make_node("Concat", [f"t{i}", f"t{i}"], [f"t{i + 1}"], axis=0) for i in range(60)]
    return model([*nodes, helper.make_node("ConstantOfShape", ["t60"], ["y"])], [ints("t0", 1)])


def doubled_features() -> Any:
    """Each tensor is below the limit of one tensor; what lives at one time is not."""
    nodes = [helper.make_node("Tile", ["x", "n"], ["t0"])]
    nodes += [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(40)]
    nodes += [helper.make_node("Sum", [f"t{i}" for i in range(30, 41)], ["y"])]
    return model(nodes, [ints("n", 1, 2**24)])


def folded_constants() -> Any:
    """A runtime computes what follows from constants when it loads, and keeps all of it."""
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["t"])]
    nodes += [helper.make_node("Relu", ["t"], [f"r{i}"]) for i in range(8)]
    nodes += [helper.make_node("ReduceMax", [f"r{i}"], [f"m{i}"]) for i in range(8)]
    nodes += [helper.make_node("Sum", ["x", *(f"m{i}" for i in range(8))], ["y"])]
    return model(nodes, [ints("n", 2**26)])


def unfolded_window() -> Any:
    """A small weight whose window is unfolded to 4 TB."""
    nodes = [
        helper.make_node("Reshape", ["x", "four"], ["map"]),
        helper.make_node("Pad", ["map", "pads"], ["wide"]),
        helper.make_node("Conv", ["wide", "w"], ["y"]),
    ]
    weight = numpy_helper.from_array(np.zeros((1, 1, 1000, 1000), np.float32), "w")
    return model(nodes, [ints("four", -1, 1, 2, 2), ints("pads", 0, 0, 0, 0, 0, 0, 2000, 2000), weight])


def unread_node() -> Any:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["x"], ["nobody"])]
    return model(nodes)


def text_attribute() -> Any:
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="\x1b]0;title\x07")
    return model([node], [numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "w")])


def scan() -> Any:
    inside, outside = (helper.make_tensor_value_info(name, FLOAT, None) for name in ("inside", "outside"))
    body = helper.make_graph([helper.make_node("Identity", ["inside"], ["outside"])], "body", [inside], [outside])
    return model([helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)])


ATTACKS: dict[Callable[[], Any], str] = {
    endless_loop: "'Loop'",
    scan: "'Scan'",
    sizes_through_a_cast: "no size that can be told beforehand",
    two_constants_of_one_name: "'n' is there twice",
    square_of_the_batch: "grows faster than the number of samples",
    product_of_batches: "grows faster than the number of samples",
    doubled_strings: "kind that no bundle has|element type",
    doubled_concat: "must have at most 134217728 values",
    doubled_features: "live_bytes",
    folded_constants: "live_bytes",
    unfolded_window: "live_bytes",
    unread_node: "no output needs",
    text_attribute: "auto_pad",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("name", GRAPHS)
def test_a_hostile_graph_is_refused_in_whatever_file_it_is(bundle: Path, name: str, attack: Callable[[], Any]) -> None:
    replace_file(bundle, name, attack().SerializeToString())
    with pytest.raises(BundleError, match=ATTACKS[attack]):
        EarlyExitSession(bundle)


@pytest.mark.parametrize("name", GRAPHS)
def test_garbage_is_refused_in_whatever_file_it_is(bundle: Path, name: str) -> None:
    for content in (b"garbage", bytes(100), np.random.default_rng(0).bytes(5000)):
        replace_file(bundle, name, content)
        with pytest.raises(BundleError, match=name):
            EarlyExitSession(bundle)


@pytest.mark.parametrize("use", [EarlyExitSession, bench, lambda path: widen_bundle(path, path.parent / "copy")])
def test_every_use_of_a_bundle_checks_the_files_for_other_programs(bundle: Path, use: Callable[[Path], Any]) -> None:
    replace_file(bundle, "model_early_exit.onnx", endless_loop().SerializeToString())
    with pytest.raises(BundleError, match="'Loop'"):
        use(bundle)


def test_files_for_other_programs_have_the_inputs_and_outputs_that_the_manifest_says(bundle: Path) -> None:
    joined, early = ((bundle / name).read_bytes() for name in ("model.onnx", "model_early_exit.onnx"))
    replace_file(bundle, "model.onnx", (bundle / "stage_0.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"model\.onnx' must have the outputs 'exit_0'"):
        EarlyExitSession(bundle)
    replace_file(bundle, "model.onnx", joined)
    replace_file(bundle, "model_early_exit.onnx", joined)
    with pytest.raises(BundleError, match=r"model_early_exit\.onnx' must have the inputs 'images' \[1, 3, 12, 10\]"):
        EarlyExitSession(bundle)
    replace_file(bundle, "model_early_exit.onnx", early)
    EarlyExitSession(bundle)


def test_a_model_in_the_format_of_onnxruntime_is_never_loaded(bundle: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(bundle / "stage_0.onnx", options, providers=["CPUExecutionProvider"])
    hidden = (tmp_path / "model.ort").read_bytes()
    assert hidden[4:8] == b"ORTM"
    # onnxruntime by itself takes it for a model.
    onnxruntime.InferenceSession(hidden, providers=["CPUExecutionProvider"])
    replace_file(bundle, "stage_0.onnx", hidden)
    with pytest.raises(BundleError, match="format of onnxruntime"):
        EarlyExitSession(bundle)

    class Hidden(CheckedGraph):
        def content(self) -> bytes:
            return hidden

    # Even if the bytes came through the check, they would be read as ONNX.
    with pytest.raises(BundleError, match="not a graph that onnxruntime can load"):
        start_graph(Hidden(None, StrippedFile(b"", ()), GraphDemand(0, 0, 0, 0), {}, {}), "hidden", 1)


def test_a_harmless_graph_that_looks_like_the_format_of_onnxruntime_is_refused() -> None:
    """ONNX that begins with a name which puts ``ORTM`` where the other format is recognised."""
    made = model([helper.make_node("Relu", ["x"], ["y"])])
    made.producer_name = "ORTM" + "x" * 100
    content = made.SerializeToString()
    assert content[4:8] == b"ORTM"
    with pytest.raises(BundleError, match="format of onnxruntime"):
        check_graph(content, "file")


def test_what_is_not_checked_does_not_reach_the_runtime() -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], [ints("unread", 5)])
    made.doc_string = made.graph.doc_string = made.graph.node[0].doc_string = "a secret"
    made.metadata_props.add(key="ort_config", value="a secret")
    made.graph.value_info.append(helper.make_tensor_value_info("a secret", FLOAT, [1]))
    content = check_graph(made.SerializeToString(), "file").content()
    assert b"secret" not in content
    assert b"unread" not in content
    assert b"secret" in made.SerializeToString()


def test_fields_that_onnx_does_not_define_are_refused() -> None:
    content = model([helper.make_node("Relu", ["x"], ["y"])]).SerializeToString()
    check_graph(content, "file")
    with pytest.raises(BundleError, match="has no field 100"):
        check_graph(content + b"\xa2\x06\x04evil", "file")


NOT_FINITE = [float("nan"), float("inf"), -float("inf")]


def first_weight(made: Any) -> Any:
    return next(tensor for tensor in made.graph.initializer if tensor.data_type == FLOAT)


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("name", GRAPHS)
def test_weights_that_are_not_finite_are_refused(bundle: Path, name: str, value: float) -> None:
    def change(made: Any) -> None:
        tensor = first_weight(made)
        values = numpy_helper.to_array(tensor).copy()
        values.reshape(-1)[-1] = value
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    change_graph(bundle, name, change)
    with pytest.raises(BundleError, match="NaN or infinite values"):
        EarlyExitSession(bundle)


def test_thresholds_in_a_file_for_other_programs_must_be_finite(bundle: Path) -> None:
    def change(made: Any) -> None:
        tensor = next(item for item in made.graph.initializer if item.name == "thresholds")
        tensor.CopyFrom(numpy_helper.from_array(np.array([0.5, np.nan]), "thresholds"))

    change_graph(bundle, "model_early_exit.onnx", change)
    with pytest.raises(BundleError, match="'thresholds' with NaN or infinite values"):
        EarlyExitSession(bundle)


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize(
    "place",
    [
        ("exits", 0, "threshold"),
        ("exits", 0, "temperature"),
        ("exits", 0, "validation_rate"),
        ("exits", 1, "cost", "energy_pj"),
        ("preprocessing", "mean", 0),
        ("preprocessing", "std", 1),
        ("expected_cost", "macs"),
        ("verification", "tolerance"),
        ("verification", "largest_difference"),
        ("test_accuracy",),
    ],
)
def test_numbers_of_the_manifest_that_are_not_finite_are_refused(
    bundle: Path, place: tuple[Any, ...], value: float
) -> None:
    def change(data: Any) -> None:
        *path, last = place
        for key in path:
            data = data[key]
        data[last] = value

    change_manifest(bundle, change)
    with pytest.raises(BundleError):
        EarlyExitSession(bundle)
    text = (bundle / "manifest.json").read_text()
    # A number that is too large becomes infinite when it is read.
    (bundle / "manifest.json").write_text(text.replace("Infinity", "1e999"))
    with pytest.raises(BundleError):
        EarlyExitSession(bundle)


@pytest.mark.parametrize("place", ["cost", "expected_cost"])
def test_a_number_of_many_digits_in_the_manifest_is_refused(bundle: Path, place: str) -> None:
    def change(data: Any) -> None:
        (data if place == "expected_cost" else data["exits"][-1])[place]["macs"] = 10**400

    change_manifest(bundle, change)
    with pytest.raises(BundleError, match=r"numbers below 2\*\*63"):
        EarlyExitSession(bundle)


def test_an_answer_that_is_not_finite_is_an_error(bundle: Path) -> None:
    def change(made: Any) -> None:
        for tensor in made.graph.initializer:
            if tensor.data_type == FLOAT:
                values = np.full(tuple(tensor.dims), 1e30, np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    change_graph(bundle, "stage_0.onnx", change)
    session = EarlyExitSession(bundle)
    with pytest.raises(BundleError, match="NaN or infinite logits, which are no answer"):
        session.predict(toys.samples(2))
    with pytest.raises(BundleError, match="NaN or infinite logits, which are no answer"):
        session.all_logits(toys.samples(2))


def test_the_manifest_states_what_each_graph_takes(record: ExportRecord) -> None:
    manifest = load_manifest(record.path)
    stated = {file.name: file.graph for file in manifest.files if file.name.endswith(".onnx")}
    assert set(stated) == {"stage_0.onnx", "stage_1.onnx", "stage_2.onnx", "model.onnx", "model_early_exit.onnx"}
    for name, demand in stated.items():
        assert demand is not None
        assert demand == check_graph((record.path / name).read_bytes(), name, branches=True).demand
    # Stage 0 by hand: two convolutions of 3x3 from 3 and from 6 channels to 6, on 6x5 values, and 6 to 5 classes.
    first, joined = stated["stage_0.onnx"], stated["model.onnx"]
    assert first is not None
    assert joined is not None
    assert first.macs == 6 * 5 * 6 * (9 * 3 + 9 * 6) + 6 * 5
    assert joined.macs == sum(demand.macs for name, demand in stated.items() if demand and name.startswith("stage"))


def test_a_graph_that_takes_more_than_the_manifest_says_is_refused(bundle: Path) -> None:
    for figure in ("nodes", "live_bytes", "total_bytes", "macs"):
        original = (bundle / "manifest.json").read_text()

        def change(data: Any, figure: str = figure) -> None:
            next(file for file in data["files"] if file["name"] == "model.onnx")["graph"][figure] -= 1

        change_manifest(bundle, change)
        with pytest.raises(BundleError, match=f"takes more than the manifest says: {figure}"):
            EarlyExitSession(bundle)
        (bundle / "manifest.json").write_text(original)


def test_bundles_without_statements_on_their_graphs_are_read(bundle: Path) -> None:
    expected = EarlyExitSession(bundle).predict(toys.samples(5))

    def change(data: Any) -> None:
        for file in data["files"]:
            del file["graph"]

    change_manifest(bundle, change)
    assert EarlyExitSession(bundle).predict(toys.samples(5)) == expected


def test_a_graph_beyond_the_usual_limit_needs_a_word_from_the_user(
    monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    small = GraphDemand(USUAL_LIMIT.nodes, USUAL_LIMIT.live_bytes, USUAL_LIMIT.total_bytes, 1000)
    monkeypatch.setattr("offramp.deploy.runtime.graph_check.USUAL_LIMIT", small)
    with pytest.raises(BundleError, match=r"takes more than is usual: macs .*--allow-large"):
        EarlyExitSession(bundle)
    assert len(EarlyExitSession(bundle, allow_large=True).predict(toys.samples(3))) == 3


MEASURE = """
import json, re, sys, time
from pathlib import Path
from offramp.deploy.runtime.graph_check import check_graph
from offramp.errors import BundleError
# Not from getrusage: a process takes over the peak of the one that started it.
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
check_graph(Path(sys.argv[1]).read_bytes(), "warm-up", branches=True)
before = peak()
times = []
for path in sys.argv[2:]:
    content = Path(path).read_bytes()
    start = time.process_time()
    try:
        check_graph(content, path, branches=True).content()
    except BundleError:
        pass
    times.append(time.process_time() - start)
print(json.dumps([times, (peak() - before) / 1024]))
"""


def most_nodes(count: int) -> Any:
    """A chain of nodes, each of which is read."""
    names = ["x", *(f"v{i}" for i in range(count - 1)), "y"]
    return model([helper.make_node("Relu", [names[i]], [names[i + 1]]) for i in range(count)])


def empty_messages() -> bytes:
    """Nodes without content: two bytes each in the file, some hundred in memory."""
    nodes = b"\x0a\x00" * 3_000_000
    length = len(nodes)
    varint = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21])
    return b"\x08\x0a\x3a" + varint + nodes


def deep_branches() -> Any:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"])], "g", [], [helper.make_tensor_value_info("r", FLOAT, None)]
    )
    for level in range(28):
        node = helper.make_node("If", ["c"], [f"o{level}"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info(f"o{level}", FLOAT, None)])
        if len(graph.SerializeToString()) > 2**22:
            break
    return model(list(graph.node), [numpy_helper.from_array(np.array(True), "c")])


def test_the_check_takes_little_time_and_memory(bundle: Path, tmp_path: Path) -> None:
    contents = [attack().SerializeToString() for attack in ATTACKS]
    contents += [most_nodes(5_000).SerializeToString(), most_nodes(20_001).SerializeToString()]
    contents += [empty_messages(), deep_branches().SerializeToString()]
    paths = []
    for number, content in enumerate(contents):
        paths.append(tmp_path / f"{number}.onnx")
        paths[-1].write_bytes(content)
    script = [sys.executable, "-c", MEASURE, str(bundle / "model_early_exit.onnx"), *map(str, paths)]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=120)
    times, mebibytes = json.loads(done.stdout)
    # 2 s on a quiet machine: the largest of these takes about half of that.
    assert max(times) < 4, times
    assert mebibytes < 256
    assert MAX_FIELDS < 3_000_000


def heavy() -> Any:
    """A graph with 100 MB of weights, which begin at an odd byte of the file."""
    nodes = [helper.make_node("Gemm", ["x", "w"], ["m"]), helper.make_node("Gemm", ["m", "v"], ["y"])]
    rng = np.random.default_rng(0)
    weights = {"w": rng.random((4, 2_500_000), np.float32), "v": rng.random((2_500_000, 6), np.float32)}
    return model(nodes, [numpy_helper.from_array(value, name) for name, value in weights.items()])


def test_the_check_of_a_graph_of_100_mb_takes_256_mib_with_the_file_and_what_is_written_anew(
    bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "heavy.onnx"
    path.write_bytes(heavy().SerializeToString())
    assert path.stat().st_size > 100_000_000
    script = [sys.executable, "-c", MEASURE, str(bundle / "model_early_exit.onnx"), str(path)]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=120)
    times, mebibytes = json.loads(done.stdout)
    assert max(times) < 2, times
    assert 95 < mebibytes < 256


def test_every_kind_of_bundle_that_offramp_writes_is_accepted(bundles_of_kinds: dict[str, Path]) -> None:
    for kind, path in bundles_of_kinds.items():
        for file in load_manifest(path).files:
            graph = check_graph((path / file.name).read_bytes(), f"{kind} {file.name}", branches="early" in file.name)
            assert onnx.load_model_from_string(graph.content()).graph.node == graph.model.graph.node


def test_batches_are_no_larger_than_fits_into_memory(record: ExportRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = toys.samples(40)
    expected = EarlyExitSession(record.path).all_logits(inputs)
    stated = [file.graph for file in record.manifest.files if file.name.startswith("stage")]
    largest = max(demand.live_bytes for demand in stated if demand is not None)
    monkeypatch.setattr("offramp.deploy.runtime.bundle_graphs.MAX_BATCH_BYTES", 7 * largest + 1)
    session = EarlyExitSession(record.path)
    sizes = []
    monkeypatch.setattr(session, "run_stage", lambda *given: sizes.append(len(given[1])) or run_stage(*given))
    run_stage = EarlyExitSession.run_stage.__get__(session)
    for ours, theirs in zip(session.all_logits(inputs), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert max(sizes) == 7
    session.predict(inputs)
    assert max(sizes) == 7
