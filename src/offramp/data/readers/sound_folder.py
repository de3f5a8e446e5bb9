"""Folders of sounds: one per class, flat with labels in the names, or with a list of labels as Hugging Face has it."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from offramp.data.array_cache import listing_key
from offramp.data.class_folders import (
    FileKind,
    children_of,
    holds_class_folders,
    list_class_folders,
    notes_on_ignored,
    visible_folders,
)
from offramp.data.file_listing import list_files
from offramp.data.raw_data import READERS, ROLE_OF_WORD, RawDataset, ReadOptions, Role
from offramp.data.readers.label_list import LABEL_LISTS, label_lists, read_label_list
from offramp.data.readers.machine_sounds import MachineSoundsReader
from offramp.data.readers.sound_clips import SoundPart, sound_dataset
from offramp.data.readers.speech_commands import SpeechCommandsReader
from offramp.data.sound.sound_decoding import SOUND_SUFFIXES, EncodedSound
from offramp.errors import ConfigError, DataError

_SOUNDS = FileKind("sounds", SOUND_SUFFIXES)
_MAX_NAMED = 3


class SoundFolderReader:
    """Reads folders of labelled sounds."""

    description = (
        "a folder of sounds per class (cat/1.wav, dog/2.flac, ...), if wanted below train/, validation/, test/; sounds "
        f"with a list of labels ({', '.join(LABEL_LISTS)}); or sounds with their labels in their names "
        "(data.label_pattern)"
    )

    def claims(self, path: Path) -> bool:
        if not path.is_dir() or SpeechCommandsReader().claims(path) or MachineSoundsReader().claims(path):
            return False
        return holds_class_folders(path, _SOUNDS) or any(map(_SOUNDS.fits, children_of(path)))

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        name = path.resolve().name
        if options.label_pattern is not None:
            return _read_named(path, name, options)
        if label_lists(path):
            parts = [
                _part(role, listing.folder, listing.paths, listing.labels, listing.groups)
                for role, listing in read_label_list(path, options.label_column, options.group_column, _SOUNDS).items()
            ]
            return sound_dataset(name, parts, options)
        if not holds_class_folders(path, _SOUNDS):
            example = next(child for child in children_of(path) if _SOUNDS.fits(child)).name
            raise DataError(
                f"{str(path)!r} holds sounds without class folders, such as {example!r}. If the class is a part of the "
                "name, give a rule with one group, such as --set data.label_pattern='^([^_]+)_'; otherwise put the "
                "sounds of each class into a folder, or add metadata.csv with the columns file_name and label."
            )
        listings = list_class_folders(path, _SOUNDS)
        parts = [_part(listing.role, listing.folder, listing.files, listing.labels) for listing in listings]
        return sound_dataset(name, parts, options, notes=notes_on_ignored(path, listings, _SOUNDS))


READERS.add("sound_folder", SoundFolderReader())


def _part(role: Role, folder: Path, paths: list[Path], labels: list[str], groups: Sequence[str] = ()) -> SoundPart:
    return SoundPart(
        role,
        str(folder),
        [EncodedSound.of_file(path) for path in paths],
        np.array(labels),
        listing_key(folder, paths, "sounds"),
        tuple(path.name for path in paths),
        np.array(groups) if groups else None,
    )


def _read_named(path: Path, name: str, options: ReadOptions) -> RawDataset:
    """Sounds whose names hold their class; the parts are folders of the usual names, if there are any."""
    pattern = _compiled(options.label_pattern or "")
    roles = {
        child: ROLE_OF_WORD[child.name.lower()] for child in visible_folders(path) if child.name.lower() in ROLE_OF_WORD
    }
    listings = {folder: list_files(folder, SOUND_SUFFIXES) for folder in roles} or {
        path: list_files(path, SOUND_SUFFIXES)
    }
    parts = []
    for folder, listing in listings.items():
        files = list(listing.files)
        found = [pattern.search(file.stem) for file in files]
        unnamed = [file for file, match in zip(files, found, strict=True) if match is None or not match[1]]
        if unnamed:
            more = f" and {len(unnamed) - _MAX_NAMED} more" if len(unnamed) > _MAX_NAMED else ""
            raise DataError(
                f"The names of all sounds in {str(folder)!r} must fit data.label_pattern {pattern.pattern!r}, but "
                f"{', '.join(repr(file.name) for file in unnamed[:_MAX_NAMED])}{more} do not. Correct the rule, or "
                "take these sounds away."
            )
        labels = [match[1] for match in found if match is not None]
        parts.append(_part(roles.get(folder, "train"), folder, files, labels))
    notes = tuple(note for folder, listing in listings.items() for note in listing.notes(folder, "sounds"))
    return sound_dataset(name, parts, options, notes=notes)


def _compiled(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except (re.error, RecursionError, OverflowError) as exc:
        raise ConfigError(f"`data.label_pattern` must be a regular expression, got {text!r}: {exc}.") from exc
    if pattern.groups != 1:
        raise ConfigError(
            f"`data.label_pattern` must have one group (in parentheses), which is the class, got {text!r} with "
            f"{pattern.groups}. An example: '^([^_]+)_' takes what stands before the first underscore."
        )
    return pattern
