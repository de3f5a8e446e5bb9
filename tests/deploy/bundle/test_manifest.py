import contextlib
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.cost.expected import ExpectedCost
from offramp.deploy.bundle.manifest import Manifest, color_mode_of, load_manifest, manifest_text, parse_manifest
from offramp.deploy.bundle.manifest_records import BundleExit, BundleFile, CostOrigin, ExitCost, Preprocessing
from offramp.errors import BundleError
from offramp.exits.exit_policy import ExitPolicy
from tests.deploy import toys

SHA = "0" * 64


def manifest() -> Manifest:
    names = ("stage_0.onnx", "stage_1.onnx")
    return Manifest(
        name="toy",
        architecture=toys.architecture(2),
        input_shape=(3, 12, 10),
        class_names=("cat", "dog"),
        preprocessing=Preprocessing(12, 10, "RGB", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)),
        measure="entropy",
        exits=(
            BundleExit(0, 0, "toy_0", names[0], 0.7, 0.6, ExitCost(10.0, 1.5, 100)),
            BundleExit(1, None, "toy_final", names[1], None, 0.4, ExitCost(30.0, 4.0, 300)),
        ),
        files=tuple(BundleFile(name, SHA, 10) for name in (*names, "model.onnx")),
        seed=3,
        opset=18,
        offramp_version="0.1.0",
        created_by="a test",
        cost_origin=CostOrigin("native", "1", "offramp", "toy"),
        expected_cost=ExpectedCost(18.0, 2.5, 180.0, 1.0, 1.0),
        validation_accuracy=0.9,
    )


def changed(where: str, value: Any) -> str:
    """The manifest's JSON with one value replaced, found by a path such as ``exits.0.file``."""
    data = json.loads(manifest_text(manifest()))
    *parents, last = where.split(".")
    holder = data
    for part in parents:
        holder = holder[int(part) if isinstance(holder, list) else part]
    holder[int(last) if isinstance(holder, list) else last] = value
    return json.dumps(data)


def test_text_round_trips() -> None:
    text = manifest_text(manifest())
    assert parse_manifest(text) == manifest()
    assert manifest_text(parse_manifest(text)) == text


def test_manifest_states_format_schema_and_units_by_name() -> None:
    data = json.loads(manifest_text(manifest()))
    assert (data["format"], data["schema"]) == ("offramp-bundle", 1)
    assert data["exits"][1]["cost"] == {"latency_cycles": 30.0, "energy_pj": 4.0, "macs": 300}
    assert data["exits"][1]["threshold"] is None


def test_policy_has_one_threshold_per_early_exit() -> None:
    assert manifest().policy == ExitPolicy("entropy", (0.7,))


@given(st.floats(0.0, 1.0), st.floats(1e-6, 1e6), st.integers(0, 2**60))
def test_numbers_survive_the_text_exactly(threshold: float, energy: float, macs: int) -> None:
    first, last = manifest().exits
    exits = (
        dataclasses.replace(first, threshold=threshold, cost=ExitCost(1.0, energy, macs)),
        dataclasses.replace(last, cost=ExitCost(1.0, energy, macs)),
    )
    made = dataclasses.replace(manifest(), exits=exits)
    assert parse_manifest(manifest_text(made)) == made


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("files.0.name", "../stage_0.onnx", "plain"),
        ("files.0.name", "/etc/passwd", "plain"),
        ("files.0.name", "folder/stage_0.onnx", "plain"),
        ("files.0.name", "a\\b.onnx", "plain"),
        ("files.0.name", "stage_0.onnx\n", "plain"),
        ("files.0.name", "..", "plain"),
        ("files.0.name", "", "plain"),
        ("files.0.name", "stage\x00.onnx", "plain"),
        ("files.0.name", "manifest.json", "plain"),
        ("files.0.name", "STAGE_1.onnx", "different names"),
        ("files.0.sha256", "0" * 63, "64 hexadecimal"),
        ("files.0.size_bytes", 0, "size_bytes"),
        ("files.0.size_bytes", 2**40, "size_bytes"),
        ("files.2.name", "other.onnx", "must list 'model.onnx'"),
        ("exits.0.file", "other.onnx", "must list 'other.onnx'"),
        ("exits.0.file", "stage_1.onnx", "of its own"),
        ("exits.0.index", 1, "numbered from 0"),
        ("exits.0.threshold", None, "finite threshold"),
        ("exits.0.threshold", math.inf, "finite threshold"),
        ("exits.0.threshold", math.nan, "finite threshold"),
        ("exits.0.temperature", 0.0, "temperature from 1e-6"),
        ("exits.1.temperature", -1.0, "temperature from 1e-6"),
        ("exits.1.temperature", math.nan, "temperature from 1e-6"),
        ("exits.0.temperature", 1e-300, "temperature from 1e-6"),
        ("guarantee", {"epsilon": 0.01}, "guarantee"),
        ("exits.0.tap", 5, "those of `architecture`"),
        ("exits.1.branch", "other", "those of `architecture`"),
        ("exits.1.threshold", 0.5, "final exit"),
        ("exits.1.tap", 4, "final exit"),
        ("exits.1.cost", None, "all exits have a cost"),
        ("exits.1.cost.macs", 99, "must not fall"),
        ("exits.0.cost.energy_pj", -1.0, "must not fall"),
        ("exits.0.cost.latency_cycles", math.nan, "must be finite"),
        ("exits.0.validation_rate", None, "validation rate"),
        ("exits.0.validation_rate", 0.7, "sum to 1"),
        ("exits", [], "must not be empty"),
        ("cost_origin", None, "cost_origin"),
        ("expected_cost.macs", math.inf, "expected_cost"),
        ("validation_accuracy", 1.5, "from 0 to 1"),
        ("test_accuracy", math.nan, "from 0 to 1"),
        ("input_shape", [3, 0, 10], "sizes >= 1"),
        ("input_shape", [3, 100_000, 100_000], "at most"),
        ("input_shape", [3, 12], "input_shape"),
        ("preprocessing.mean", [0.5], "per channel"),
        ("preprocessing.std", [0.1, 0.1, math.inf], "finite"),
        ("preprocessing.std", [0.1, 0.1, 0.0], "> 0"),
        ("preprocessing.height", 13, "12x10"),
        ("preprocessing.color_mode", "L", "color_mode"),
        ("preprocessing.resize", "nearest", "resize"),
        ("class_names", [], "class_names"),
        ("measure", "gut feeling", "measure"),
        ("opset", 0, "opset"),
        ("schema", 5, "schema 5"),
        ("exits.0.reads_logits", True, "must not read the logits of an exit before it"),
        ("exits.1.reads_logits", True, "need schema 3 or later, got 1"),
        ("exits.0.class_offsets", [0.1] * 5, "one per class .2. for each early exit"),
        ("exits.0.class_offsets", [0.9] * 5, "must be from -0.5 to 0.5"),
        ("exits.1.class_offsets", [0.1] * 5, "final exit must have no"),
        ("schema", "1; import os", "schema"),
        ("format", "pickle", "offramp bundle"),
    ],
)
def test_faults_are_named(where: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words.replace("`", ".")):
        parse_manifest(changed(where, value))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "1" * 5000, "[" * 100_000, '{"format": "offramp-bundle"}', b"\xff"]
)
def test_what_is_no_manifest_is_refused(text: str | bytes) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        parse_manifest(text)


def test_one_error_names_all_faults() -> None:
    data = json.loads(changed("class_names", []))
    data["files"][0]["sha256"] = "x"
    with pytest.raises(BundleError, match=r"class_names.*64 hexadecimal"):
        parse_manifest(json.dumps(data))


@settings(max_examples=25, deadline=None)
@given(st.recursive(st.none() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_any_value_anywhere_is_refused_with_a_sentence_or_harmless(value: Any) -> None:
    for where in ("exits.0", "files", "architecture", "preprocessing.mean", "input_shape", "seed", "cost_origin"):
        with contextlib.suppress(BundleError):
            parse_manifest(changed(where, value))


def test_load_manifest_needs_a_folder_with_a_regular_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no"):
        load_manifest(tmp_path / "missing")
    with pytest.raises(BundleError, match="has none"):
        load_manifest(tmp_path)
    outside = tmp_path / "outside.json"
    outside.write_text(manifest_text(manifest()))
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "manifest.json").symlink_to(outside)
    with pytest.raises(BundleError, match="has none"):
        load_manifest(folder)
    (folder / "manifest.json").unlink()
    outside.rename(folder / "manifest.json")
    assert load_manifest(folder) == manifest()


def test_a_huge_manifest_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "manifest.json").open("wb") as stream:
        stream.truncate(17 * 2**20)
    with pytest.raises(BundleError, match="at most"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (2, None), (4, None)])
def test_color_mode_of(channels: int, mode: str | None) -> None:
    assert color_mode_of(channels) == mode


def as_series(**changes: Any) -> Manifest:
    form = dataclasses.replace(
        manifest().preprocessing,
        height=1,
        color_mode=None,
        input_kind="series",
        dtype="float32",
        scale=1.0,
        shape=(3, 10),
        **changes,
    )
    return dataclasses.replace(manifest(), input_shape=(3, 1, 10), preprocessing=form, schema=4)


def test_a_manifest_of_series_states_kind_type_scale_and_shape() -> None:
    series = as_series(padded=True)
    assert parse_manifest(manifest_text(series)) == series


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "uint8"}, "`dtype` and `scale` of series must be float32 and 1, got uint8"),
        ({"scale": 255.0}, "float32 and 1, got float32 and 255"),
        ({"shape": (10, 3)}, r"`shape` of series must be \(3, 10\)"),
        ({"shape": ()}, "`shape` of series must be"),
        ({"color_mode": "RGB"}, "`color_mode` must fit"),
        ({"input_kind": "vectors"}, "a vector must have height and width 1"),
        ({"input_kind": "feature_maps", "padded": True, "shape": (3, 1, 10)}, "only series may be `padded`"),
    ],
)
def test_faults_of_samples_of_floats_are_named(changes: dict[str, Any], words: str) -> None:
    series = as_series()
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(series, preprocessing=dataclasses.replace(series.preprocessing, **changes))
    with pytest.raises(ValueError, match="need schema 4, got 3"):
        dataclasses.replace(series, schema=3)
