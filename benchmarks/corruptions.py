"""Ways to damage a bundle, by accident and on purpose; with ``resealed`` ones the checksums fit what was changed."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

Damage = Callable[[Path, np.random.Generator], Path]

_NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**63, 2**70, 1e308, float("nan"), "", "../../etc/passwd", "/etc/passwd", "a" * 10_000,
    "\x00", [], {}, [[]], [2**40, 2**40], "__import__('os').system('touch executed')", {"__reduce__": "os.system"},
)  # fmt: skip
_ESCAPES = ("../x.onnx", "/etc/passwd", "..\\x.onnx", "a/../../x", "C:\\x", "\x00", ".", "..", "~/x", "con/../x")
_HUGE = (2**20, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -1, 0)


def _graphs(bundle: Path) -> list[Path]:
    return sorted(bundle.glob("*.onnx"))


def _pick(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


def _reseal(bundle: Path, path: Path) -> None:
    """Make the manifest agree with a changed file, as somebody who means harm would."""
    content = path.read_bytes()
    data = json.loads((bundle / "manifest.json").read_text())
    for file in data["files"]:
        if file["name"] == path.name:
            file |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(data))


def flipped_bytes(bundle: Path, rng: np.random.Generator) -> Path:
    path = _pick(sorted(bundle.iterdir()), rng)
    path.write_bytes(_flipped(path.read_bytes(), rng))
    return bundle


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for position in rng.integers(0, len(damaged), size=int(rng.integers(1, 8))):
        damaged[position] = int(rng.integers(0, 256))
    return bytes(damaged)


def cut_file(bundle: Path, rng: np.random.Generator) -> Path:
    path = _pick(sorted(bundle.iterdir()), rng)
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(0, len(content)))])
    return bundle


def flipped_and_resealed(bundle: Path, rng: np.random.Generator) -> Path:
    path = _pick(_graphs(bundle), rng)
    path.write_bytes(_flipped(path.read_bytes(), rng))
    _reseal(bundle, path)
    return bundle


def cut_and_resealed(bundle: Path, rng: np.random.Generator) -> Path:
    path = _pick(_graphs(bundle), rng)
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(1, len(content)))])
    _reseal(bundle, path)
    return bundle


def edited_manifest(bundle: Path, rng: np.random.Generator) -> Path:
    data = json.loads((bundle / "manifest.json").read_text())
    for _ in range(int(rng.integers(1, 3))):
        holder: Any = data
        while True:
            key = _pick(list(holder) if isinstance(holder, dict) else range(len(holder)), rng)
            if isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.8:
                holder = holder[key]
                continue
            break
        if isinstance(holder, dict) and rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = _pick(_NASTY, rng)
    (bundle / "manifest.json").write_text(json.dumps(data))
    return bundle


def path_escape(bundle: Path, rng: np.random.Generator) -> Path:
    """A file name that leads out of the bundle, in the manifest or as a link on disk."""
    data = json.loads((bundle / "manifest.json").read_text())
    name = _pick([file["name"] for file in data["files"]], rng)
    if rng.random() < 0.3:
        outside = bundle.parent / f"outside-{name}"
        (bundle / name).rename(outside)
        (bundle / name).symlink_to(outside)
        return bundle
    other = _pick(_ESCAPES, rng)
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text.replace(json.dumps(name), json.dumps(other)))
    return bundle


def zip_slip(bundle: Path, rng: np.random.Generator) -> Path:
    """An archive of the bundle with one more member, or one of its own, whose name leads out of any folder."""
    escapes = [name for name in _ESCAPES if "\x00" not in name]
    moved = _pick([None, *(path.name for path in bundle.iterdir())], rng)
    target = bundle.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(bundle.iterdir()):
            archive.write(path, _pick(escapes, rng) if path.name == moved else path.name)
        if moved is None:
            archive.writestr(_pick(escapes, rng), b"print('executed')")
    return target


def damaged_zip(bundle: Path, rng: np.random.Generator) -> Path:
    target = bundle.with_suffix(".zip")
    with zipfile.ZipFile(target, "w", _pick([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], rng)) as archive:
        for path in sorted(bundle.iterdir()):
            archive.write(path, path.name)
    content = target.read_bytes()
    if rng.random() < 0.3:
        target.write_bytes(content[: int(rng.integers(4, len(content)))])
    else:
        # The directory at the end says most: half of the damage goes there.
        damaged = bytearray(content)
        start = len(damaged) - 600 if rng.random() < 0.5 else 0
        for position in rng.integers(max(start, 0), len(damaged), size=int(rng.integers(1, 8))):
            damaged[position] = int(rng.integers(0, 256))
        target.write_bytes(bytes(damaged))
    return target


def hostile_graph(bundle: Path, rng: np.random.Generator) -> Path:
    """A graph that parses, changed where it hurts, with checksums that fit."""
    path = _pick(_graphs(bundle), rng)
    model = onnx.load(path)
    _pick(_GRAPH_CHANGES, rng)(model, rng)
    path.write_bytes(model.SerializeToString())
    _reseal(bundle, path)
    return bundle


def _all_nodes(graph: Any) -> list[Any]:
    found = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += _all_nodes(attribute.g)
    return found


def _other_operator(model: Any, rng: np.random.Generator) -> None:
    operators = ("Loop", "Scan", "Expand", "Tile", "ConstantOfShape", "Range", "NonZero", "If", "Reshape", "Pad")
    _pick(_all_nodes(model.graph), rng).op_type = _pick(operators, rng)


def _other_domain(model: Any, rng: np.random.Generator) -> None:
    _pick(_all_nodes(model.graph), rng).domain = _pick(("com.microsoft", "ai.onnx.ml", "evil"), rng)


def _other_attribute(model: Any, rng: np.random.Generator) -> None:
    numbers = [
        attribute for node in _all_nodes(model.graph) for attribute in node.attribute if attribute.ints or attribute.i
    ]
    if not numbers:
        return _other_dims(model, rng)
    chosen = _pick(numbers, rng)
    if chosen.ints:
        chosen.ints[int(rng.integers(len(chosen.ints)))] = _pick(_HUGE, rng)
    else:
        chosen.i = _pick(_HUGE, rng)
    return None


def _other_dims(model: Any, rng: np.random.Generator) -> None:
    tensor = _pick(model.graph.initializer, rng)
    if tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = _pick(_HUGE, rng)
    else:
        tensor.dims.append(_pick(_HUGE, rng))


def _other_type(model: Any, rng: np.random.Generator) -> None:
    _pick(model.graph.initializer, rng).data_type = int(rng.integers(0, 40))


def _other_constant(model: Any, rng: np.random.Generator) -> None:
    """Small integer constants are shapes and axes; all of them may be wrong."""
    integers = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT64]
    if not integers:
        return _other_dims(model, rng)
    tensor = _pick(integers, rng)
    count = len(tensor.raw_data) // 8
    tensor.raw_data = np.array([_pick(_HUGE, rng) for _ in range(count)], dtype=np.int64).tobytes()
    return None


def _outside_data(model: Any, rng: np.random.Generator) -> None:
    tensor = _pick(model.graph.initializer, rng)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=_pick(("/etc/passwd", "../../x", "manifest.json"), rng))


def _crossed_wires(model: Any, rng: np.random.Generator) -> None:
    nodes = _all_nodes(model.graph)
    node, other = _pick(nodes, rng), _pick(nodes, rng)
    if node.input and other.output:
        node.input[int(rng.integers(len(node.input)))] = other.output[0]


def _other_shape(model: Any, rng: np.random.Generator) -> None:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[int(rng.integers(len(dims)))].dim_value = _pick(_HUGE, rng)


_GRAPH_CHANGES: tuple[Callable[[Any, np.random.Generator], None], ...] = (
    _other_operator, _other_domain, _other_attribute, _other_dims, _other_type, _other_constant, _outside_data,
    _crossed_wires, _other_shape,
)  # fmt: skip

DAMAGES: tuple[Damage, ...] = (
    flipped_bytes, cut_file, flipped_and_resealed, cut_and_resealed, edited_manifest, path_escape, zip_slip,
    damaged_zip, hostile_graph, hostile_graph,
)  # fmt: skip
