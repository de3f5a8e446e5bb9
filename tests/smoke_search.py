"""A small search with the installed packages, from digits to bundles: ``python smoke_search.py FOLDER``.

Needs no pytest, so that it runs in environments of other versions, see `tests.environments`. ``FOLDER`` holds bundles
that were written with other versions; they are run, too.
"""

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from offramp import EarlyExitSession, search
from offramp.errors import ExportError, InputError
from smoke_session import check_bundles

SMALL = {
    "train__epochs": 1,
    "search__evaluations": 4,
    "search__batch": 4,
    "fine_tune__epochs": 1,
    "fine_tune__picks": ("knee",),
}


def check_search(folder: Path, **changes: object) -> str:
    """Search, and run the bundle that it wrote."""
    result = search(run=folder, **SMALL, **changes)  # type: ignore[arg-type]
    session = EarlyExitSession(folder / "chosen" / "knee" / "bundle")
    answers = session.predict(np.zeros((3, *session.manifest.input_shape), dtype=np.uint8))
    assert len(answers) == 3
    assert result.summary is not None
    return (
        f"{changes or 'floating point'}: opset {session.manifest.opset}, onnxruntime {session.manifest.oldest_runtime}"
    )


def check_quantised_search(folder: Path, bits: int) -> str:
    """A search that quantises either works or is refused before it begins."""
    changes = {"fine_tune__quantize": True, "cost__weight_bits": bits, "cost__branch_weight_bits": bits}
    try:
        return check_search(folder, **changes)
    except (InputError, ExportError) as exc:
        if folder.exists():
            raise
        return f"{bits} bits: refused before the search: {exc}"


if __name__ == "__main__":
    names = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names), flush=True)
    assert torch.__version__.startswith(version("torch"))
    assert onnxruntime.__version__ == version("onnxruntime")
    with tempfile.TemporaryDirectory() as temporary:
        print(check_search(Path(temporary) / "float"), flush=True)
        for width in (8, 4):
            print(check_quantised_search(Path(temporary) / str(width), width), flush=True)
    print("\n".join(check_bundles(Path(sys.argv[1]))))
