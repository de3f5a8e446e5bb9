"""onnxruntime sessions of a bundle's verified graphs."""

import hashlib
from typing import Any, Protocol

from offramp.deploy.bundle.bundle_files import BundleFiles
from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE, Manifest
from offramp.deploy.bundle.manifest_records import BundleFile
from offramp.deploy.runtime.graph_check import check_graph
from offramp.errors import BundleError


class ListsFiles(Protocol):
    """A manifest, of a bundle or of a detector."""

    @property
    def files(self) -> tuple[BundleFile, ...]:
        """All other files of the folder."""
        ...


def checked_content(files: BundleFiles, manifest: ListsFiles, name: str) -> bytes:
    """Read a file of the bundle once, so that what was checked is what is run.

    Args:
        files: The files of the bundle.
        manifest: The manifest.
        name: Name of the file.

    Returns:
        The content.

    Raises:
        BundleError: If the file is missing, or is not the one that was exported.
    """
    entry = next((file for file in manifest.files if file.name == name), None)
    if entry is None:
        raise BundleError(f"The bundle has no {name!r}. Export it again with this version of offramp.")
    content = files.read(name, entry.size_bytes)
    if len(content) != entry.size_bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise BundleError(f"{files.where(name)!r} is not the file that was exported: its size or checksum differs.")
    return content


def start_file(files: BundleFiles, manifest: Manifest, name: str, num_threads: int) -> Any:
    """Start a file of the bundle in onnxruntime.

    Args:
        files: The files of the bundle.
        manifest: The manifest.
        name: Name of the file.
        num_threads: Threads inside an operator.

    Returns:
        The session of onnxruntime.

    Raises:
        BundleError: If the file is not safe to run.
    """
    content = checked_content(files, manifest, name)
    return start_content(content, files.where(name), num_threads, branches=name == EARLY_EXIT_FILE)


def start_content(content: bytes, what: str, num_threads: int, *, branches: bool = False) -> Any:
    """Check a graph and start it in onnxruntime, on the CPU.

    Args:
        content: The content of the ONNX file.
        what: What the content is, for messages.
        num_threads: Threads inside an operator.
        branches: Whether the graph may hold `If`.

    Returns:
        The session of onnxruntime.

    Raises:
        BundleError: If the graph is not safe to run.
    """
    check_graph(content, what, branches=branches)
    return start_trusted(content, what, num_threads)


def run(session: Any, outputs: list[str] | None, feeds: dict[str, Any], what: str) -> list[Any]:
    """Run a graph.

    Args:
        session: A session of onnxruntime.
        outputs: Names of the outputs; None for all.
        feeds: Inputs by name.
        what: What the content is, for messages.

    Returns:
        The outputs.

    Raises:
        BundleError: If it cannot be computed.
    """
    try:
        results: list[Any] = session.run(outputs, feeds)
    # onnxruntime's exceptions have no base class of their own.
    except Exception as exc:
        raise BundleError(f"{what} cannot be run: {exc}") from exc
    return results


def start_trusted(content: bytes, what: str, num_threads: int) -> Any:
    """Start a graph in onnxruntime that was checked before, or made here.

    Args:
        content: The content of the ONNX file.
        what: What the content is, for messages.
        num_threads: Threads inside an operator.

    Returns:
        The session of onnxruntime.

    Raises:
        BundleError: If onnxruntime cannot load it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # Stages take turns: a pool that spins after its stage would take the core from the next one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # onnxruntime's exceptions have no base class of their own.
    except Exception as exc:
        raise BundleError(f"{what!r} is not a graph that onnxruntime can load: {exc}") from exc
