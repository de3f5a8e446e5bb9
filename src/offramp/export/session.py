"""EarlyExitSession: a bundle at work; every sample stops at the first exit that is sure enough."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from offramp.errors import BundleError, InputError
from offramp.export.images import load_sample, normalise
from offramp.export.manifest import ExitCost, Manifest, load_manifest, read_limited

Items = TypeVar("Items", NDArray[np.float32], Sequence[Path | str])
Images = NDArray[np.uint8] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Prediction:
    """The answer for one sample, the exit that gave it, and what was spent up to there where that is known."""

    label: int
    class_name: str
    exit: int
    confidence: float
    cost: ExitCost | None


@dataclass(frozen=True)
class _StageOutput:
    features: NDArray[np.float32] | None
    logits: NDArray[np.float32]


class EarlyExitSession:
    """Runs an exported bundle with onnxruntime on the CPU; torch is not needed.

    Loading executes nothing from the bundle but the arithmetic of its graphs, and raises BundleError for a file that
    is missing, changed, or not what the manifest says. One session may serve many threads at once.
    """

    def __init__(self, bundle: Path | str, *, num_threads: int = 1) -> None:
        if num_threads < 1:
            raise InputError(f"`num_threads` must be >= 1, got {num_threads}.")
        self.path = Path(bundle)
        self.manifest: Manifest = load_manifest(self.path)
        contents = _checked_contents(self.path, self.manifest)
        self._stages = [
            _start(contents[item.file], str(self.path / item.file), num_threads) for item in self.manifest.exits
        ]
        self._check_shapes()

    def predict(self, images: Images, *, batch_size: int = 32) -> tuple[Prediction, ...]:
        """One prediction per image, in order.

        ``images`` has shape (N, channels, height, width): uint8 pixels, or floats that are normalised already.
        """
        inputs = self._inputs(images)
        return tuple(answer for batch in _batches(inputs, batch_size) for answer in self._predict_batch(batch))

    def predict_files(self, paths: Sequence[Path | str], *, batch_size: int = 32) -> tuple[Prediction, ...]:
        """One prediction per file, in order: images, or sounds for a network of speech. DataError names a bad one."""
        answers: list[Prediction] = []
        for batch in _batches(paths, batch_size):
            pixels = [load_sample(Path(path), self.manifest.preprocessing) for path in batch]
            answers += self.predict(np.stack(pixels), batch_size=batch_size)
        return tuple(answers)

    def all_logits(self, images: Images, *, batch_size: int = 32) -> tuple[NDArray[np.float32], ...]:
        """Logits (N, classes) of every exit with nothing skipped: for choosing thresholds and for comparisons."""
        inputs = self._inputs(images)
        collected: list[list[NDArray[np.float32]]] = [[] for _ in self._stages]
        for batch in _batches(inputs, batch_size):
            features = batch
            for index in range(len(self._stages)):
                output = self._run(index, features)
                collected[index].append(output.logits)
                features = features if output.features is None else output.features
        empty = np.empty((0, len(self.manifest.class_names)), dtype=np.float32)
        return tuple(np.concatenate([empty, *parts]) for parts in collected)

    def _predict_batch(self, inputs: NDArray[np.float32]) -> list[Prediction]:
        manifest, policy = self.manifest, self.manifest.policy
        answers: list[Prediction | None] = [None] * len(inputs)
        waiting = np.arange(len(inputs))
        features = inputs
        for index, item in enumerate(manifest.exits):
            output = self._run(index, features)
            sure = policy.confidence(output.logits, index)
            leaves = np.ones(len(waiting), dtype=bool) if item.threshold is None else sure >= item.threshold
            labels = output.logits.argmax(axis=1)
            for row in np.flatnonzero(leaves):
                label = int(labels[row])
                name = manifest.class_names[label]
                answers[waiting[row]] = Prediction(label, name, item.index, float(sure[row]), item.cost)
            waiting = waiting[~leaves]
            if output.features is None or not len(waiting):
                break
            # Copying is spared in the common case that nobody left.
            features = output.features[~leaves] if leaves.any() else output.features
        return [answer for answer in answers if answer is not None]

    def _run(self, index: int, features: NDArray[np.float32]) -> _StageOutput:
        session = self._stages[index]
        try:
            outputs = session.run(None, {session.get_inputs()[0].name: features})
        # onnxruntime's exceptions have no base class of their own.
        except Exception as exc:
            raise BundleError(f"Stage {index} of {str(self.path)!r} cannot be run: {exc}") from exc
        logits = outputs[-1]
        if logits.shape != (len(features), len(self.manifest.class_names)):
            raise BundleError(f"Stage {index} of {str(self.path)!r} gave logits of shape {logits.shape}.")
        return _StageOutput(outputs[0] if len(outputs) == 2 else None, logits)

    def _inputs(self, images: Images) -> NDArray[np.float32]:
        shape = self.manifest.input_shape
        if images.ndim != 4 or images.shape[1:] != shape:
            raise InputError(f"`images` must have shape (N, {', '.join(map(str, shape))}), got {images.shape}.")
        if images.dtype == np.uint8:
            return normalise(images.astype(np.uint8, copy=False), self.manifest.preprocessing)
        if not np.issubdtype(images.dtype, np.floating):
            raise InputError(f"`images` must hold uint8 pixels or normalised floats, got {images.dtype}.")
        with np.errstate(over="ignore"):
            inputs = np.ascontiguousarray(images, dtype=np.float32)
        if not np.isfinite(inputs).all():
            raise InputError("`images` must hold finite numbers, got NaN or infinity.")
        return inputs

    def _check_shapes(self) -> None:
        """Every graph must take what the one before gives, and give logits for the manifest's classes."""
        expected: list[int] = list(self.manifest.input_shape)
        for index, session in enumerate(self._stages):
            what = f"Stage {index} of {str(self.path)!r}"
            inputs, outputs = session.get_inputs(), session.get_outputs()
            wanted = 1 if index == len(self._stages) - 1 else 2
            if len(inputs) != 1 or len(outputs) != wanted:
                raise BundleError(
                    f"{what} must have 1 input and {wanted} output(s), got {len(inputs)} and {len(outputs)}."
                )
            if _sizes(inputs[0], what) != expected:
                raise BundleError(f"{what} must read samples of shape {expected}, but reads {inputs[0].shape[1:]}.")
            classes = len(self.manifest.class_names)
            if _sizes(outputs[-1], what) != [classes]:
                raise BundleError(f"{what} must give {classes} logits, but its output is {outputs[-1].shape[1:]}.")
            expected = _sizes(outputs[0], what)


def _sizes(value: Any, what: str) -> list[int]:
    """Shape of one sample in a graph's input or output, whose first size, the batch, must be open."""
    batch, *sizes = value.shape or [None]
    if value.type != "tensor(float)" or isinstance(batch, int) or not all(isinstance(size, int) for size in sizes):
        raise BundleError(
            f"{what}: {value.name!r} must be a float tensor whose batch size alone is open, "
            f"got {value.type} of shape {value.shape}."
        )
    return list(sizes)


def _batches(items: Items, batch_size: int) -> Iterator[Items]:
    if batch_size < 1:
        raise InputError(f"`batch_size` must be >= 1, got {batch_size}.")
    for start in range(0, len(items), batch_size):
        yield items[start : start + batch_size]


def _checked_contents(bundle: Path, manifest: Manifest) -> dict[str, bytes]:
    """The stage files' bytes, read once, so that what was checked is what is run."""
    stage_files = {item.file for item in manifest.exits}
    contents = {}
    for file in manifest.files:
        path = bundle / file.name
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{str(path)!r} must be a regular file of the bundle, but it is missing or a link.")
        content = read_limited(path, file.size_bytes)
        if len(content) != file.size_bytes or hashlib.sha256(content).hexdigest() != file.sha256:
            raise BundleError(f"{str(path)!r} is not the file that was exported: its size or checksum differs.")
        if file.name in stage_files:
            contents[file.name] = content
    return contents


def _start(content: bytes, what: str, num_threads: int) -> Any:
    import onnxruntime

    _refuse_external_data(content, what)
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


def _refuse_external_data(content: bytes, what: str) -> None:
    """A graph may name other files to take its weights from; a bundle's graphs carry theirs inside."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, RecursionError) as exc:
        raise BundleError(f"{what!r} is not an ONNX file: {exc}") from exc
    pending: list[Any] = [model]
    while pending:
        message = pending.pop()
        if isinstance(message, onnx.TensorProto) and (
            message.data_location == onnx.TensorProto.EXTERNAL or message.external_data
        ):
            raise BundleError(f"{what!r} takes data from another file, which a bundle must not do.")
        for field, value in message.ListFields():
            if field.message_type is not None:
                pending += [value] if hasattr(value, "ListFields") else value
