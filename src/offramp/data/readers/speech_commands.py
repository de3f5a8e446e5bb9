"""Speech Commands as published: a folder of WAV files per word, and lists of the validation and test sounds."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.data.array_cache import listing_key
from offramp.data.file_listing import FileListing, is_leftover, list_files
from offramp.data.raw_data import READERS, RawDataset, RawPart, ReadOptions, Role
from offramp.data.sound.sound_features import KEYWORD_SAMPLES, KEYWORD_SHAPE, keyword_features
from offramp.data.sound.wav import read_wav
from offramp.data.sound.windows import window_starts
from offramp.errors import DataError
from offramp.progress import Task

WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
CLASS_NAMES = (*WORDS, "silence", "unknown")
_SILENCE, _UNKNOWN = len(WORDS), len(WORDS) + 1
_NOISE = "_background_noise_"
_LISTS: dict[Role, str] = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_ROLES: tuple[Role, ...] = ("train", "validation", "test")
# Each noise is divided in time, so that no part has the noise of another part.
_NOISE_ENDS: dict[Role, float] = {"train": 0.8, "validation": 0.9, "test": 1.0}
_MAX_LIST_BYTES = 64 * 2**20
_MAX_NAMED = 5


@dataclass(frozen=True)
class _Clip:
    """A second of a file: from sample ``start`` on."""

    path: Path
    label: int
    start: int = 0


class SpeechCommandsReader:
    """Reads ten words, silence and unknown words, as in MLPerf Tiny.

    Unknown words are reduced to the average number of sounds of the ten words. Silence is one second of background
    noise
    every half second.
    """

    description = "Speech Commands: a folder of .wav files per word, validation_list.txt, testing_list.txt"

    def claims(self, path: Path) -> bool:
        if not path.is_dir():
            return False
        # Folders of the same words alone are any data set of sounds.
        return any((path / name).exists() for name in (*_LISTS.values(), _NOISE))

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        if options.image_size is not None:
            raise DataError(
                f"{str(path)!r} holds speech, whose features are always {KEYWORD_SHAPE[0]}x{KEYWORD_SHAPE[1]}. "
                "Leave out `image_size`."
            )
        words = _words(path)
        long_sounds = _long_sounds(path, words, options)
        listed = {role: _listed(path, role, words) for role in _LISTS}
        twice = listed["validation"] & listed["test"]
        if twice:
            raise DataError(
                f"No sound of {str(path)!r} may be in both lists, but {min(twice)!r} is. Correct the lists."
            )
        parts = []
        for role in _ROLES:
            chosen = listed[role] if role in listed else words.keys() - listed["validation"] - listed["test"]
            kept = _reduced({name: words[name] for name in sorted(chosen)})
            clips = [clip for word in kept for clip in _windows_of(word, long_sounds, options)]
            parts.append(_part(path, role, clips + _silence(path, role), options))
        leftovers = FileListing(leftovers=list_files(path, (".wav",)).leftovers)
        notes = (*leftovers.notes(path, "sounds"), *_length_notes(path, len(words), len(long_sounds), options))
        return RawDataset(path.resolve().name, tuple(parts), CLASS_NAMES, "mfcc", notes)


READERS.add("speech_commands", SpeechCommandsReader())


def _words(root: Path) -> dict[str, _Clip]:
    """All spoken words by their name in the lists, such as ``yes/0a7c2a8d_nohash_0.wav``."""
    clips: dict[str, _Clip] = {}
    for folder in _word_folders(root):
        label = WORDS.index(folder.name) if folder.name in WORDS else _UNKNOWN
        found = _sounds(folder)
        if not found:
            raise DataError(f"The folder {str(folder)!r} must hold .wav files, but it has none. Remove or fill it.")
        clips |= {f"{folder.name}/{file.name}": _Clip(file, label) for file in found}
    missing = sorted(set(CLASS_NAMES) - {CLASS_NAMES[clip.label] for clip in clips.values()} - {"silence"})
    if missing:
        raise DataError(
            f"{str(root)!r} must have a folder of .wav files for each of the words {', '.join(WORDS)} and for at least "
            f"one other word, but there is none for: {', '.join(missing)}."
        )
    return clips


def _word_folders(root: Path) -> list[Path]:
    folders = (child for child in root.iterdir() if child.is_dir())
    return sorted(folder for folder in folders if folder.name[0] != "_" and not is_leftover(folder.name))


def _sounds(folder: Path) -> list[Path]:
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in files if file.suffix.lower() == ".wav" and not is_leftover(file.name))


def _listed(root: Path, role: Role, words: dict[str, _Clip]) -> set[str]:
    path = root / _LISTS[role]
    if not path.is_file():
        raise DataError(
            f"{str(root)!r} must hold {path.name}, which names the sounds for {role}, one a line (yes/1.wav), but it "
            "is missing. It is part of the published archive."
        )
    if path.stat().st_size > _MAX_LIST_BYTES:
        raise DataError(f"{str(path)!r} must be a list of at most {_MAX_LIST_BYTES} bytes.")
    try:
        names = {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except UnicodeDecodeError as exc:
        raise DataError(f"{str(path)!r} must be text, one sound a line, but it is not.") from exc
    absent = sorted(names - words.keys())
    if absent:
        more = f" and {len(absent) - _MAX_NAMED} more" if len(absent) > _MAX_NAMED else ""
        raise DataError(
            f"Every sound in {str(path)!r} must be there, but these are not: {', '.join(absent[:_MAX_NAMED])}{more}. "
            "Unpack the archive again."
        )
    if not names:
        raise DataError(f"{str(path)!r} must name at least one sound, but it is empty.")
    return names


def _reduced(words: dict[str, _Clip]) -> list[_Clip]:
    """The ten words, and a random sample of the others, chosen by the hash of their name."""
    known = [clip for clip in words.values() if clip.label != _UNKNOWN]
    others = sorted((name for name in words if words[name].label == _UNKNOWN), key=_shuffling_key)
    return known + [words[name] for name in others[: max(1, round(len(known) / len(WORDS)))]]


def _long_sounds(root: Path, words: dict[str, _Clip], options: ReadOptions) -> set[Path]:
    """Sounds of more than one second."""
    paths = [clip.path for clip in words.values()]

    def measure() -> NDArray[np.uint8]:
        lengths = np.empty(len(paths), dtype="<i8")
        with options.reporter.task(f"Measuring the sounds of {root.name}") as task:
            for index, path in enumerate(paths):
                lengths[index] = len(read_wav(path))
                task.update((index + 1) / len(paths), f"{index + 1} of {len(paths)}")
        return lengths.view(np.uint8).reshape(len(paths), 8, 1, 1)

    stored = options.cache.get(listing_key(root, paths, "lengths"), measure)
    lengths = np.ascontiguousarray(stored.reshape(len(paths), 8)).view("<i8")[:, 0]
    return {path for path, length in zip(paths, lengths, strict=True) if length > KEYWORD_SAMPLES}


def _windows_of(word: _Clip, long_sounds: set[Path], options: ReadOptions) -> list[_Clip]:
    if word.path not in long_sounds:
        return [word]
    starts = window_starts(read_wav(word.path), KEYWORD_SAMPLES, options.long_sounds)
    return [replace(word, start=start) for start in starts]


def _length_notes(root: Path, count: int, num_long: int, options: ReadOptions) -> tuple[str, ...]:
    if not num_long:
        return ()
    part = {
        "loudest": "the second with the most energy of each is taken",
        "start": "the first second of each is taken",
        "windows": "a second is taken every half second of each, all with its label",
    }[options.long_sounds]
    return (
        f"{num_long} of {count} sounds of {str(root)!r} are longer than one second: {part} "
        f"(data.long_sounds: {options.long_sounds}).",
    )


def _shuffling_key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _silence(root: Path, role: Role) -> list[_Clip]:
    folder = root / _NOISE
    files = _sounds(folder)
    if not files:
        raise DataError(
            f"{str(root)!r} must have a folder {_NOISE} with .wav files, of which silence is made, but there is none. "
            "It is part of the published archive."
        )
    clips: list[_Clip] = []
    for file in files:
        length = len(read_wav(file))
        earlier = [_NOISE_ENDS[other] for other in _ROLES[: _ROLES.index(role)]]
        begin, end = int(length * max(earlier, default=0.0)), int(length * _NOISE_ENDS[role])
        clips += [_Clip(file, _SILENCE, at) for at in range(begin, end - KEYWORD_SAMPLES + 1, KEYWORD_SAMPLES // 2)]
    if not clips:
        raise DataError(
            f"The sounds in {str(folder)!r} must be long enough for a second of each part: at least one of 10 s, "
            "of which 80 % are for training and 10 % each for validation and test."
        )
    return clips


def _part(root: Path, role: Role, clips: list[_Clip], options: ReadOptions) -> RawPart:
    starts = hashlib.sha256(repr([clip.start for clip in clips]).encode()).hexdigest()
    key = listing_key(root, [clip.path for clip in clips], "mfcc", role, starts)

    def decode() -> NDArray[np.uint8]:
        with options.reporter.task(f"Listening to {root.name} ({role})") as task:
            return _features(clips, task)

    labels = np.array([clip.label for clip in clips], dtype=np.int64)
    return RawPart(role, f"{root} ({role})", options.cache.get(key, decode), labels)


def _features(clips: list[_Clip], task: Task) -> NDArray[np.uint8]:
    features = np.empty((len(clips), 1, *KEYWORD_SHAPE), dtype=np.uint8)
    loaded: tuple[Path, NDArray[np.float32]] | None = None
    for index, clip in enumerate(clips):
        if loaded is None or loaded[0] != clip.path:  # a long noise is read once
            loaded = clip.path, read_wav(clip.path)
        features[index, 0] = keyword_features(loaded[1][clip.start : clip.start + KEYWORD_SAMPLES])
        if index % 64 == 0:
            task.update(index / len(clips), f"{index} of {len(clips)}")
    return features
