"""A bundle with its narrow weights stored in 8 bits, for runtimes that have no 4-bit and 2-bit types."""

from dataclasses import replace
from pathlib import Path

from offramp.deploy.bundle.bundle_files import MANIFEST_FILE, open_files
from offramp.deploy.bundle.bundle_folder import checked_target, new_bundle, write_files
from offramp.deploy.bundle.manifest import Manifest, load_manifest, manifest_text
from offramp.deploy.onnx.finish_model import finish_model_, opset_of
from offramp.deploy.onnx.integer_weights import OPSET_INT4, state_zero_points_, widen_weights_
from offramp.deploy.runtime.graph_sessions import checked_content, checked_graph, listed_file
from offramp.deploy.runtime.oldest_runtime import oldest_runtime
from offramp.deploy.runtime.session import EarlyExitSession


def has_narrow_weights(manifest: Manifest) -> bool:
    """Say whether a bundle stores weights in fewer than 8 bits.

    Args:
        manifest: The manifest of the bundle.

    Returns:
        Whether it does. Only such weights need an opset of 21 or more.
    """
    return manifest.opset >= OPSET_INT4


def widen_bundle(
    bundle: Path | str, destination: Path, *, overwrite: bool = False, allow_large: bool = False
) -> Manifest:
    """Write a copy of a bundle whose integer weights are all stored in 8 bits.

    The network stays the same: the weights keep their values, and the copy gives the same answers. It needs no runtime
    that can run the original. Bundles of earlier versions of offramp are also rewritten for older runtimes in this way.

    Args:
        bundle: The bundle: a folder, or a .zip of one.
        destination: The folder to write.
        overwrite: Whether a bundle that is there is replaced.
        allow_large: Whether a graph may take more memory and operations than `USUAL_LIMIT`.

    Returns:
        The manifest of the copy.

    Raises:
        BundleError: If the bundle is damaged.
        InputError: If the folder cannot be written.
    """
    target = checked_target(destination, overwrite=overwrite)
    files = open_files(Path(bundle))
    manifest = load_manifest(files)
    contents, opsets = {}, []
    for file in manifest.files:
        if not file.name.endswith(".onnx"):
            content = checked_content(files, manifest, file.name)
        else:
            model = checked_graph(files, manifest, file.name, allow_large=allow_large).model
            state_zero_points_(model)
            widen_weights_(model)
            finish_model_(model)
            opsets.append(opset_of(model))
            content = model.SerializeToString(deterministic=True)
        contents[file.name] = content
    widened = replace(
        manifest,
        files=tuple(listed_file(name, content) for name, content in contents.items()),
        opset=max(opsets),
        oldest_runtime=oldest_runtime(max(opsets)),
    )
    with new_bundle(target) as draft:
        write_files(draft, {**contents, MANIFEST_FILE: manifest_text(widened).encode()})
        EarlyExitSession(draft, allow_large=allow_large)
    return widened
