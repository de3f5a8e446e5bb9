"""onnxruntime sessions of a bundle's verified graphs."""

import hashlib
import os
from typing import Any, Protocol

from offramp.deploy.bundle.bundle_files import BundleFiles
from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE
from offramp.deploy.bundle.manifest_records import BundleFile
from offramp.deploy.runtime.graph_check import CheckedGraph, check_graph
from offramp.errors import BundleError, InputError


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
    entry = _entry(manifest, name)
    content = files.read(name, entry.size_bytes)
    if len(content) != entry.size_bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise BundleError(f"{files.where(name)!r} is not the file that was exported: its size or checksum differs.")
    return content


def checked_graph(files: BundleFiles, manifest: ListsFiles, name: str, *, allow_large: bool = False) -> CheckedGraph:
    """Read and check an ONNX file of the bundle.

    Args:
        files: The files of the bundle.
        manifest: The manifest.
        name: Name of the file.
        allow_large: Whether the graph may take more than `USUAL_LIMIT`.

    Returns:
        The graph.

    Raises:
        BundleError: If the file is not the one that was exported, or not safe to run.
    """
    return check_graph(
        checked_content(files, manifest, name),
        files.where(name),
        branches=name == EARLY_EXIT_FILE,
        stated=_entry(manifest, name).graph,
        allow_large=allow_large,
    )


def listed_file(name: str, content: bytes) -> BundleFile:
    """Make the entry of a file in a manifest, with what its graph takes.

    Args:
        name: Its name.
        content: Its content.

    Returns:
        The entry.

    Raises:
        BundleError: If it is a graph that no session would load.
    """
    if not name.endswith(".onnx"):
        return BundleFile.of(name, content)
    graph = check_graph(content, name, branches=name == EARLY_EXIT_FILE, allow_large=True)
    return BundleFile.of(name, content, graph.demand)


def check_num_threads(num_threads: int) -> None:
    """Check that threads inside an operator have a core each.

    Args:
        num_threads: Their number.

    Raises:
        InputError: There are none, or more than cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not 1 <= num_threads <= cores:
        raise InputError(
            f"The number of threads must be 1 to {cores}, the cores that this process may use, got {num_threads}."
        )


def start_content(
    content: bytes, what: str, num_threads: int, *, branches: bool = False, allow_large: bool = False
) -> Any:
    """Check a graph and start it in onnxruntime, on the CPU.

    Args:
        content: The content of the ONNX file.
        what: What the content is, for messages.
        num_threads: Threads inside an operator.
        branches: Whether the graph may hold `If`.
        allow_large: Whether the graph may take more than `USUAL_LIMIT`.

    Returns:
        The session of onnxruntime.

    Raises:
        BundleError: If the graph is not safe to run.
    """
    return start_graph(check_graph(content, what, branches=branches, allow_large=allow_large), what, num_threads)


def start_graph(graph: CheckedGraph, what: str, num_threads: int) -> Any:
    """Start a graph in onnxruntime, on the CPU; it gets what was checked, written anew.

    Args:
        graph: The graph.
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
    # Otherwise the first bytes of the content could choose another format, which nothing has checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(graph.content(), options, providers=["CPUExecutionProvider"])
    # onnxruntime's exceptions have no base class of their own.
    except Exception as exc:
        raise BundleError(f"{what!r} is not a graph that onnxruntime can load: {exc}") from exc


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


def _entry(manifest: ListsFiles, name: str) -> BundleFile:
    entry = next((file for file in manifest.files if file.name == name), None)
    if entry is None:
        raise BundleError(f"The bundle has no {name!r}. Export it again with this version of offramp.")
    return entry
