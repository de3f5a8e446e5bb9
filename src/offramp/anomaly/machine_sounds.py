"""ToyADMOS as published for DCASE 2020: normal sounds for training, labelled ones for validation and test."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.data.array_cache import ArrayCache, default_cache_dir, listing_key
from offramp.data.file_listing import is_leftover
from offramp.data.sound.sound_features import MACHINE_SHAPE, machine_features
from offramp.data.sound.wav import read_wav
from offramp.data.splits.duplicates import SampleSet, find_overlap
from offramp.data.splits.splitting import stratified_split
from offramp.errors import ConfigError, DataError
from offramp.progress import Reporter, SilentReporter

NUM_FRAMES = 5
"""Frames of a window."""

_NAME = re.compile(r"(normal|anomaly)_id_(\d{1,6})_\w+\.wav", re.IGNORECASE)
_LAYOUT = "train/normal_id_01_00000000.wav, test/normal_id_01_... and test/anomaly_id_01_..."


@dataclass(frozen=True, eq=False)
class LabelledSounds:
    """Labelled sounds.

    Attributes:
        features: Features (sounds, 1, frames, bands) as bytes.
        anomalous: Whether each sound is anomalous (sounds,).
        machines: Number of the machine that each sound is from (sounds,).
    """

    features: NDArray[np.uint8]
    anomalous: NDArray[np.bool_]
    machines: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MachineSounds:
    """The sounds of one kind of machine.

    Attributes:
        name: Name of the folder.
        train: Features of normal sounds (sounds, 1, frames, bands) as bytes.
        validation: Labelled sounds on which exits and thresholds are chosen.
        test: Labelled sounds for the final results.
    """

    name: str
    train: NDArray[np.uint8]
    validation: LabelledSounds
    test: LabelledSounds


@dataclass(frozen=True)
class _Sound:
    path: Path
    anomalous: bool
    machine: int


def load_machine_sounds(
    source: str | Path,
    *,
    seed: int,
    validation_share: float = 0.5,
    cache_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> MachineSounds:
    """Read the sounds of one kind of machine.

    The labelled sounds (``test/``) are split into validation and test sounds, with the same share of each machine's
    normal and anomalous sounds.

    Args:
        source: The folder, such as ``dev_data/ToyCar``, or a folder whose only such subfolder it is.
        seed: Seed of the split.
        validation_share: Share of the labelled sounds for validation, between 0 and 1.
        cache_dir: Folder in which features are kept; None = the default one.
        reporter: Shows progress; None = nothing is shown.

    Returns:
        The features and labels of the sounds.

    Raises:
        ConfigError: ``validation_share`` is out of range.
        DataError: A folder or file is missing, misnamed or unreadable, a training sound is anomalous, or a machine
            lacks normal or anomalous sounds.
    """
    if not 0.0 < validation_share < 1.0:
        raise ConfigError(f"`validation_share` must lie between 0 and 1, both excluded, got {validation_share}.")
    root = _root(Path(source).expanduser())
    training = _sounds(root / "train")
    wrong = next((sound for sound in training if sound.anomalous), None)
    if wrong is not None:
        raise DataError(
            f"All sounds in {str(root / 'train')!r} must be normal, but {wrong.path.name} is not. Remove it."
        )
    labelled = _sounds(root / "test")
    kinds = sorted({(sound.machine, sound.anomalous) for sound in labelled})
    incomplete = sorted({m for m, _ in kinds if not {(m, False), (m, True)} <= set(kinds)})
    if incomplete:
        raise DataError(
            f"Every machine in {str(root / 'test')!r} must have normal and anomalous sounds, but these have one kind "
            f"only: {', '.join(f'id_{machine:02}' for machine in incomplete)}. Add sounds or leave the machine out."
        )
    groups = np.array([kinds.index((sound.machine, sound.anomalous)) for sound in labelled], dtype=np.int64)
    names = tuple(f"{'anomaly' if anomalous else 'normal'}_id_{machine:02}" for machine, anomalous in kinds)
    parts = stratified_split(
        groups, names, seed=seed, validation_share=validation_share, test_share=0.0, where=str(root / "test")
    )
    cache, reporter = ArrayCache(cache_dir or default_cache_dir()), reporter or SilentReporter()
    features = _features(root, labelled, "test", cache, reporter)
    train = _features(root, training, "train", cache, reporter)
    return MachineSounds(
        root.resolve().name,
        _without_labelled(root, train, features, reporter),
        _labelled(features, labelled, parts.validation),
        _labelled(features, labelled, parts.train),
    )


def windows(features: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All windows of five consecutive frames.

    Args:
        features: Features of sounds (sounds, 1, frames, bands).

    Returns:
        The windows (windows, 1, 5, bands), sound by sound, as a copy.
    """
    view = window_view(features)
    return np.array(view).reshape(-1, 1, *view.shape[2:])


def window_view(features: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All windows of five consecutive frames as a view, which takes no memory.

    Args:
        features: Features of sounds (sounds, 1, frames, bands).

    Returns:
        The windows (sounds, windows, 5, bands).
    """
    # The window's own axis comes last: (sounds, windows, bands, frames).
    return np.lib.stride_tricks.sliding_window_view(features[:, 0], NUM_FRAMES, axis=1).transpose(0, 1, 3, 2)


def _root(path: Path) -> Path:
    try:
        inner = sorted(path.iterdir()) if path.is_dir() else []
    except OSError as exc:
        raise DataError(f"{str(path)!r} cannot be read: {exc.strerror}.") from exc
    folders = [path, *(child for child in inner if child.is_dir() and not is_leftover(child.name))]
    found = [folder for folder in folders if (folder / "train").is_dir() and (folder / "test").is_dir()]
    if path in found:
        return path
    if len(found) != 1:
        fault = f"it holds several: {', '.join(f.name for f in found)}. Name one" if found else "there is none"
        raise DataError(f"{str(path)!r} must be the folder of one kind of machine ({_LAYOUT}), but {fault}.")
    return found[0]


def _sounds(folder: Path) -> list[_Sound]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".wav" and not is_leftover(file.name))
    if not files:
        raise DataError(f"{str(folder)!r} must hold .wav files ({_LAYOUT}), but it has none.")
    sounds = []
    for file in files:
        match = _NAME.fullmatch(file.name)
        if match is None:
            raise DataError(f"Sounds must be named as in {_LAYOUT}, got {str(file)!r}. Rename or remove it.")
        sounds.append(_Sound(file, match.group(1).lower() == "anomaly", int(match.group(2))))
    return sounds


def _features(root: Path, sounds: list[_Sound], part: str, cache: ArrayCache, reporter: Reporter) -> NDArray[np.uint8]:
    def decode() -> NDArray[np.uint8]:
        features = np.empty((len(sounds), 1, *MACHINE_SHAPE), dtype=np.uint8)
        with reporter.task(f"Computing the sound features of {root.name} ({part})") as task:
            for index, sound in enumerate(sounds):
                features[index, 0] = machine_features(read_wav(sound.path), str(sound.path))
                task.update((index + 1) / len(sounds), f"{index + 1} of {len(sounds)}")
        return features

    return cache.get(listing_key(root, [sound.path for sound in sounds], "machine", part), decode)


def _without_labelled(
    root: Path, train: NDArray[np.uint8], labelled: NDArray[np.uint8], reporter: Reporter
) -> NDArray[np.uint8]:
    """Training sounds without those that are also labelled sounds, which is told."""
    sets = [SampleSet(part, np.zeros(len(part), dtype=np.int64)) for part in (train, labelled)]
    overlap = find_overlap(sets[0], sets[1:])
    if not overlap.count:
        return train
    note = f"{overlap.count} of {len(train)} training sounds of {str(root)!r} are also in test/, equal to the bit"
    if overlap.rows.all():
        raise DataError(f"{note}: none would be left to train on. Remove the duplicates.")
    reporter.say(f"{note}; they were removed from the training sounds.")
    return train[~overlap.rows]


def _labelled(features: NDArray[np.uint8], sounds: list[_Sound], rows: NDArray[np.int64]) -> LabelledSounds:
    order = np.sort(rows)
    chosen = [sounds[row] for row in order]
    return LabelledSounds(
        features[order],
        np.array([sound.anomalous for sound in chosen]),
        np.array([sound.machine for sound in chosen], dtype=np.int64),
    )
