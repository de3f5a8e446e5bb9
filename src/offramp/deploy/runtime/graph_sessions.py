"""onnxruntime sessions of a bundle's verified graphs."""

import hashlib
from typing import Any, Protocol

from offramp.deploy.bundle.bundle_files import BundleFiles
from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE, BundleFile, Manifest
from offramp.deploy.runtime.graph_check import check_graph
from offramp.errors import BundleError


class ListsFiles(Protocol):
    """A manifest, of a bundle or of a detector."""

    @property
    def files(self) -> tuple[BundleFile, ...]: ...


def checked_content(files: BundleFiles, manifest: ListsFiles, name: str) -> bytes:
    """A file of the bundle, read once, so that what was checked is what is run."""
    entry = next((file for file in manifest.files if file.name == name), None)
    if entry is None:
        raise BundleError(f"The bundle has no {name!r}. Export it again with this version of offramp.")
    content = files.read(name, entry.size_bytes)
    if len(content) != entry.size_bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise BundleError(f"{files.where(name)!r} is not the file that was exported: its size or checksum differs.")
    return content


def start_file(files: BundleFiles, manifest: Manifest, name: str, num_threads: int) -> Any:
    """The onnxruntime session of a bundle's file; raises BundleError for a file that is not safe to run."""
    content = checked_content(files, manifest, name)
    return start_content(content, files.where(name), num_threads, branches=name == EARLY_EXIT_FILE)


def start_content(content: bytes, what: str, num_threads: int, *, branches: bool = False) -> Any:
    """The onnxruntime session of a graph, on the CPU, after a look at what the graph does."""
    check_graph(content, what, branches=branches)
    return start_trusted(content, what, num_threads)


def run(session: Any, outputs: list[str] | None, feeds: dict[str, Any], what: str) -> list[Any]:
    """What a graph gives for ``feeds``; raises BundleError where it cannot be computed."""
    try:
        results: list[Any] = session.run(outputs, feeds)
    # onnxruntime's exceptions have no base class of their own.
    except Exception as exc:
        raise BundleError(f"{what} cannot be run: {exc}") from exc
    return results


def start_trusted(content: bytes, what: str, num_threads: int) -> Any:
    """The onnxruntime session of a graph that was checked before, or made here."""
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
