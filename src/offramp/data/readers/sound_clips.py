"""Labelled sounds of any layout to a data set: the settings of the features, and the features of every window."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.array_cache import derived_key
from offramp.data.raw_data import RawDataset, RawPart, ReadOptions, Role
from offramp.data.sound.feature_choice import ClipInfo, choose_features
from offramp.data.sound.feature_settings import SoundFeatures
from offramp.data.sound.sound_decoding import EncodedSound, decode_sound, resampled_count
from offramp.data.sound.sound_samples import sound_samples
from offramp.data.sound.windows import num_windows
from offramp.data.stored_samples import SampleWriter, StoredSamples
from offramp.errors import DataError

MAX_TOTAL_BYTES = 16 * 2**30
_UPDATES = 32


@dataclass(frozen=True, eq=False)
class SoundPart:
    """Sounds of one part of a data set.

    Attributes:
        role: Purpose of the part.
        source: File or folder, for messages.
        sounds: The sounds.
        labels: Numbers or class names, one per sound.
        key: Key of the sounds in the cache, which changes with their content.
        names: File name of each sound, where it has one; else empty.
        groups: Name of the group of each sound; None: not known.
    """

    role: Role
    source: str
    sounds: Sequence[EncodedSound]
    labels: NDArray[Any]
    key: str
    names: tuple[str, ...] = ()
    groups: NDArray[np.str_] | None = None


def sound_dataset(
    name: str,
    parts: Sequence[SoundPart],
    options: ReadOptions,
    *,
    class_names: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> RawDataset:
    """Make a data set of labelled sounds.

    Args:
        name: Name of the data set.
        parts: The sounds of each part; one part is to train on.
        options: Settings of the user.
        class_names: Names of the classes in the order of their numbers; None: from the labels.
        notes: Sentences on what was ignored.

    Returns:
        The data set: feature maps, or series where the features are ``raw``.

    Raises:
        DataError: A sound cannot be read, there are none, or they need too much memory.
        ConfigError: The settings of the features contradict each other.
    """
    if options.image_size is not None:
        raise DataError(
            f"{name!r} holds sounds, which are not resized. Leave out `image_size`; see data.sound_window_s."
        )
    empty = next((part for part in parts if not part.sounds), None)
    if empty is not None:
        raise DataError(f"{empty.source!r} must hold sounds, but it has none.")
    if "train" not in [part.role for part in parts]:
        found = ", ".join(f"{part.role} ({part.source!r})" for part in parts)
        raise DataError(f"Data set {name!r} must have sounds to train on, found only: {found}.")
    infos = {part.role: _measured(part, options) for part in parts}
    chosen = choose_features(infos["train"], options.sound)
    raw_parts = tuple(_features(part, infos[part.role], chosen.features, options) for part in parts)
    lengths = _length_notes([info for own in infos.values() for info in own], chosen.features, options)
    return RawDataset(
        name,
        raw_parts,
        class_names,
        "series" if chosen.features.kind == "raw" else "feature_maps",
        (*notes, *chosen.notes, *lengths),
        sound=chosen.features,
    )


def _measured(part: SoundPart, options: ReadOptions) -> tuple[ClipInfo, ...]:
    def measure() -> NDArray[np.uint8]:
        values = np.empty((len(part.sounds), 3), dtype="<i8")
        with options.reporter.task(f"Measuring the sounds ({part.role})") as task:
            for index, sound in enumerate(part.sounds):
                clip = decode_sound(sound)
                values[index] = len(clip.samples), clip.rate_hz, clip.channels
                if index % _UPDATES == 0:
                    task.update(index / len(part.sounds), f"{index} of {len(part.sounds)}")
        return values.view(np.uint8).reshape(len(part.sounds), 24, 1, 1)

    stored = options.cache.get(derived_key(part.key, "lengths"), measure)
    rows = np.ascontiguousarray(stored.reshape(len(part.sounds), 24)).view("<i8").tolist()
    return tuple(ClipInfo(count, rate_hz, channels) for count, rate_hz, channels in rows)


def _features(part: SoundPart, infos: Sequence[ClipInfo], features: SoundFeatures, options: ReadOptions) -> RawPart:
    counts = [
        num_windows(resampled_count(info.count, info.rate_hz, features.rate_hz), features.window, options.long_sounds)
        for info in infos
    ]
    needed = 4 * sum(counts) * int(np.prod(features.shape))
    if needed > MAX_TOTAL_BYTES and options.cache.place.most_bytes_in_memory >= needed:
        raise DataError(
            f"The features of {part.source!r} must fit into {MAX_TOTAL_BYTES / 2**30:.0f} GiB, but {sum(counts)} "
            f"windows of {features} need {needed / 2**30:.0f} GiB. Use "
            "longer hops (data.sound_hop_ms) or shorter windows."
        )

    def compute() -> NDArray[np.float32] | StoredSamples:
        writer = SampleWriter(sum(counts), features.shape, np.float32, options.cache.place)
        try:
            _write(writer)
        except BaseException:
            writer.discard()
            raise
        found: NDArray[np.float32] | StoredSamples = writer.finish()
        return found

    def _write(writer: SampleWriter) -> None:
        with options.reporter.task(f"Listening to the sounds ({part.role})") as task:
            for index, sound in enumerate(part.sounds):
                for sample in sound_samples(sound, features, options.long_sounds):
                    writer.add(sample.values[None])
                if index % _UPDATES == 0:
                    task.update(index / len(part.sounds), f"{index} of {len(part.sounds)}")

    key = derived_key(part.key, features, options.long_sounds)
    return RawPart(
        part.role,
        part.source,
        options.cache.get_floats(key, compute),
        np.repeat(part.labels, counts),
        tuple(name for name, count in zip(part.names, counts, strict=bool(part.names)) for _ in range(count)),
        _groups(part, counts),
    )


def _groups(part: SoundPart, counts: Sequence[int]) -> NDArray[np.str_] | None:
    """The group of each window: that of its sound; otherwise the sound itself where one has several windows."""
    if part.groups is not None:
        return np.repeat(part.groups, counts)
    if max(counts) == 1:
        return None
    return np.repeat(np.array([f"{part.source}, sound {index}" for index in range(len(counts))]), counts)


def _length_notes(infos: Sequence[ClipInfo], features: SoundFeatures, options: ReadOptions) -> tuple[str, ...]:
    window_s = features.window_s
    longer = sum(info.duration_s > window_s for info in infos)
    shorter = sum(info.duration_s < window_s for info in infos)
    notes = []
    if longer:
        part = {
            "loudest": "the window with the most energy of each is taken",
            "start": "the first window of each is taken",
            "windows": "a window is taken every half window of each, all with its label",
        }[options.long_sounds]
        notes.append(
            f"{longer} of {len(infos)} sounds are longer than the window of {window_s:.2f} s: {part} "
            f"(data.long_sounds: {options.long_sounds})."
        )
    if shorter:
        notes.append(f"{shorter} of {len(infos)} sounds are shorter than the window: they are padded with zeros.")
    return tuple(notes)
