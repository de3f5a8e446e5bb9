"""Reading of data sets: from a path to splits, with what was decided on the way as notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offramp.data.array_cache import ArrayCache, default_cache_dir
from offramp.data.class_labels import EncodedLabels, encode_labels
from offramp.data.images.pixel_arrays import same_shape
from offramp.data.labelled_data import Dataset, Preprocessing, Split, Splits
from offramp.data.python_data import raw_from_python
from offramp.data.raw_data import RawDataset, ReadOptions, read_raw
from offramp.data.sample_kinds import BYTE_KINDS, InputKind, Samples
from offramp.data.signals.padding import filled, same_length, valid_steps
from offramp.data.sound.feature_settings import SoundFeatures, SoundRequest
from offramp.data.sound.windows import LongSounds
from offramp.data.splits.duplicates import DuplicatePolicy, SampleSet, find_overlap
from offramp.data.splits.group_names import compiled_pattern, group_hint, groups_of_names
from offramp.data.splits.group_splitting import GroupSplit, check_groups_apart, split_by_groups
from offramp.data.splits.splitting import stratified_split
from offramp.data.statistics import channel_statistics, fingerprint_of
from offramp.errors import ConfigError, DataError
from offramp.progress import Reporter, SilentReporter

_BYTES_TO_TELL = 2**30
_MAX_NAMED = 5


def load_dataset(
    source: object,
    *,
    seed: int,
    validation_share: float = 0.2,
    test_share: float = 0.2,
    image_column: str | None = None,
    label_column: str | None = None,
    image_size: int | None = None,
    duplicates: DuplicatePolicy = "remove",
    long_sounds: LongSounds = "loudest",
    sound: SoundRequest | SoundFeatures | None = None,
    label_pattern: str | None = None,
    kind: InputKind | None = None,
    group_column: str | None = None,
    group_pattern: str | None = None,
    id_column: str | None = None,
    memory_mib: int = 1024,
    window: int | None = None,
    hop: int | None = None,
    cache_dir: Path | None = None,
    reporter: Reporter | None = None,
) -> Dataset:
    """Read a data set and split it.

    Validation and test parts in the data are kept. Missing ones are cut from the training part, stratified by class.

    Args:
        source: Name of a data set that comes with offramp, such as ``"digits"``, a path, or the data themselves, see
            `raw_from_python`.
        seed: Seed of the split, at least 0.
        validation_share: Share of the training part for validation, above 0 and below 1.
        test_share: Share of the training part for the test, above 0 and below 1.
        image_column: Column (parquet) or array (npz) of the images; None: found by type.
        label_column: Column (parquet), array (npz) or kind of label (CIFAR-100: ``fine``, ``coarse``); None: found by
            type.
        image_size: Height and width of all images in pixels, 1 to 4096; None: unchanged.
        duplicates: Whether samples that are also in another split are removed from training and validation.
        long_sounds: Which part is taken of a sound that is longer than a window: the loudest window, the first one, or
            one every half window.
        sound: Settings of the features of sounds; what is None follows from the data.
        label_pattern: Regular expression whose one group is the class in the name of a sound; None: classes are
            folders.
        kind: What the numbers of arrays are: ``pixels``, ``feature_maps``, ``series`` or ``vectors``; None: decided
            from their type and number of axes.
        group_column: Column or array that names the group of each sample, such as a speaker: no group is in two splits.
        group_pattern: Regular expression that finds the group in the name of each file, in its parentheses.
        id_column: Column that says which series a row of a table is a step of; None: found by its name.
        memory_mib: Decoded images and features of sounds that need more stay on disk, and are read batch by batch; 1 or
            more.
        window: Time steps of the windows that recordings are cut into; None: they are not cut.
        hop: Time steps from one window to the next; None: half a window.
        cache_dir: Folder of the cache; None: `default_cache_dir`.
        reporter: Shows progress; None: no output.

    Returns:
        The data set.

    Raises:
        DataError: The data is missing or invalid.
        ConfigError: A setting is out of range.
    """
    _check_settings(seed, {"validation_share": validation_share, "test_share": test_share}, image_size)
    if group_pattern is not None:
        compiled_pattern(group_pattern)
        if group_column is not None:
            raise ConfigError("data.group_column and data.group_pattern both say what the groups are: give one.")
    if (window is not None and window < 1) or (hop is not None and (hop < 1 or window is None)):
        raise ConfigError(f"data.window and data.hop must be 1 or more, and a hop needs a window, got {window}, {hop}.")
    options = ReadOptions(
        image_column=image_column,
        label_column=label_column,
        image_size=image_size,
        cache=ArrayCache(cache_dir or default_cache_dir(), memory_mib * 2**20),
        reporter=reporter or SilentReporter(),
        long_sounds=long_sounds,
        sound=sound or SoundRequest(),
        label_pattern=label_pattern,
        kind=kind,
        group_column=group_column,
        id_column=id_column,
        window=window,
        hop=hop,
    )
    raw = read_raw(source, options) if isinstance(source, str) else raw_from_python(source, options)
    if window is not None and raw.input_kind != "series":
        raise ConfigError(
            f"data.window cuts series, but {raw.name!r} holds {raw.input_kind.replace('_', ' ')}. Leave it out."
        )
    _check_effect(raw, options)
    raw = _grouped(raw, group_column, group_pattern)
    division = _Division(seed, validation_share, test_share, duplicates)
    dataset = _assemble(raw, division, image_size, options.reporter)
    for note in dataset.notes:
        options.reporter.say(note)
    return dataset


def _check_effect(raw: RawDataset, options: ReadOptions) -> None:
    """Refuse settings that have no effect on data of this kind."""
    if options.kind is not None and raw.input_kind != options.kind:
        raise ConfigError(
            f"data.kind says what the numbers of arrays and tables are, but {raw.name!r} holds "
            f"{raw.input_kind.replace('_', ' ')}, got {options.kind}. Leave it out."
        )
    if options.window is not None and raw.sound is not None:
        raise ConfigError(f"data.window does not cut sounds, as {raw.name!r} holds them: set data.sound_window_s.")
    if options.label_pattern is not None and raw.sound is None:
        raise ConfigError(f"data.label_pattern finds classes in names of sounds, but {raw.name!r} is no such folder.")
    if options.id_column is not None and (raw.input_kind != "series" or raw.sound is not None):
        raise ConfigError(
            f"data.id_column says which series the rows of a table are of, but {raw.name!r} holds no series. Leave it "
            "out."
        )


@dataclass(frozen=True)
class _Division:
    """How a data set is divided into splits."""

    seed: int
    validation_share: float
    test_share: float
    duplicates: DuplicatePolicy


def _grouped(raw: RawDataset, group_column: str | None, group_pattern: str | None) -> RawDataset:
    """The data set with the groups that the settings ask for."""
    if group_column is not None and any(part.groups is None for part in raw.parts):
        raise ConfigError(
            f"data.group_column names a column or an array, but {raw.name!r} has none in its format. Files are grouped "
            "by their names with data.group_pattern."
        )
    if group_pattern is None:
        return raw
    if any(not part.names for part in raw.parts):
        raise ConfigError(
            f"data.group_pattern takes groups from file names, but the samples of {raw.name!r} are no files of their "
            "own. Set data.group_column to a column or an array with the groups."
        )
    parts = (replace(part, groups=groups_of_names(part.names, group_pattern, part.source)) for part in raw.parts)
    return replace(raw, parts=tuple(parts))


def _assemble(raw: RawDataset, division: _Division, image_size: int | None, reporter: Reporter) -> Dataset:
    encoded = encode_labels(raw.parts, raw.class_names)
    samples = _same_shape(raw, image_size)
    parts = [Split(own, labels) for own, labels in zip(samples, encoded.labels, strict=True)]
    named = dict(zip((part.role for part in raw.parts), parts, strict=True))
    separation = _Separation(raw, encoded.class_names, division.duplicates)
    test, validation = named.get("test"), named.get("validation")
    if test and validation:
        validation = validation.take(separation.rows_apart("validation", validation, (test,)))
    # Before parts are cut from the training part: they must not hold what is in the others either.
    whole = named["train"]
    rows = separation.rows_apart("train", whole, [split for split in (validation, test) if split])
    train = whole if len(rows) == len(whole) else whole.take(rows)
    cut = _cut(raw, train, rows, encoded.class_names, division)
    test = test or train.take(cut.indices.test)
    if not validation:
        validation = train.take(cut.indices.validation)
        validation = validation.take(separation.rows_apart("validation", validation, (test,)))
    train = train.take(cut.indices.train)
    train = train.take(separation.rows_apart("train", train, (validation, test)))
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
        notes=(*raw.notes, *encoded.notes, *separation.notes, *cut.notes, *standardised.notes),
        sound=raw.sound,
    )


def _cut(
    raw: RawDataset, train: Split, rows: NDArray[np.int64], class_names: tuple[str, ...], division: _Division
) -> GroupSplit:
    """Cut missing validation and test parts from the training part; ``rows`` are its samples in the part as read."""
    roles = {part.role for part in raw.parts}
    shares = {
        "validation_share": 0.0 if "validation" in roles else division.validation_share,
        "test_share": 0.0 if "test" in roles else division.test_share,
    }
    groups = raw.train.groups
    if groups is not None:
        check_groups_apart([(part.source, part.groups) for part in raw.parts if part.groups is not None])
        if any(shares.values()):
            return split_by_groups(
                train.labels, groups[rows], class_names, seed=division.seed, **shares, where=raw.train.source
            )
    indices = stratified_split(train.labels, class_names, seed=division.seed, **shares, where=raw.train.source)
    names = [raw.train.names[row] for row in rows] if raw.train.names and groups is None else []
    hint = group_hint(names, train.labels) if any(shares.values()) else None
    return GroupSplit(indices, (hint,) if hint else ())


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
        self._kind = "sounds" if raw.sound else {"pixels": "images", "mfcc": "sounds"}.get(raw.input_kind, "samples")
        self._class_names = class_names
        self._policy = policy
        self.notes: list[str] = []

    def rows_apart(
        self, name: Literal["train", "validation"], own: Split, others: Sequence[Split]
    ) -> NDArray[np.int64]:
        """The samples of a split that are not in others; all of them where duplicates are kept."""
        everything = np.arange(len(own), dtype=np.int64)
        overlap = find_overlap(SampleSet(own.samples, own.labels), [SampleSet(o.samples, o.labels) for o in others])
        if not overlap.count:
            return everything
        word, elsewhere = ("training", "validation or test") if name == "train" else ("validation", "test")
        note = (
            f"{overlap.count} of {len(own)} {word} {self._kind} of {self._name!r} are also in the {elsewhere} split, "
            "equal to the bit"
        )
        note += f" ({overlap.num_relabelled} of them with another label)" if overlap.num_relabelled else ""
        if self._policy == "keep":
            self.notes.append(f"{note}; they were kept (data.duplicates: keep), so accuracies are too high.")
            return everything
        kept = everything[~overlap.rows]
        emptied = np.setdiff1d(own.labels, own.labels[kept])
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
