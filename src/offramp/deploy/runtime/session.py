"""EarlyExitSession: runs a bundle; every sample stops at the first exit with enough confidence."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.sound.windows import Heard
from offramp.deploy.bundle.bundle_files import open_files
from offramp.deploy.bundle.manifest import Manifest, load_manifest
from offramp.deploy.bundle.manifest_records import ExitCost
from offramp.deploy.runtime.bundle_graphs import load_graphs
from offramp.deploy.runtime.graph_sessions import check_num_threads, run
from offramp.deploy.runtime.oldest_runtime import check_runtime
from offramp.deploy.runtime.read_ahead import read_ahead
from offramp.deploy.runtime.regroup import Left, Regrouper, StageOutput
from offramp.deploy.runtime.sample_inputs import (
    LoadedSample,
    check_normalised,
    float_samples,
    load_sample,
    load_samples,
    normalise,
)
from offramp.errors import BundleError, InputError
from offramp.exits.exit_rule import ExitRule

Samples = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Prediction:
    """The answer for one sample.

    Attributes:
        label: Index of the class.
        class_name: Name of the class.
        exit: The exit that gave the answer.
        confidence: Its confidence by the measure of the bundle, whatever rule decided.
        cost: What was spent up to there; None where that is not known.
        heard: The part of a longer sound that was heard; None for a whole file and for arrays.
    """

    label: int
    class_name: str
    exit: int
    confidence: float
    cost: ExitCost | None
    heard: Heard | None = None


class EarlyExitSession:
    """Runs an exported bundle with onnxruntime on the CPU; torch is not needed.

    Loading executes nothing from the bundle but the arithmetic of its graphs. It raises BundleError for a file that is
    missing, changed, or not what the manifest says, and for an onnxruntime that is too old for the bundle. It raises
    InputError for a rule that is for another number of exits. One session may serve many threads at once.

    Args:
        bundle: A bundle: a folder, or a .zip of one.
        num_threads: Threads inside an operator, from 1 to the number of cores.
        rule: An exit rule that decides instead of the bundle's own; None for that of the bundle.
        allow_large: Whether a graph may take more memory and operations than `USUAL_LIMIT`.
    """

    def __init__(
        self,
        bundle: Path | str,
        *,
        num_threads: int = 1,
        rule: ExitRule | None = None,
        allow_large: bool = False,
    ) -> None:
        check_num_threads(num_threads)
        self.path = Path(bundle)
        files = open_files(self.path)
        self.manifest: Manifest = load_manifest(files)
        check_runtime(self.manifest.oldest_runtime, f"Bundle {str(self.path)!r}")
        # Made once: building a policy checks it, which a sample need not wait for.
        self._notation = self.manifest.rule_notation
        self._rule: ExitRule = self._notation.rule if rule is None else rule
        if self._rule.num_exits not in (None, len(self.manifest.exits)):
            early, given = len(self.manifest.exits) - 1, (self._rule.num_exits or 1) - 1
            raise InputError(
                f"The exit rule must have {early} threshold{'' if early == 1 else 's'}, one for each early exit of "
                f"{str(self.path)!r}, but rule {self._rule.name!r} has {given}."
            )
        loaded = load_graphs(files, self.manifest, num_threads, allow_large=allow_large)
        self._stages, self._fitting = loaded.sessions, loaded.batch_size
        self._check_shapes()
        self._inputs_of_stages = [[item.name for item in session.get_inputs()] for session in self._stages]

    @property
    def rule(self) -> ExitRule:
        """What decides where a sample leaves."""
        return self._rule

    def predict(self, samples: Samples, *, batch_size: int = 32, normalised: bool = False) -> tuple[Prediction, ...]:
        """Predict; samples that go on are put together to full batches again.

        Args:
            samples: Samples, see `prepare`.
            normalised: Whether they are network inputs already, see `prepare`.
            batch_size: How many samples are run together, >= 1; fewer where they would take more than 2 GiB.

        Returns:
            One prediction per sample, in order.

        Raises:
            InputError: If the samples do not fit the network.
        """
        inputs = self.prepare(samples, normalised=normalised)
        _check_batch_size(batch_size)
        batch_size = self._fitting(batch_size)
        runner = Regrouper(len(self._stages), batch_size, self.run_stage, self._rule.leaves)
        left: list[Left] = []
        for start in range(0, len(inputs), batch_size):
            batch = inputs[start : start + batch_size]
            left += runner.push(np.arange(start, start + len(batch)), batch)
        return self._answers([*left, *runner.finish()], len(inputs))

    def stream(
        self, samples: Iterable[Samples | LoadedSample | Path | str], *, batch_size: int = 1, prefetch: int = 0
    ) -> Iterator[Prediction]:
        """Predict samples as they arrive: an endless iterator is fine.

        Args:
            samples: Arrays, each one sample as in `prepare`, what `samples_of` gives, or paths of files: images, sounds
                for a network of speech, or arrays for a network of floats.
            batch_size: Asking for a prediction takes so many samples.
            prefetch: So many more are read, and files decoded, by another thread meanwhile.

        Returns:
            Predictions, in order. A sample that is wrong raises InputError or DataError, after the predictions before
            it.

        Raises:
            InputError: If a number is out of range.
        """
        _check_batch_size(batch_size)
        if prefetch < 0:
            raise InputError(f"`prefetch` must be >= 0, got {prefetch}.")
        return self._stream(samples, batch_size, prefetch)

    def samples_of(self, path: Path | str) -> tuple[LoadedSample, ...]:
        """Read the samples of a file: one of an image, one for each window of a sound, and all of an array.

        Args:
            path: The file.

        Returns:
            The samples, for `stream`.

        Raises:
            DataError: If the file cannot be read; the message names it.
        """
        return load_samples(Path(path), self.manifest.preprocessing)

    def _stream(
        self, samples: Iterable[Samples | LoadedSample | Path | str], batch_size: int, prefetch: int
    ) -> Iterator[Prediction]:
        ready = read_ahead((self._sample(item) for item in samples), prefetch)
        while True:
            batch: list[_Input] = []
            failure: Exception | None = None
            try:
                # One by one: an iterator that fails must not take the samples before it along.
                for item in itertools.islice(ready, batch_size):
                    batch.append(item)
            except Exception as exc:
                failure = exc
            if batch:
                answers = self.predict(np.stack([i.values for i in batch]), batch_size=batch_size, normalised=True)
                yield from (replace(a, heard=i.heard) if i.heard else a for a, i in zip(answers, batch, strict=True))
            if failure is not None:
                raise failure
            if len(batch) < batch_size:
                return

    def _sample(self, item: Samples | LoadedSample | Path | str) -> "_Input":
        if isinstance(item, str | Path):
            item = load_sample(Path(item), self.manifest.preprocessing)
        if isinstance(item, LoadedSample):
            return _Input(self.prepare(item.values[None])[0], item.heard)
        return _Input(self.prepare(item[None])[0], None)

    def predict_files(self, paths: Sequence[Path | str], *, batch_size: int = 32) -> tuple[Prediction, ...]:
        """Predict files of one sample: images, sounds for a network of speech, or arrays for a network of floats.

        Args:
            paths: The files.
            batch_size: How many samples are run together, >= 1.

        Returns:
            One prediction per file, in order.

        Raises:
            DataError: If a file cannot be read; the message names it.
        """
        return tuple(self.stream(paths, batch_size=batch_size))

    def all_logits(
        self, samples: Samples, *, batch_size: int = 32, normalised: bool = False
    ) -> tuple[NDArray[np.float32], ...]:
        """Run all stages, with nothing skipped: for choosing thresholds and for comparisons.

        Args:
            samples: Samples, see `prepare`.
            normalised: Whether they are network inputs already, see `prepare`.
            batch_size: How many samples are run together, >= 1; fewer where they would take more than 2 GiB.

        Returns:
            Logits (samples, classes) of every exit.
        """
        inputs = self.prepare(samples, normalised=normalised)
        _check_batch_size(batch_size)
        batch_size = self._fitting(batch_size)
        collected: list[list[NDArray[np.float32]]] = [[] for _ in self._stages]
        for start in range(0, len(inputs), batch_size):
            features, logits = inputs[start : start + batch_size], None
            for index in range(len(self._stages)):
                output = self.run_stage(index, features, logits)
                logits = output.logits
                collected[index].append(logits)
                features = features if output.features is None else output.features
        empty = np.empty((0, len(self.manifest.class_names)), dtype=np.float32)
        return tuple(np.concatenate([empty, *parts]) for parts in collected)

    def _answers(self, left: Sequence[Left], count: int) -> tuple[Prediction, ...]:
        answers: list[Prediction | None] = [None] * count
        for group in left:
            item = self.manifest.exits[group.exit]
            sure = self._notation.confidence(group.logits, group.exit)
            for row, label, confidence in zip(group.rows, group.logits.argmax(axis=1), sure, strict=True):
                name = self.manifest.class_names[label]
                answers[row] = Prediction(int(label), name, item.index, float(confidence), item.cost)
        return tuple(answer for answer in answers if answer is not None)

    def run_stage(
        self, index: int, features: NDArray[np.float32], previous: NDArray[np.float32] | None = None
    ) -> StageOutput:
        """Run one stage graph.

        Args:
            index: Index of the stage, from 0.
            features: What the stage before gave, or prepared inputs.
            previous: Logits of the exit before, (samples, classes), which some stages read; None for the first stage.

        Returns:
            Its output.

        Raises:
            BundleError: If it cannot be run, gives other logits than the manifest says, or logits that are not finite.
            InputError: If the stage reads the logits of the exit before, and they are not given.
        """
        names = self._inputs_of_stages[index]
        if len(names) > 1 and previous is None:
            raise InputError(f"Stage {index} reads the logits of exit {index - 1}: give them as `previous`.")
        feeds = dict(zip(names, (features, previous), strict=False))
        outputs = run(self._stages[index], None, feeds, f"Stage {index} of {str(self.path)!r}")
        logits = outputs[-1]
        if logits.shape != (len(features), len(self.manifest.class_names)):
            raise BundleError(f"Stage {index} of {str(self.path)!r} gave logits of shape {logits.shape}.")
        if not np.isfinite(logits).all():
            raise BundleError(f"Stage {index} of {str(self.path)!r} gave NaN or infinite logits, which are no answer.")
        return StageOutput(outputs[0] if len(outputs) == 2 else None, logits)

    def prepare(self, samples: Samples, *, normalised: bool = False) -> NDArray[np.float32]:
        """Make network inputs.

        Args:
            samples: For a network of images, (samples, channels, height, width): uint8 pixels, or normalised floats.
                For a network of floats, samples as they were measured, of the shape that the manifest states, such as
                (samples, channels, time).
            normalised: Whether they are network inputs already: normalised, (samples, channels, height, width). Floats
                for a network of images always are.

        Returns:
            Normalised inputs in float32, (samples, channels, height, width).

        Raises:
            InputError: If the samples do not fit the network.
        """
        form = self.manifest.preprocessing
        if form.dtype != "uint8" and not normalised:
            return normalise(float_samples(samples, form), form)
        shape = self.manifest.input_shape
        if samples.ndim != 4 or samples.shape[1:] != shape:
            raise InputError(f"`samples` must have shape (N, {', '.join(map(str, shape))}), got {samples.shape}.")
        if form.dtype == "uint8" and samples.dtype == np.uint8:
            return normalise(samples.astype(np.uint8, copy=False), form)
        if not np.issubdtype(samples.dtype, np.floating):
            raise InputError(f"`samples` must hold uint8 pixels or normalised floats, got {samples.dtype}.")
        with np.errstate(over="ignore"):
            inputs = np.ascontiguousarray(samples, dtype=np.float32)
        if not np.isfinite(inputs).all():
            raise InputError("`samples` must hold finite numbers, got NaN or infinity.")
        if form.dtype == "uint8":
            check_normalised(inputs, form)
        return inputs

    def _check_shapes(self) -> None:
        """Every graph must take what the one before gives, and give logits for the manifest's classes."""
        expected: list[int] = list(self.manifest.input_shape)
        for index, session in enumerate(self._stages):
            what = f"Stage {index} of {str(self.path)!r}"
            inputs, outputs = session.get_inputs(), session.get_outputs()
            read = 2 if self.manifest.exits[index].reads_logits else 1
            wanted = 1 if index == len(self._stages) - 1 else 2
            if len(inputs) != read or len(outputs) != wanted:
                raise BundleError(
                    f"{what} must have {read} input(s) and {wanted} output(s), got {len(inputs)} and {len(outputs)}."
                )
            if _sizes(inputs[0], what) != expected:
                raise BundleError(f"{what} must read samples of shape {expected}, but reads {inputs[0].shape[1:]}.")
            classes = len(self.manifest.class_names)
            if read == 2 and _sizes(inputs[1], what) != [classes]:
                raise BundleError(f"{what} must read {classes} logits of the exit before, not {inputs[1].shape[1:]}.")
            if _sizes(outputs[-1], what) != [classes]:
                raise BundleError(f"{what} must give {classes} logits, but its output is {outputs[-1].shape[1:]}.")
            expected = _sizes(outputs[0], what)


@dataclass(frozen=True, eq=False)
class _Input:
    """A normalised sample and the part of a sound that it is."""

    values: NDArray[np.float32]
    heard: Heard | None


def _sizes(value: Any, what: str) -> list[int]:
    """Shape of one sample in a graph's input or output, whose first size, the batch, must be open."""
    batch, *sizes = value.shape or [None]
    if value.type != "tensor(float)" or isinstance(batch, int) or not all(isinstance(size, int) for size in sizes):
        raise BundleError(
            f"{what}: {value.name!r} must be a float tensor whose batch size alone is open, "
            f"got {value.type} of shape {value.shape}."
        )
    return list(sizes)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"`batch_size` must be >= 1, got {batch_size}.")
