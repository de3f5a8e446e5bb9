"""Train an anomaly detector with early exits: training, choice of exits and thresholds, test, export."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offramp.anomaly.anomaly_rule import (
    AnomalyProfile,
    FittedPolicy,
    LabelledErrors,
    fit_anomaly_policy,
    profile_anomalies,
)
from offramp.anomaly.autoencoder import INPUT_SHAPE, build_autoencoder, keep_exits
from offramp.anomaly.detector import DetectorManifest, export_detector
from offramp.anomaly.machine_sounds import LabelledSounds, MachineSounds, load_machine_sounds, windows
from offramp.anomaly.reconstruction import reconstruction_step, sound_errors, training_windows
from offramp.cost.expected import ExpectedCost, expected_cost
from offramp.cost.pricing import build_cost_model
from offramp.data.labelled_data import Preprocessing
from offramp.data.mini_batches import to_tensor
from offramp.errors import ConfigError
from offramp.hardware.loader import load_accelerator
from offramp.jsonio import dumps, write_atomically
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.progress import Reporter, SilentReporter
from offramp.settings.cost_config import CostConfig
from offramp.train.compute import Compute, set_threads
from offramp.train.trainer import Schedule, TrainingData, TrainingLoop

_BATCH = 256
_CHECKS = 64
_SIDE = 128  # of what a layer works on, for the number of threads


@dataclass(frozen=True)
class DetectSettings:
    """``exits``: layers of the auto-encoder that may carry a shortened decoder, of which the best are kept.

    The mean squared error of 640 features has small gradients, hence the high ``learning_rate``. ``auc_drop``: how far
    leaving early may lower the AUC on the validation sounds.
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
    """A finished detector. ``exits`` are the layers that kept one; costs are of one window of 640 features.

    ``expected_*`` are weighted with the rates of each split; ``static_*`` are of the network without exits.
    """

    name: str
    settings: DetectSettings
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


def detect(
    source: str | Path,
    run: Path,
    settings: DetectSettings | None = None,
    *,
    reporter: Reporter | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> DetectorRecord:
    """Make a detector of anomalous sounds from a folder in the ToyADMOS layout; it goes to ``run/detector``.

    Exits and thresholds are chosen on the validation sounds, the test sounds are looked at once. Ctrl-C keeps all whole
    epochs, and ``resume`` goes on from there.
    """
    settings, reporter = settings or DetectSettings(), reporter or SilentReporter()
    network = build_autoencoder(settings.exits, seed=settings.seed)
    accelerator = load_accelerator(settings.accelerator)
    _check_run(run, resume=resume, overwrite=overwrite)
    sounds = load_machine_sounds(source, seed=settings.seed, reporter=reporter)
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
    checks = to_tensor(windows(sounds.validation.features[:1])[:_CHECKS], preprocessing).numpy()
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
        raise ConfigError(f"{str(run)!r} holds no run to go on with. Leave out --resume.")
    if run.exists() and not checkpoint.exists() and (not run.is_dir() or any(run.iterdir())):
        raise ConfigError(f"{str(run)!r} must be a new or an empty folder, or one of an earlier run. Give another.")


def _train(
    network: EarlyExitNetwork,
    sounds: MachineSounds,
    preprocessing: Preprocessing,
    compute: Compute,
    settings: DetectSettings,
    run: Path,
    reporter: Reporter,
    *,
    resume: bool,
) -> None:
    run.mkdir(parents=True, exist_ok=True)
    set_threads(None, _SIDE)
    rng = np.random.default_rng(settings.seed)
    loop = TrainingLoop(
        network,
        TrainingData(training_windows(sounds.train, settings.windows_per_sound, rng), preprocessing, _BATCH, None),
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
    """The exits and the policy of the fewest expected MACs; an exit that is dropped costs nothing any more."""
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
