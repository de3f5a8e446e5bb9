"""Export of an anomaly detector as a folder with one graph per stage and a manifest."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.anomaly.detector_manifest import DETECTOR_FILE, DetectorManifest, stage_file
from offramp.anomaly.detector_session import DetectorSession
from offramp.deploy.bundle.bundle_folder import check_no_others, new_bundle, write_files
from offramp.deploy.bundle.verification import network_logits
from offramp.deploy.onnx.finish_model import opset_of
from offramp.deploy.onnx.stage_graphs import stage_models
from offramp.deploy.runtime.graph_sessions import listed_file
from offramp.deploy.runtime.oldest_runtime import oldest_runtime
from offramp.errors import BundleError, ExportError, InputError
from offramp.files.safe_files import kind_of
from offramp.jsonio import to_data
from offramp.nn.network import EarlyExitNetwork

_TOLERANCE = 1e-4


def export_detector(
    network: EarlyExitNetwork,
    manifest: DetectorManifest,
    destination: Path,
    checks: NDArray[np.float32],
    *,
    overwrite: bool = False,
) -> float:
    """Write ``stage_0.onnx``, ... and ``detector.json``, and compare the graphs with the network.

    Nothing is written where an error is raised.

    Args:
        network: The auto-encoder with its exits.
        manifest: Its manifest; ``files`` and ``oldest_runtime`` are filled in here.
        destination: The folder of the detector.
        checks: Normalised windows of shape ``(count, *input_shape)`` on which graphs and network are compared.
        overwrite: Whether a detector at ``destination`` is replaced.

    Returns:
        The largest absolute difference between an output of the graphs and of the network.

    Raises:
        InputError: ``destination`` exists and may not be replaced, or it cannot be written.
        ExportError: The outputs differ by more than 1e-4, relative to the largest output where this exceeds 1.
    """
    if kind_of(destination) is not None:
        if not (overwrite and kind_of(destination) == "a folder" and (destination / DETECTOR_FILE).is_file()):
            raise InputError(f"{str(destination)!r} exists already. Allow overwriting a detector or give another path.")
        check_no_others(destination, DETECTOR_FILE)
    try:
        models = stage_models(network)
        graphs = [model.SerializeToString(deterministic=True) for model in models]
        files = tuple(listed_file(stage_file(index), graph) for index, graph in enumerate(graphs))
        oldest = oldest_runtime(max(opset_of(model) for model in models))
        manifest = replace(manifest, files=files, oldest_runtime=oldest)
        text = json.dumps(to_data(manifest), indent=2) + "\n"
        contents = {file.name: graph for file, graph in zip(files, graphs, strict=True)}
        with new_bundle(destination.absolute()) as draft:
            write_files(draft, {**contents, DETECTOR_FILE: text.encode()})
            difference = _largest_difference(draft, network, checks)
    # The rules for files from outside hold for our own: what nobody could load must not be written.
    except BundleError as exc:
        raise ExportError(f"The network cannot be written as a detector that loads: {exc}") from exc
    return difference


def _largest_difference(draft: Path, network: EarlyExitNetwork, checks: NDArray[np.float32]) -> float:
    rebuilt = DetectorSession(draft, allow_large=True).rebuild(checks)
    expected = network_logits(network, checks)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(rebuilt, expected, strict=True))
    allowed = _TOLERANCE * max(1.0, *(float(np.abs(output).max()) for output in expected))
    # `not <=` instead of `>`, so that NaN fails.
    if not difference <= allowed:
        raise ExportError(
            f"The graphs do not reproduce the network: outputs differ by up to {difference:.3g}, allowed are "
            f"{allowed:.3g}; nothing was written."
        )
    return difference
