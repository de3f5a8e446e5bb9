import dataclasses
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from offramp.deploy.bundle.export_bundle import ExportRecord
from offramp.deploy.runtime.sample_inputs import normalise
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError, DataError, InputError
from offramp.exits.confidence_measures import MEASURES, Measure, confidence
from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.network import EarlyExitNetwork
from tests.deploy import toys
from tests.deploy.conftest import POLICY, Export


@pytest.fixture(scope="module")
def session(record: ExportRecord) -> EarlyExitSession:
    return EarlyExitSession(record.path)


def rewrite_stage(bundle: Path, index: int, change: Any) -> None:
    """Change a stage's graph and make the manifest agree, as somebody who means harm would."""
    path = bundle / f"stage_{index}.onnx"
    model = onnx.load(path)
    change(model)
    replace_file(bundle, path.name, model.SerializeToString())


def replace_file(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    data = json.loads((bundle / "manifest.json").read_text())
    for file in data["files"]:
        if file["name"] == name:
            file |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(data))


def edit_manifest(bundle: Path, **changes: Any) -> None:
    data = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(data | changes))


@pytest.mark.parametrize("temperatures", [(), (0.6, 2.5, 1.7)])
@pytest.mark.parametrize("measure", MEASURES)
def test_answers_are_those_of_the_network_and_its_policy(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path, measure: Measure, temperatures: tuple[float, ...]
) -> None:
    inputs = toys.samples(300, seed=11)
    logits = toys.logits_of(network, inputs)
    scaled = [item / (temperatures[index] if temperatures else 1.0) for index, item in enumerate(logits)]
    # Thresholds between two samples' confidences, so that rounding decides nothing.
    sure = [np.sort(confidence(exit_logits, measure)) for exit_logits in scaled[:-1]]
    policy = ExitPolicy(measure, tuple(float((values[180] + values[181]) / 2) for values in sure), temperatures)
    wanted = policy.decide(logits)
    assert set(wanted) == {0, 1, 2}
    record = quick_export(network, tmp_path / "bundle", policy=policy)
    # Disturbed copies may lie just on a threshold, and only those may go either way.
    assert record.agreement.num_moved <= record.agreement.num_on_threshold <= 2
    session = EarlyExitSession(tmp_path / "bundle")
    assert session.manifest.policy == policy
    for batch_size in (1, 7, 64):
        found = session.predict(inputs, batch_size=batch_size)
        assert [answer.exit for answer in found] == wanted.tolist()
        for row, answer in enumerate(found):
            assert answer.label == int(logits[answer.exit][row].argmax())
            right = float(confidence(scaled[answer.exit][row], measure))
            assert answer.confidence == pytest.approx(right, abs=1e-5)


def test_predictions_carry_class_name_and_cost(session: EarlyExitSession) -> None:
    for answer in session.predict(toys.samples(20)):
        assert answer.class_name == toys.CLASSES[answer.label]
        assert answer.cost is not None
        assert answer.cost.macs == 1000 * (answer.exit + 1)
        assert answer.cost.energy_pj == 10.0 * (answer.exit + 1)


def test_later_stages_do_not_run_for_samples_that_left(session: EarlyExitSession, monkeypatch: Any) -> None:
    seen: list[tuple[int, int]] = []
    run = EarlyExitSession.run_stage

    def spy(self: EarlyExitSession, index: int, features: Any, previous: Any) -> Any:
        seen.append((index, len(features)))
        return run(self, index, features, previous)

    monkeypatch.setattr(EarlyExitSession, "run_stage", spy)
    exits = np.array([answer.exit for answer in session.predict(toys.samples(64), batch_size=64)])
    assert seen == [(index, int((exits >= index).sum())) for index in range(3)]
    assert 0 < seen[2][1] < seen[1][1] < 64
    seen.clear()
    first = int(np.flatnonzero(exits == 0)[0])
    session.predict(toys.samples(64)[first : first + 1])
    assert seen == [(0, 1)]


def test_thresholds_beyond_the_range_stop_everybody_or_nobody(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path
) -> None:
    quick_export(network, tmp_path / "all", policy=ExitPolicy("margin", (0.0, 0.5)))
    quick_export(network, tmp_path / "none", policy=ExitPolicy("margin", (float("inf"), 1.5)))
    inputs = toys.samples(10)
    assert {answer.exit for answer in EarlyExitSession(tmp_path / "all").predict(inputs)} == {0}
    assert {answer.exit for answer in EarlyExitSession(tmp_path / "none").predict(inputs)} == {2}


def test_all_logits_are_the_networks(session: EarlyExitSession, network: EarlyExitNetwork) -> None:
    inputs = toys.samples(9)
    for ours, theirs in zip(toys.logits_of(network, inputs), session.all_logits(inputs, batch_size=4), strict=True):
        assert np.abs(ours - theirs).max() < 1e-4
    assert [logits.shape for logits in session.all_logits(inputs[:0])] == [(0, 5)] * 3


def test_pixels_are_normalised_as_the_manifest_says(session: EarlyExitSession) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, size=(6, *toys.INPUT_SHAPE), dtype=np.uint8)
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (toys.MEAN, toys.STD))
    for ours, theirs in zip(session.all_logits(pixels), session.all_logits((pixels / 255.0 - mean) / std), strict=True):
        assert np.abs(ours - theirs).max() < 1e-4


def test_files_give_the_same_answers_as_their_pixels(session: EarlyExitSession, tmp_path: Path) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, size=(5, *toys.INPUT_SHAPE), dtype=np.uint8)
    paths = []
    for index, image in enumerate(pixels):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(image.transpose(1, 2, 0)).save(paths[-1])
    assert session.predict_files(paths, batch_size=2) == session.predict(pixels, batch_size=2)
    (tmp_path / "3.png").write_text("no image")
    with pytest.raises(DataError, match=r"3\.png"):
        session.predict_files(paths)


def test_no_images_give_no_predictions(session: EarlyExitSession) -> None:
    assert session.predict(toys.samples(0)) == ()
    assert session.predict_files([]) == ()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 3, 12, 11), np.float32), r"shape \(N, 3, 12, 10\)"),
        (np.zeros((3, 12, 10), np.uint8), r"shape \(N, 3, 12, 10\)"),
        (np.zeros((1, 3, 12, 10), np.int64), "uint8 pixels or normalised floats"),
        (np.full((1, 3, 12, 10), np.nan, np.float32), "finite"),
        (np.full((1, 3, 12, 10), 1e300), "finite"),
    ],
)
def test_unfit_images_are_refused(session: EarlyExitSession, images: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        session.predict(images)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_and_threads_must_be_positive(session: EarlyExitSession, batch_size: int) -> None:
    with pytest.raises(InputError, match="batch_size"):
        session.predict(toys.samples(1), batch_size=batch_size)
    with pytest.raises(InputError, match="batch_size"):
        session.predict_files(["a.png"], batch_size=batch_size)
    with pytest.raises(InputError, match="number of threads"):
        EarlyExitSession(session.path, num_threads=batch_size)


def test_one_session_serves_many_threads(session: EarlyExitSession) -> None:
    inputs = toys.samples(240)
    wanted = session.predict(inputs, batch_size=8)
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda start: session.predict(inputs[start : start + 8]), range(0, 240, 8))
        assert tuple(answer for part in parts for answer in part) == wanted


def test_more_threads_give_the_same_answers(session: EarlyExitSession) -> None:
    inputs = toys.samples(40)
    found = EarlyExitSession(session.path, num_threads=2).predict(inputs)
    for ours, theirs in zip(session.predict(inputs), found, strict=True):
        assert dataclasses.replace(ours, confidence=0.0) == dataclasses.replace(theirs, confidence=0.0)
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-5)


def test_predicting_needs_no_torch(record: ExportRecord) -> None:
    code = (
        "import sys\n"
        "from offramp.deploy.runtime.session import EarlyExitSession\n"
        "assert not {'torch', 'onnx', 'onnxruntime', 'PIL'} & set(sys.modules), 'loaded at import'\n"
        "import numpy as np\n"
        f"session = EarlyExitSession({str(record.path)!r})\n"
        f"assert len(session.predict(np.zeros((2, *{toys.INPUT_SHAPE}), np.uint8))) == 2\n"
        "assert 'torch' not in sys.modules, 'loaded by predicting'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bundle_may_be_moved_and_may_hold_other_files(bundle: Path) -> None:
    (bundle / "README.txt").write_text("notes")
    moved = bundle.rename(bundle.parent / "elsewhere")
    assert EarlyExitSession(str(moved)).manifest.policy == POLICY


@pytest.mark.parametrize("name", ["stage_0.onnx", "stage_2.onnx", "model.onnx"])
def test_missing_linked_changed_and_cut_files_are_refused(bundle: Path, name: str) -> None:
    content = (bundle / name).read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (bytes(flipped), content[:-1], content + b"\0", b""):
        (bundle / name).write_bytes(damaged)
        with pytest.raises(BundleError, match=name):
            EarlyExitSession(bundle)
    outside = bundle.parent / "outside.onnx"
    outside.write_bytes(content)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=name):
        EarlyExitSession(bundle)
    (bundle / name).symlink_to(outside)
    with pytest.raises(BundleError, match=name):
        EarlyExitSession(bundle)


def test_a_file_name_that_leaves_the_folder_is_refused(bundle: Path) -> None:
    (bundle / "stage_0.onnx").rename(bundle.parent / "stage_0.onnx")
    text = (bundle / "manifest.json").read_text().replace('"stage_0.onnx"', '"../stage_0.onnx"')
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="plain"):
        EarlyExitSession(bundle)


def test_files_that_are_no_graphs_are_refused(bundle: Path) -> None:
    for content in (b"not protobuf at all", b"\x08\x0a", bytes(1000)):
        replace_file(bundle, "stage_1.onnx", content)
        with pytest.raises(BundleError, match=r"stage_1\.onnx"):
            EarlyExitSession(bundle)


def test_external_data_is_refused_wherever_it_hides(bundle: Path) -> None:
    def outside(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../secret.bin")

    def outside_in_a_subgraph(model: Any) -> None:
        inner = onnx.helper.make_graph([], "inner", [], [])
        inner.initializer.add(name="w", data_type=1, data_location=onnx.TensorProto.EXTERNAL)
        model.graph.node[0].attribute.append(onnx.helper.make_attribute("unused", inner))

    for change, words in ((outside, "another file"), (outside_in_a_subgraph, "attribute 'unused'")):
        copy = bundle.parent / change.__name__
        subprocess.run(["cp", "-r", str(bundle), str(copy)], check=True)
        rewrite_stage(copy, 1, change)
        with pytest.raises(BundleError, match=words):
            EarlyExitSession(copy)


def set_batch(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4


def set_width(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 7
    del model.graph.value_info[:]


def drop_features(model: Any) -> None:
    del model.graph.output[0]


def swap_outputs(model: Any) -> None:
    outputs = list(model.graph.output)[::-1]
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def unknown_operator(model: Any) -> None:
    model.graph.node[0].op_type = "RunProgram"
    model.graph.node[0].domain = "evil"


@pytest.mark.parametrize("change", [set_batch, set_width, drop_features, swap_outputs, unknown_operator])
def test_graphs_that_are_not_what_the_manifest_says_are_refused(bundle: Path, change: Any) -> None:
    rewrite_stage(bundle, 0, change)
    with pytest.raises(BundleError, match=r"[Ss]tage.0"):
        EarlyExitSession(bundle)


def test_classes_and_stage_order_must_fit_the_graphs(bundle: Path) -> None:
    edit_manifest(bundle, class_names=["cat", "dog"])
    with pytest.raises(BundleError, match=r"must have the outputs 'exit_0' \[batch, 2\]"):
        EarlyExitSession(bundle)
    edit_manifest(bundle, class_names=list(toys.CLASSES))
    data = json.loads((bundle / "manifest.json").read_text())
    data["exits"][0]["file"], data["exits"][1]["file"] = data["exits"][1]["file"], data["exits"][0]["file"]
    (bundle / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match="must read samples of shape"):
        EarlyExitSession(bundle)


def test_randomly_damaged_bundles_never_end_in_another_error(bundle: Path) -> None:
    rng = np.random.default_rng(5)
    names = ["manifest.json", "stage_0.onnx", "stage_1.onnx", "model.onnx"]
    originals = {name: (bundle / name).read_bytes() for name in names}
    refused = 0
    for round_ in range(120):
        name = names[round_ % len(names)]
        content = bytearray(originals[name])
        for position in rng.integers(0, len(content), size=int(rng.integers(1, 4))):
            content[position] = int(rng.integers(0, 256))
        (bundle / name).write_bytes(bytes(content))
        try:
            answers = EarlyExitSession(bundle).predict(toys.samples(2))
        except BundleError:
            refused += 1
        else:
            assert len(answers) == 2
        (bundle / name).write_bytes(originals[name])
    assert refused >= 90


def test_normalised_pixels_are_contiguous_float32(session: EarlyExitSession) -> None:
    pixels = np.zeros((2, 12, 10, 3), np.uint8).transpose(0, 3, 1, 2)
    assert normalise(pixels, session.manifest.preprocessing).dtype == np.float32
    assert len(session.predict(pixels)) == 2
