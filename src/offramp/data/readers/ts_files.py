"""Series of the UCR and UEA archives: text files ``Name_TRAIN.ts`` and ``Name_TEST.ts``."""

from pathlib import Path

from offramp.data.file_listing import is_leftover
from offramp.data.images.pixel_units import NamedArray
from offramp.data.raw_data import READERS, RawDataset, RawPart, ReadOptions, Role, role_of_file
from offramp.data.signals.float_arrays import float_samples
from offramp.data.signals.ts_text import parse_ts
from offramp.errors import ConfigError, DataError


class TsReader:
    """Reads the text format of the UCR and UEA archives."""

    description = "series of the UCR archive: Name_TRAIN.ts and Name_TEST.ts, their folder, or one file"

    def claims(self, path: Path) -> bool:
        return path.suffix.lower() == ".ts" if path.is_file() else bool(_files(path))

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        if options.kind not in (None, "series"):
            raise ConfigError(f"{str(path)!r} holds series, not {options.kind} (data.kind).")
        files, notes = _parts(path)
        parts = []
        for role, file in files.items():
            found = parse_ts(file)
            samples = float_samples(NamedArray(repr(str(file)), found.values), "series")
            notes = (*notes, *samples.notes)
            parts.append(RawPart(role, str(file), samples.samples, found.labels))
        stem = files["train"].stem
        return RawDataset(stem.rpartition("_")[0] or stem, tuple(parts), input_kind="series", notes=notes)


READERS.add("ts", TsReader())


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.ts") if file.is_file() and not is_leftover(file.name))


def _parts(path: Path) -> tuple[dict[Role, Path], tuple[str, ...]]:
    """The file of each part, and what was decided."""
    if path.is_dir():
        found: dict[Role, Path] = {}
        for file in _files(path):
            role = role_of_file(file.stem) or "train"
            if role in found:
                raise DataError(
                    f"{str(path)!r} must hold one data set, but {found[role].name!r} and {file.name!r} are both for "
                    f"{role}. Name one of them."
                )
            found[role] = file
        if "train" not in found:
            raise DataError(f"{str(path)!r} must hold a file for training (Name_TRAIN.ts), but it has none.")
        return found, ()
    other = path.with_name(f"{path.stem[: -len('_TRAIN')]}_TEST{path.suffix}")
    if path.stem.upper().endswith("_TRAIN") and other.is_file():
        return {"train": path, "test": other}, (f"{other.name!r} beside {path.name!r} is the test part.",)
    return {"train": path}, ()
