"""Reading of data sets: from a path to splits, with what was decided on the way as notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from offramp.data.array_cache import ArrayCache, default_cache_dir
from offramp.data.class_labels import EncodedLabels, encode_labels
from offramp.data.duplicates import DuplicatePolicy, SampleSet, find_overlap
from offramp.data.images.pixel_arrays import same_shape
from offramp.data.labelled_data import Dataset, Preprocessing, Split, Splits
from offramp.data.raw_data import RawDataset, ReadOptions, read_raw
from offramp.data.sample_kinds import BYTE_KINDS, InputKind, Samples
from offramp.data.signals.padding import filled, same_length, valid_steps
from offramp.data.sound.windows import LongSounds
from offramp.data.splitting import stratified_split
from offramp.data.statistics import channel_statistics, fingerprint_of
from offramp.errors import ConfigError, DataError
from offramp.progress import Reporter, SilentReporter

_BYTES_TO_TELL = 2**30
_MAX_NAMED = 5


def load_dataset(
    source: str,
    *,
    seed: int,
    validation_share: float = 0.2,
    test_share: float = 0.2,
    image_column: str | None = None,
    label_column: str | None = None,
    image_size: int | None = None,
    duplicates: DuplicatePolicy = "remove",
    long_sounds: LongSounds = "loudest",
    kind: InputKind | None = None,
    cache_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> Dataset:
    """Read a data set and split it.

    Validation and test parts in the data are kept. Missing ones are cut from the training part, stratified by class.

    Args:
        source: Name of a data set that comes with offramp, such as ``"digits"``, or a path.
        seed: Seed of the split, at least 0.
        validation_share: Share of the training part for validation, above 0 and below 1.
        test_share: Share of the training part for the test, above 0 and below 1.
        image_column: Column (parquet) or array (npz) of the images; None: found by type.
        label_column: Column (parquet), array (npz) or kind of label (CIFAR-100: ``fine``, ``coarse``); None: found by
            type.
        image_size: Height and width of all images in pixels, 1 to 4096; None: unchanged.
        duplicates: Whether samples that are also in another split are removed from training and validation.
        long_sounds: Which part is taken of a sound that is longer than a second: the loudest second, the first one, or
            one every half second.
        kind: What the numbers of arrays are: ``pixels``, ``feature_maps``, ``series`` or ``vectors``; None: decided
            from their type and number of axes.
        cache_dir: Folder of the cache; None: `default_cache_dir`.
        reporter: Shows progress; None: no output.

    Returns:
        The data set.

    Raises:
        DataError: The data is missing or invalid.
        ConfigError: A setting is out of range.
    """
    _check_settings(seed, {"validation_share": validation_share, "test_share": test_share}, image_size)
    options = ReadOptions(
        image_column=image_column,
        label_column=label_column,
        image_size=image_size,
        cache=ArrayCache(cache_dir or default_cache_dir()),
        reporter=reporter or SilentReporter(),
        long_sounds=long_sounds,
        kind=kind,
    )
    raw = read_raw(source, options)
    dataset = _assemble(raw, seed, validation_share, test_share, image_size, duplicates, options.reporter)
    for note in dataset.notes:
        options.reporter.say(note)
    return dataset


def _assemble(
    raw: RawDataset,
    seed: int,
    validation_share: float,
    test_share: float,
    image_size: int | None,
    duplicates: DuplicatePolicy,
    reporter: Reporter,
) -> Dataset:
    encoded = encode_labels(raw.parts, raw.class_names)
    samples = _same_shape(raw, image_size)
    parts = [Split(own, labels) for own, labels in zip(samples, encoded.labels, strict=True)]
    named = dict(zip((part.role for part in raw.parts), parts, strict=True))
    separation = _Separation(raw, encoded.class_names, duplicates)
    test, validation = named.get("test"), named.get("validation")
    if test and validation:
        validation = separation.apart("validation", validation, (test,))
    # Before parts are cut from the training part: they must not hold what is in the others either.
    train = separation.apart("train", named["train"], [split for split in (validation, test) if split])
    indices = stratified_split(
        train.labels,
        encoded.class_names,
        seed=seed,
        validation_share=0.0 if validation else validation_share,
        test_share=0.0 if test else test_share,
        where=raw.train.source,
    )
    test = test or train.take(indices.test)
    if not validation:
        validation = separation.apart("validation", train.take(indices.validation), (test,))
    train = separation.apart("train", train.take(indices.train), (validation, test))
    standardised = _standardised(raw.input_kind, Splits(train, validation, test))
    return Dataset(
        name=raw.name,
        class_names=encoded.class_names,
        splits=standardised.splits,
        preprocessing=standardised.preprocessing,
        fingerprint=_fingerprint(samples, encoded, reporter),
        label_fingerprint=fingerprint_of([labels[:, None] for labels in encoded.labels], encoded.labels, ()),
        input_kind=raw.input_kind,
        padded=standardised.padded,
        notes=(*raw.notes, *encoded.notes, *separation.notes, *standardised.notes),
    )


def _same_shape(raw: RawDataset, image_size: int | None) -> Sequence[Samples]:
    """Samples of all parts in one shape."""
    if raw.input_kind in BYTE_KINDS:
        return same_shape(raw.parts, image_size)
    if image_size is not None:
        raise ConfigError(
            f"`image_size` resizes images, but {raw.name!r} holds {raw.input_kind.replace('_', ' ')}. Leave it out."
        )
    return same_length(raw.parts)


@dataclass(frozen=True, eq=False)
class _Standardised:
    """Splits with the statistics of their training samples."""

    splits: Splits
    preprocessing: Preprocessing
    padded: bool = False
    notes: tuple[str, ...] = ()


def _standardised(kind: InputKind, splits: Splits) -> _Standardised:
    """Compute the statistics, and fill series that are shorter than others."""
    preprocessing = Preprocessing.of(splits.train.samples)
    if kind in BYTE_KINDS:
        return _Standardised(splits, preprocessing)
    parts = (splits.train, splits.validation, splits.test)
    floats = [split.samples.astype(np.float32, copy=False) for split in parts]
    short = [int((valid_steps(part) < part.shape[3]).sum()) if kind == "series" else 0 for part in floats]
    notes = _constant_notes(channel_statistics(floats[0]).constant, len(preprocessing.mean))
    if not any(short):
        return _Standardised(splits, preprocessing, notes=notes)
    note = (
        f"{sum(short)} of {sum(map(len, parts))} series are shorter than the longest ({floats[0].shape[3]} steps): "
        "they end with the training mean of each channel, which is 0 once standardised."
    )
    whole = [Split(filled(own, preprocessing), split.labels) for own, split in zip(floats, parts, strict=True)]
    return _Standardised(Splits(*whole), preprocessing, padded=True, notes=(*notes, note))


def _constant_notes(constant: Sequence[int], channels: int) -> tuple[str, ...]:
    if not constant:
        return ()
    named = ", ".join(map(str, constant[:_MAX_NAMED])) + (", ..." if len(constant) > _MAX_NAMED else "")
    if len(constant) == channels:
        raise DataError("All channels are constant over the training samples: there is nothing to learn from them.")
    return (
        f"{len(constant)} of {channels} channels are constant over the training samples ({named}): they tell nothing, "
        "and are not scaled. Leave them out, unless they vary elsewhere.",
    )


def _fingerprint(samples: Sequence[Samples], encoded: EncodedLabels, reporter: Reporter) -> str:
    """Hash what was read, with progress where that takes more than a second."""
    if sum(part.nbytes for part in samples) < _BYTES_TO_TELL:
        return fingerprint_of(samples, encoded.labels, encoded.class_names)
    with reporter.task("Fingerprinting the data") as task:
        return fingerprint_of(samples, encoded.labels, encoded.class_names, task)


class _Separation:
    """Takes out of a split what is also in another one, and notes how much that was."""

    def __init__(self, raw: RawDataset, class_names: tuple[str, ...], policy: DuplicatePolicy) -> None:
        self._name = raw.name
        self._kind = {"pixels": "images", "mfcc": "sounds"}.get(raw.input_kind, "samples")
        self._class_names = class_names
        self._policy = policy
        self.notes: list[str] = []

    def apart(self, name: Literal["train", "validation"], own: Split, others: Sequence[Split]) -> Split:
        """A split without the samples that are also in others; with them where duplicates are kept."""
        overlap = find_overlap(SampleSet(own.samples, own.labels), [SampleSet(o.samples, o.labels) for o in others])
        if not overlap.count:
            return own
        word, elsewhere = ("training", "validation or test") if name == "train" else ("validation", "test")
        note = (
            f"{overlap.count} of {len(own)} {word} {self._kind} of {self._name!r} are also in the {elsewhere} split, "
            "equal to the bit"
        )
        note += f" ({overlap.num_relabelled} of them with another label)" if overlap.num_relabelled else ""
        if self._policy == "keep":
            self.notes.append(f"{note}; they were kept (data.duplicates: keep), so accuracies are too high.")
            return own
        kept = own.take(np.flatnonzero(~overlap.rows))
        emptied = np.setdiff1d(own.labels, kept.labels)
        if emptied.size:
            raise DataError(
                f"{note}, and class {self._class_names[emptied[0]]!r} has no other {word} {self._kind}. Add some, "
                "remove the duplicates from the data, or keep them (data.duplicates: keep), with accuracies that are "
                "then too high."
            )
        self.notes.append(f"{note}; they were removed from the {word} split (data.duplicates: remove).")
        return kept


def _check_settings(seed: int, shares: Mapping[str, float], image_size: int | None) -> None:
    if seed < 0:
        raise ConfigError(f"`seed` must be 0 or more, got {seed}.")
    for name, share in shares.items():
        if not 0.0 < share < 1.0:
            raise ConfigError(f"`{name}` must lie between 0 and 1, both excluded, got {share}.")
    if image_size is not None and not 1 <= image_size <= 4096:
        raise ConfigError(f"`image_size` must be 1 to 4096 pixels, got {image_size}.")
