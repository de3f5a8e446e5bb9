"""Run bundles with the installed packages, and compare with their networks: ``python smoke_session.py FOLDER``.

Needs neither torch nor pytest, so that it runs in environments of other versions, see `tests.environments`.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from offramp.anomaly.detector_session import DetectorSession
from offramp.deploy.bundle.bundle_files import open_files
from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE, MODEL_FILE, load_manifest
from offramp.deploy.bundle.widened_bundle import widen_bundle
from offramp.deploy.onnx.value_names import EXIT, IMAGES, LOGITS
from offramp.deploy.runtime.graph_sessions import checked_graph, start_graph
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError

# Both are of the steps of 8 and 4 bits of the small networks: a value between two steps may be rounded to either.
TOLERANCE, MOST_STRAYS = 1e-4, 0.05


def check_bundles(folder: Path) -> list[str]:
    """Check every bundle of `tests.deploy.bundle_kinds.write_kind` in a folder; a line for each."""
    return [_check_kind(folder / path.stem, np.load(path)) for path in sorted(folder.glob("*.npz"))]


def check_detector(folder: Path) -> None:
    session = DetectorSession(folder)
    _, frames, bands = session.manifest.input_shape
    verdict = session.detect(np.full((frames + 3, bands), 128, dtype=np.uint8))
    assert np.isfinite(verdict.score)


def _check_kind(bundle: Path, expected: "np.lib.npyio.NpzFile") -> str:
    oldest = load_manifest(bundle).oldest_runtime
    assert oldest is not None
    if _numbers(onnxruntime.__version__) >= _numbers(oldest):
        _compare(bundle, expected)
        return f"{bundle.name}: agrees"
    try:
        EarlyExitSession(bundle)
    except BundleError as exc:
        if f"needs onnxruntime {oldest} or newer" not in str(exc):
            raise
    else:
        raise AssertionError(f"{bundle.name} must be refused by onnxruntime {onnxruntime.__version__}")
    with tempfile.TemporaryDirectory() as copy:
        try:
            widen_bundle(bundle, Path(copy) / "wide")
        except BundleError as exc:
            if "Install a newer onnx." not in str(exc):
                raise
            return f"{bundle.name}: refused, and widened only by a newer onnx"
        _compare(Path(copy) / "wide", expected)
    return f"{bundle.name}: refused; its copy in 8 bits agrees"


def _compare(bundle: Path, expected: "np.lib.npyio.NpzFile") -> None:
    """All forms of a bundle, one sample at a time and many together."""
    inputs, logits, exits = expected["inputs"], expected["logits"], expected["exits"]
    session = EarlyExitSession(bundle)
    files, manifest = open_files(bundle), session.manifest
    joined = start_graph(checked_graph(files, manifest, MODEL_FILE), MODEL_FILE, 1).run(None, {IMAGES: inputs})
    alone = [np.concatenate(parts) for parts in zip(*(session.all_logits(row[None]) for row in inputs), strict=True)]
    for index, ours in enumerate(logits):
        for theirs in (joined[index], alone[index], session.all_logits(inputs)[index]):
            differences = np.abs(ours - theirs).max(axis=1)
            assert (differences > TOLERANCE * np.abs(ours).max()).mean() <= MOST_STRAYS, (bundle.name, differences)
    early = start_graph(checked_graph(files, manifest, EARLY_EXIT_FILE), EARLY_EXIT_FILE, 1)
    answers = [early.run([EXIT, LOGITS], {IMAGES: row[None]}) for row in inputs]
    for taken in ([int(taken[0]) for taken, _ in answers], [answer.exit for answer in session.predict(inputs)]):
        assert (exits != np.array(taken)).mean() <= MOST_STRAYS, (bundle.name, exits, taken)
    assert 0 < exits.sum() < len(exits)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3])


if __name__ == "__main__":
    print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}, numpy {np.__version__}")
    print("\n".join(check_bundles(Path(sys.argv[1]))))
    check_detector(Path(sys.argv[1]) / "detector")
    print("detector: runs")
