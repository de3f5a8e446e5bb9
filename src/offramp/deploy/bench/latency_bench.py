"""Latency of every exit of a bundle, measured in turn with its static counterpart."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bench.paired_timing import (
    BenchSettings,
    Call,
    Estimate,
    Sampled,
    measure_in_turn,
    pinned,
    resampled_means,
    resampled_medians,
)
from offramp.deploy.bundle.bundle_files import open_files
from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE, MODEL_FILE, Manifest
from offramp.deploy.onnx.static_model import count_macs, macs_to_exits, plain_model, static_model
from offramp.deploy.onnx.value_names import IMAGES, LOGITS, THRESHOLDS
from offramp.deploy.runtime.graph_sessions import checked_graph, run, start_content, start_graph
from offramp.deploy.runtime.session import EarlyExitSession, Samples
from offramp.errors import InputError
from offramp.exits.exit_rule import ExitRule

# Below any score of any rule and above any: everybody leaves, or nobody.
_LEAVE, _STAY = -1.0, 1e6


PLAIN = "plain graphs"


@dataclass(frozen=True)
class FormTimes:
    """Times of one way to run the bundle, or of plain graphs of its exits, which say what the layers alone take.

    Attributes:
        form: The way.
        exits_ms: Median latency of each exit, in ms.
        expected_ms: Mean of these at the exit rates, in ms.
        relative_latency: The expected latency in units of the static model's.
    """

    form: str
    exits_ms: tuple[Estimate, ...]
    expected_ms: Estimate
    relative_latency: Estimate


@dataclass(frozen=True)
class ReplayTimes:
    """Times over images that took the exit they take.

    Attributes:
        num_images: The number of images.
        early_exit_ms: Mean latency of the early-exit model, in ms.
        static_ms: Mean latency of the static model, in ms.
        relative_latency: The ratio of the two.
    """

    num_images: int
    early_exit_ms: Estimate
    static_ms: Estimate
    relative_latency: Estimate


@dataclass(frozen=True)
class BenchResult:
    """What was measured at batch 1.

    Attributes:
        name: Name of the bundle.
        num_rounds: How often everything was measured.
        num_threads: Threads inside an operator.
        pinned_to_cores: The cores that were used; empty where the system cannot say.
        load_average: The machine's before and after: above the number of cores, others were working too.
        exit_rates: The exit rates that expectations are taken with.
        rates_from: Where the rates are from.
        static_ms: Latency of the static model, in ms.
        forms: Times of each way to run the bundle.
        replay: Times on images; None where none were given.
        macs_to_exit: Multiply-accumulates up to each exit, branches included.
        static_macs: Those of the static model.
        relative_macs: Expected multiply-accumulates in units of the static model's.
    """

    name: str
    num_rounds: int
    num_threads: int
    pinned_to_cores: tuple[int, ...]
    load_average: tuple[float, float]
    exit_rates: tuple[float, ...]
    rates_from: str
    static_ms: Estimate
    forms: tuple[FormTimes, ...]
    replay: ReplayTimes | None
    macs_to_exit: tuple[int, ...]
    static_macs: int
    relative_macs: float


def bench(
    bundle: Path | str,
    *,
    images: Samples | None = None,
    source: str = "images",
    settings: BenchSettings | None = None,
    allow_large: bool = False,
) -> BenchResult:
    """Measure the latency per exit of a bundle, one sample at a time, and that of its static counterpart.

    Args:
        bundle: A bundle: a folder, or a .zip of one.
        images: Samples to take exit rates from and to replay; None for the validation rates in the manifest.
        source: Where the images are from.
        settings: How long to measure; None for the defaults.
        allow_large: Whether a graph may take more memory and operations than `USUAL_LIMIT`.

    Returns:
        What was measured.

    Raises:
        BundleError: If the bundle is damaged.
        InputError: If there are no images, or neither images nor rates.
    """
    settings = settings or BenchSettings()
    session = EarlyExitSession(bundle, num_threads=settings.num_threads, allow_large=allow_large)
    manifest = session.manifest
    rates, source = exit_rates(session, images, source)
    rng = np.random.default_rng(settings.seed)
    sample = _example(session, images, rng)
    models = _Models.load(Path(bundle), manifest, settings.num_threads, allow_large)
    forms = {
        "one file": models.one_file_calls(sample),
        "chain of stages": _chain_calls(session, sample),
        PLAIN: models.plain_calls(sample),
    }
    load_before = os.getloadavg()[0]
    with pinned(settings.num_threads) as cores:
        calls = [lambda: models.static_run(sample), *(call for group in forms.values() for call in group)]
        times = measure_in_turn(calls, settings, rng)
        replay = None if images is None else _replay(models, session, images, settings, rng)
    resampled = resampled_medians(times, rng)
    num_exits = len(manifest.exits)
    static = Sampled(float(np.median(times[:, 0])), resampled[:, 0])
    results = []
    for position, form in enumerate(forms):
        columns = slice(1 + position * num_exits, 1 + (position + 1) * num_exits)
        results.append(_form_times(form, np.median(times[:, columns], axis=0), resampled[:, columns], rates, static))
    static_macs = count_macs(models.static_graph)
    return BenchResult(
        name=manifest.name,
        num_rounds=settings.rounds,
        num_threads=settings.num_threads,
        pinned_to_cores=cores,
        load_average=(load_before, os.getloadavg()[0]),
        exit_rates=tuple(float(rate) for rate in rates),
        rates_from=source,
        static_ms=static.estimate(),
        forms=tuple(results),
        replay=replay,
        macs_to_exit=models.macs,
        static_macs=static_macs,
        relative_macs=float(np.dot(rates, models.macs)) / static_macs,
    )


def _form_times(
    form: str, medians: NDArray[np.float64], draws: NDArray[np.float64], rates: NDArray[np.float64], static: Sampled
) -> FormTimes:
    expected = Sampled(float(medians @ rates), draws @ rates)
    exits = [Sampled(float(median), column).estimate() for median, column in zip(medians, draws.T, strict=True)]
    return FormTimes(form, tuple(exits), expected.estimate(), expected.over(static).estimate())


@dataclass(frozen=True, eq=False)
class _Models:
    """The early-exit file and the static model, loaded, and what they compute."""

    early_exit: Any
    plain: tuple[Any, ...]
    static: Any
    static_graph: Any
    macs: tuple[int, ...]

    @classmethod
    def load(cls, bundle: Path, manifest: Manifest, num_threads: int, allow_large: bool) -> "_Models":
        files = open_files(bundle)
        joined = checked_graph(files, manifest, MODEL_FILE, allow_large=allow_large).model
        static_graph = static_model(joined)

        def start(model: Any, what: str) -> Any:
            return start_content(model.SerializeToString(), what, num_threads, allow_large=allow_large)

        early_exit = checked_graph(files, manifest, EARLY_EXIT_FILE, allow_large=allow_large)
        plain = [start(plain_model(joined, item.index), f"Exit {item.index} alone") for item in manifest.exits]
        return cls(
            start_graph(early_exit, files.where(EARLY_EXIT_FILE), num_threads),
            tuple(plain),
            start(static_graph, "The static model"),
            static_graph,
            macs_to_exits(joined),
        )

    def static_run(self, sample: NDArray[np.float32]) -> object:
        return run(self.static, None, {IMAGES: sample}, "The static model")

    def plain_calls(self, sample: NDArray[np.float32]) -> list[Call]:
        """One call per exit, of its layers in a plain graph: nothing is decided."""
        return [partial(run, item, None, {IMAGES: sample}, "An exit alone") for item in self.plain]

    def one_file_calls(self, sample: NDArray[np.float32]) -> list[Call]:
        """One call per exit, which all samples are made to take."""
        return [self._one_file_call(sample, index) for index in range(len(self.macs))]

    def _one_file_call(self, sample: NDArray[np.float32], index: int) -> Call:
        feeds: dict[str, NDArray[Any]] = {IMAGES: sample}
        if len(self.macs) > 1:
            feeds[THRESHOLDS] = np.array([_STAY] * index + [_LEAVE] * (len(self.macs) - 1 - index))
        return lambda: run(self.early_exit, [LOGITS], feeds, EARLY_EXIT_FILE)


def _chain_calls(session: EarlyExitSession, sample: NDArray[np.float32]) -> list[Call]:
    """One call per exit: the stages one after the other, the host asking the rule in between."""

    def call(index: int) -> Call:
        return lambda: _run_chain(session, session.rule, sample, index)

    return [call(index) for index in range(len(session.manifest.exits))]


def _run_chain(session: EarlyExitSession, rule: ExitRule, sample: NDArray[np.float32], last: int) -> None:
    features, logits = sample, list[NDArray[np.float32]]()
    for index in range(last + 1):
        output = session.run_stage(index, features, logits[-1] if logits else None)
        if output.features is not None:
            logits.append(output.logits)
            rule.leaves(logits)
            features = output.features


def _replay(
    models: _Models, session: EarlyExitSession, images: Samples, settings: BenchSettings, rng: np.random.Generator
) -> ReplayTimes:
    """Both models on the images themselves, in turn; as many images as rounds, drawn without replacement."""
    chosen = rng.permutation(len(images))[: settings.rounds]
    once = BenchSettings(rounds=1, warm_up=0)
    rows = []
    for index in chosen:
        sample = session.prepare(images[index : index + 1])
        calls: list[Call] = [
            lambda sample=sample: run(models.early_exit, [LOGITS], {IMAGES: sample}, EARLY_EXIT_FILE),  # type: ignore[misc]
            lambda sample=sample: models.static_run(sample),  # type: ignore[misc]
        ]
        rows.append(measure_in_turn(calls, once, rng))
    times = np.concatenate(rows)
    draws = resampled_means(times, rng)
    early, static = (Sampled(float(times[:, i].mean()), draws[:, i]) for i in range(2))
    return ReplayTimes(len(times), early.estimate(), static.estimate(), early.over(static).estimate())


def exit_rates(session: EarlyExitSession, images: Samples | None, source: str) -> tuple[NDArray[np.float64], str]:
    """Measure exit rates, or read those of validation.

    Args:
        session: The bundle.
        images: Samples; None for the validation rates in the manifest.
        source: Where the images are from.

    Returns:
        The share of samples that leave at each exit, and where the rates are from.

    Raises:
        InputError: If there are no images, or neither images nor rates.
    """
    exits = session.manifest.exits
    if images is not None:
        if not len(images):
            raise InputError("`images` must hold at least one sample, got none.")
        found = [answer.exit for answer in session.predict(images)]
        return np.bincount(found, minlength=len(exits)) / len(found), f"{len(images)} of {source}"
    rates = [item.validation_rate for item in exits if item.validation_rate is not None]
    if not rates:
        raise InputError("The bundle states no validation exit rates; give data to measure them on (--data).")
    return np.array(rates), "validation, as the manifest states"


def _example(session: EarlyExitSession, images: Samples | None, rng: np.random.Generator) -> NDArray[np.float32]:
    if images is not None:
        return session.prepare(images[:1])
    return rng.standard_normal((1, *session.manifest.input_shape), dtype=np.float32)
