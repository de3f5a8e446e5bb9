"""Training of an anomaly detector with early exits: training, choice of exits and thresholds, test, export."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from offramp.anomaly.anomaly_profile import AnomalyProfile, LabelledErrors, profile_anomalies
from offramp.anomaly.autoencoder import INPUT_SHAPE, build_autoencoder, keep_exits
from offramp.anomaly.detector_export import export_detector
from offramp.anomaly.detector_manifest import DetectorManifest
from offramp.anomaly.machine_sounds import LabelledSounds, MachineSounds, load_machine_sounds, windows
from offramp.anomaly.policy_fitting import FittedPolicy, fit_anomaly_policy
from offramp.anomaly.reconstruction import reconstruction_step, sound_errors, training_windows
from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.pricing import build_cost_model
from offramp.data.labelled_data import Preprocessing
from offramp.data.mini_batches import to_tensor
from offramp.data.statistics import fingerprint_of
from offramp.errors import ConfigError
from offramp.files.safe_files import write_atomically
from offramp.hardware.loader import load_accelerator
from offramp.jsonio import dumps, loads
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.progress import Reporter, SilentReporter
from offramp.settings.cost_config import CostConfig
from offramp.train.compute import Compute, set_threads
from offramp.train.trainer import Schedule, TrainingData, TrainingLoop

_BATCH_SIZE = 256
_NUM_CHECKS = 64
_INPUTS_FILE = "inputs.json"
# Width of the layers; the number of threads is chosen by it.
_LAYER_WIDTH = 128


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of `train_detector`.

    Attributes:
        exits: Layers of the auto-encoder, from 1 to 9, that may have an early exit; the best of these are kept.
        epochs: Epochs of training, at least 1.
        windows_per_sound: Largest number of windows of each training sound, at least 1.
        learning_rate: Highest learning rate, above 0. It is large because the mean squared error of 640 features has
            small gradients.
        auc_drop: How far early exits may lower the AUC on the validation sounds, from 0 to 1.
        accelerator: Name of a catalogue file or path of a YAML file.
        seed: Seed of weights, splits and samples, at least 0.
    """

    exits: tuple[int, ...] = (1, 5)
    epochs: int = 20
    windows_per_sound: int = 48
    learning_rate: float = 0.2
    auc_drop: float = 0.0
    accelerator: str = "edge-tpu-quad"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.windows_per_sound < 1 or not self.learning_rate > 0 or self.seed < 0:
            raise ConfigError(
                "`epochs` and `windows_per_sound` must be >= 1, `learning_rate` > 0 and `seed` >= 0, got "
                f"{self.epochs}, {self.windows_per_sound}, {self.learning_rate} and {self.seed}."
            )
        if not 0.0 <= self.auc_drop <= 1.0:
            raise ConfigError(f"`auc_drop` must be from 0 to 1, got {self.auc_drop}.")


@dataclass(frozen=True)
class DetectorRecord:
    """Results of a finished detector; costs are of one window of 640 features.

    Attributes:
        name: Name of the kind of machine.
        settings: The settings.
        exits: Layers behind which an early exit was kept.
        validation: Results on the validation sounds.
        test: Results on the test sounds.
        macs_to_exit: Multiply-accumulate operations up to each exit, with all branches on the way.
        expected_validation: Expected cost at the exit rates of the validation sounds.
        expected_test: Expected cost at the exit rates of the test sounds.
        static_macs: Multiply-accumulate operations of the network without early exits.
        static_energy_pj: Energy of the network without early exits, in picojoule.
        static_latency_cycles: Latency of the network without early exits, in clock cycles.
        largest_export_difference: Largest absolute difference between an output of the exported graphs and of the
            network.
    """

    name: str
    settings: DetectorSettings
    exits: tuple[int, ...]
    validation: AnomalyProfile
    test: AnomalyProfile
    macs_to_exit: tuple[int, ...]
    expected_validation: ExpectedCost
    expected_test: ExpectedCost
    static_macs: int
    static_energy_pj: float
    static_latency_cycles: float
    largest_export_difference: float


@dataclass(frozen=True)
class _Candidate:
    network: EarlyExitNetwork
    kept: tuple[int, ...]
    fitted: FittedPolicy


def train_detector(
    source: str | Path,
    run: Path,
    settings: DetectorSettings | None = None,
    *,
    reporter: Reporter | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> DetectorRecord:
    """Train a detector of anomalous sounds and export it to ``run/detector``.

    Exits and thresholds are chosen on the validation sounds; the test sounds are used once. Ctrl-C keeps all complete
    epochs, from which ``resume`` continues.

    Args:
        source: A folder of one kind of machine in the ToyADMOS layout.
        run: Folder of the checkpoint, the record (``detector.json``) and the detector.
        settings: The settings; None = the default ones.
        reporter: Shows progress; None = nothing is shown.
        resume: Whether the training in ``run`` is continued.
        overwrite: Whether an earlier training in ``run`` is replaced.

    Returns:
        The record of the detector.

    Raises:
        ConfigError: The settings are not valid, ``run`` does not fit ``resume`` and ``overwrite``, or a training is
            continued with other sounds or another seed.
        DataError: The sounds cannot be used.
    """
    settings, reporter = settings or DetectorSettings(), reporter or SilentReporter()
    network = build_autoencoder(settings.exits, seed=settings.seed)
    accelerator = load_accelerator(settings.accelerator)
    _check_run(run, resume=resume, overwrite=overwrite)
    sounds = load_machine_sounds(source, seed=settings.seed, reporter=reporter)
    _check_same_inputs(run, sounds, settings, resume=resume)
    preprocessing = Preprocessing.of(sounds.train)
    compute = Compute(channels_last=False)
    _train(network, sounds, preprocessing, compute, settings, run, reporter, resume=resume)
    labelled = _errors(network, sounds.validation, preprocessing, compute)
    best = _best_exits(network, labelled, settings.auc_drop)
    test = _errors(network, sounds.test, preprocessing, compute).of_exits(best.kept)
    achieved = profile_anomalies(test, best.fitted.policy)
    workload = lower(best.network)
    model = build_cost_model(CostConfig(accelerator=settings.accelerator), accelerator=accelerator)
    report, static = (model.estimate(w, accelerator) for w in (workload, workload.static()))
    manifest = DetectorManifest(
        sounds.name,
        INPUT_SHAPE,
        preprocessing.mean[0],
        preprocessing.std[0],
        best.fitted.policy,
        workload.macs_to_exit(),
    )
    checks = to_tensor(windows(sounds.validation.features[:1])[:_NUM_CHECKS], preprocessing).numpy()
    difference = export_detector(best.network, manifest, run / "detector", checks, overwrite=True)
    record = DetectorRecord(
        name=sounds.name,
        settings=settings,
        exits=tuple(choice.tap for choice in best.network.architecture.exits),
        validation=best.fitted.profile,
        test=achieved,
        macs_to_exit=workload.macs_to_exit(),
        expected_validation=expected_cost(report, best.fitted.profile.rates),
        expected_test=expected_cost(report, achieved.rates),
        static_macs=workload.static().macs_to_exit()[-1],
        static_energy_pj=static.stages[-1].energy_to_exit_pj,
        static_latency_cycles=static.stages[-1].latency_to_exit_cycles,
        largest_export_difference=difference,
    )
    write_atomically(run / "detector.json", dumps(record) + "\n")
    return record


def _check_run(run: Path, *, resume: bool, overwrite: bool) -> None:
    checkpoint = run / "checkpoint.safetensors"
    if checkpoint.exists() and not (resume or overwrite):
        raise ConfigError(f"{str(run)!r} holds a run already. Resume it, overwrite it, or give another folder.")
    if resume and not checkpoint.exists():
        raise ConfigError(f"{str(run)!r} holds no run to resume. Leave out --resume.")
    if run.exists() and not checkpoint.exists() and (not run.is_dir() or _holds_other_files(run)):
        raise ConfigError(f"{str(run)!r} must be a new or an empty folder, or one of an earlier run. Give another.")


def _holds_other_files(run: Path) -> bool:
    return any(path.name != _INPUTS_FILE for path in run.iterdir())


@dataclass(frozen=True)
class _Inputs:
    """What a training rests on."""

    sounds: str
    seed: int
    epochs: int


def _check_same_inputs(run: Path, sounds: MachineSounds, settings: DetectorSettings, *, resume: bool) -> None:
    """Record what a training rests on, or compare it with what is recorded."""
    parts = (sounds.train, sounds.validation.features, sounds.test.features)
    labels = [np.arange(len(part)) * 0 for part in parts]
    labels[1:] = [2 * x.machines + x.anomalous for x in (sounds.validation, sounds.test)]
    found = _Inputs(fingerprint_of(parts, labels, ()), settings.seed, settings.epochs)
    file = run / _INPUTS_FILE
    if not resume:
        run.mkdir(parents=True, exist_ok=True)
        write_atomically(file, dumps(found) + "\n")
        return
    if not file.is_file():
        raise ConfigError(f"{str(run)!r} does not record what its training rests on. Begin it anew with --overwrite.")
    recorded = loads(_Inputs, file.read_bytes(), what=f"Record {str(file)!r}", error=ConfigError)
    changed = [field.name for field in fields(_Inputs) if getattr(found, field.name) != getattr(recorded, field.name)]
    if changed:
        raise ConfigError(
            f"The training in {str(run)!r} was begun with other {' and '.join(changed)}. Give the same, or begin "
            "it anew with --overwrite."
        )


def _train(
    network: EarlyExitNetwork,
    sounds: MachineSounds,
    preprocessing: Preprocessing,
    compute: Compute,
    settings: DetectorSettings,
    run: Path,
    reporter: Reporter,
    *,
    resume: bool,
) -> None:
    run.mkdir(parents=True, exist_ok=True)
    set_threads(None, _LAYER_WIDTH)
    rng = np.random.default_rng(settings.seed)
    loop = TrainingLoop(
        network,
        TrainingData(training_windows(sounds.train, settings.windows_per_sound, rng), preprocessing, _BATCH_SIZE, None),
        Schedule(settings.learning_rate, settings.epochs),
        compute,
        momentum=0.9,
        weight_decay=0.0,
        seed=settings.seed,
        checkpoint=run / "checkpoint.safetensors",
    )
    with reporter.task("Training the auto-encoder") as task:
        loop.run(reconstruction_step(network, compute), task, resume=resume)


def _errors(
    network: EarlyExitNetwork, sounds: LabelledSounds, preprocessing: Preprocessing, compute: Compute
) -> LabelledErrors:
    errors = sound_errors(network, sounds.features, preprocessing, compute)
    return LabelledErrors(errors, sounds.anomalous, sounds.machines)


def _best_exits(network: EarlyExitNetwork, labelled: LabelledErrors, auc_drop: float) -> _Candidate:
    """The exits and the policy with the fewest expected MACs; removed exits cost nothing."""
    candidates = []
    for kept in _subsets(network.num_exits):
        smaller = keep_exits(network, kept)
        costs = lower(smaller).macs_to_exit()
        fitted = fit_anomaly_policy(labelled.of_exits(kept), costs, auc_drop=auc_drop)
        candidates.append(_Candidate(smaller, kept, fitted))
    return min(candidates, key=lambda item: item.fitted.expected_cost)


def _subsets(num_exits: int) -> Sequence[tuple[int, ...]]:
    last = num_exits - 1
    return [(*kept, last) for count in range(num_exits) for kept in itertools.combinations(range(last), count)]
