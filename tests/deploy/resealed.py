"""Changes to a bundle by somebody who means harm: checksums are made to agree again."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx


def replace_file(bundle: Path, name: str, content: bytes, **entry: Any) -> None:
    """Write a file and its checksum; what the manifest says of its graph goes, unless ``entry`` gives it."""
    (bundle / name).write_bytes(content)
    data = json.loads((bundle / "manifest.json").read_text())
    for file in data["files"]:
        if file["name"] == name:
            file |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content), "graph": None, **entry}
    (bundle / "manifest.json").write_text(json.dumps(data))


def change_graph(bundle: Path, name: str, change: Callable[[Any], object]) -> None:
    model = onnx.load(bundle / name)
    change(model)
    replace_file(bundle, name, model.SerializeToString())


def change_manifest(bundle: Path, change: Callable[[Any], object]) -> None:
    """Change the data of the manifest in place; what JSON cannot hold is written as JavaScript would."""
    data = json.loads((bundle / "manifest.json").read_text())
    change(data)
    (bundle / "manifest.json").write_text(json.dumps(data))
