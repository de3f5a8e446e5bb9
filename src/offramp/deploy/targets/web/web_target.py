"""A bundle as a web page: the early-exit file, run by onnxruntime-web in the visitor's browser."""

import base64
import json
from dataclasses import dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bundle.bundle_files import MANIFEST_FILE, open_files
from offramp.deploy.bundle.licence import LICENCE_FILE
from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE, manifest_text
from offramp.deploy.bundle.manifest_records import BundleFile
from offramp.deploy.runtime.graph_sessions import checked_content, checked_graph
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.deploy.targets.deployment_target import DEPLOYMENT_TARGETS, DeploymentSource, TargetAnswers
from offramp.deploy.targets.onnx.onnx_target import early_exit_answers
from offramp.errors import InputError
from offramp.files.safe_files import kind_of, new_folder, write_atomically

_PAGE = ("index.html", "style.css", "preprocess.js", "app.js")
_RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_PACKAGE = "onnxruntime-web"
_NUM_SAMPLES = 40
_MAX_FILE_BYTES = 2**28


def export_web(bundle: Path | str, folder: Path, *, runtime: Path, seed: int = 0, allow_large: bool = False) -> Path:
    """Write a page that runs the bundle with onnxruntime-web.

    The page holds some random samples with the session's answers, and compares on request. Files must be served:
    browsers do not load WebAssembly from ``file:``.

    Args:
        bundle: A bundle: a folder, or a .zip of one.
        folder: A new or empty folder.
        runtime: The npm package onnxruntime-web, unpacked.
        seed: Seed of the random samples.
        allow_large: Whether a graph may take more memory and operations than `USUAL_LIMIT`.

    Returns:
        The path of ``index.html``.

    Raises:
        InputError: If ``folder`` is not new or empty, or ``runtime`` is another package.
        BundleError: If the bundle is damaged.
    """
    session = EarlyExitSession(bundle, allow_large=allow_large)
    source = open_files(Path(bundle))
    graph = checked_graph(source, session.manifest, EARLY_EXIT_FILE, allow_large=allow_large)
    model = BundleFile.of(EARLY_EXIT_FILE, graph.content(), graph.demand)
    listed = tuple(model if file.name == EARLY_EXIT_FILE else file for file in session.manifest.files)
    contents = {
        name: package_files("offramp.deploy.targets.web").joinpath("web_page", name).read_bytes() for name in _PAGE
    }
    contents |= _runtime_files(runtime)
    # The page runs what was checked, as the runtimes here do.
    contents[EARLY_EXIT_FILE] = graph.content()
    if any(file.name == LICENCE_FILE for file in session.manifest.files):
        contents[LICENCE_FILE] = checked_content(source, session.manifest, LICENCE_FILE)
    contents[MANIFEST_FILE] = manifest_text(replace(session.manifest, files=listed)).encode()
    contents["samples.json"] = json.dumps(_samples(session, seed)).encode()
    try:
        if kind_of(folder) is not None and (kind_of(folder) != "a folder" or any(folder.iterdir())):
            raise InputError(f"{str(folder)!r} must be a new or empty folder, but it holds files.")
        with new_folder(folder) as draft:
            for name, content in contents.items():
                write_atomically(draft / name, content)
    except OSError as exc:
        raise InputError(f"The page cannot be written to {str(folder)!r}: {exc.strerror or exc}.") from exc
    return folder / "index.html"


@dataclass(frozen=True)
class WebTarget:
    """The page of `export_web`, for a browser.

    Attributes:
        runtime: The npm package onnxruntime-web; where `npm install` puts it in the working directory.
        name: The registered name.
        description: What is written, in one line.
    """

    runtime: Path = Path("node_modules") / _PACKAGE
    name: str = "web"
    description: str = "a web page that runs the network in the browser; needs node_modules/onnxruntime-web"

    def check_ready(self) -> None:
        """See `DeploymentTarget.check_ready`."""
        _runtime_files(self.runtime)

    def export(self, source: DeploymentSource, folder: Path) -> None:
        """See `DeploymentTarget.export`."""
        export_web(source.bundle, folder, runtime=self.runtime, allow_large=True)

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        """See `DeploymentTarget.answers`; the page's graph in onnxruntime, whose web form runs it in the browser."""
        return early_exit_answers(folder / EARLY_EXIT_FILE, inputs)


DEPLOYMENT_TARGETS.add("web", WebTarget())


def _runtime_files(runtime: Path) -> dict[str, bytes]:
    how = f"Get it with `npm install {_PACKAGE}` and give node_modules/{_PACKAGE}."
    try:
        package = json.loads((runtime / "package.json").read_bytes())
    except (OSError, ValueError) as exc:
        raise InputError(f"{str(runtime)!r} must be the npm package {_PACKAGE}, but it cannot be read. {how}") from exc
    if not isinstance(package, dict) or package.get("name") != _PACKAGE:
        raise InputError(f"{str(runtime)!r} must be the npm package {_PACKAGE}, but it is another one. {how}")
    contents = {}
    for name in _RUNTIME:
        path = runtime / "dist" / name
        if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
            raise InputError(f"{_PACKAGE} {package.get('version')} lacks {str(path)!r}; version 1.30 has it. {how}")
        contents[name] = path.read_bytes()
    return contents


def _samples(session: EarlyExitSession, seed: int) -> list[dict[str, object]]:
    """Noise of differing strength, so that confidences and exits differ, and what the session says to it."""
    rng = np.random.default_rng(seed)
    strength = rng.uniform(0.2, 3.0, size=(_NUM_SAMPLES, 1, 1, 1))
    noise = rng.standard_normal((_NUM_SAMPLES, *session.manifest.input_shape))
    inputs: NDArray[np.float32] = (noise * strength).astype("<f4")
    logits = session.all_logits(inputs, normalised=True)
    answers = session.predict(inputs, batch_size=1, normalised=True)
    return [
        {
            "inputs": base64.b64encode(inputs[row].tobytes()).decode(),
            "exit": answer.exit,
            "label": answer.label,
            "logits": [float(value) for value in logits[answer.exit][row]],
        }
        for row, answer in enumerate(answers)
    ]
