"""Read the files of bundles with tools of others, and run them with OpenVINO: ``python smoke_tools.py FOLDER``.

Netron is tried where there is a Node, which runs its reader.

Needs none of offramp's own code, see `tests.environments`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import netron
import numpy as np
import onnx
import onnxsim
import onnxslim
import openvino

# OpenVINO has no 2-bit type.
REFUSED_BY_OPENVINO = "ternary"
TOLERANCE = 1e-5


def check_file(path: Path) -> str:
    """Check one ONNX file; a line about it."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.checker.check_model(onnxslim.slim(str(path)))
    simplified, same = onnxsim.simplify(model)
    assert same, path
    onnx.checker.check_model(simplified)
    if path.parent.name == REFUSED_BY_OPENVINO:
        return f"{path.parent.name}/{path.name}: onnxslim, onnxsim"
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    stored = path.parent.with_suffix(".npz")
    if stored.is_file():
        _compare(path.name, compiled, np.load(stored))
    return f"{path.parent.name}/{path.name}: onnxslim, onnxsim, OpenVINO"


def read_with_netron(files: list[Path]) -> str:
    """Read files with the reader of Netron; its lines about them."""
    node = shutil.which("node")
    if node is None:
        return "Netron is left out: there is no Node here."
    with tempfile.TemporaryDirectory() as folder:
        # Its sources are modules of JavaScript, which Node must be told.
        source = shutil.copytree(Path(netron.__file__).parent, Path(folder) / "netron")
        (source / "package.json").write_text('{"type": "module"}')
        script = Path(__file__).parent / "read_with_netron.mjs"
        command = [node, str(script), str(source), *map(str, files)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) == len(files)
    return f"Netron {netron.__version__} reads {len(lines)} files."


def _compare(name: str, compiled: Any, expected: "np.lib.npyio.NpzFile") -> None:
    inputs, logits = expected["inputs"], expected["logits"]
    if name == "model.onnx":
        found = compiled({"images": inputs})
        for index, ours in enumerate(logits):
            assert np.abs(ours - found[f"exit_{index}"]).max() <= TOLERANCE * np.abs(ours).max()
    if name == "model_early_exit.onnx":
        taken = [int(compiled({"images": row[None]})["exit"][0]) for row in inputs]
        assert taken == expected["exits"].tolist()


if __name__ == "__main__":
    print(f"onnx {onnx.__version__}, openvino {openvino.__version__}")
    files = sorted(Path(sys.argv[1]).rglob("*.onnx"))
    assert files
    print("\n".join(check_file(path) for path in files))
    print(read_with_netron(files))
