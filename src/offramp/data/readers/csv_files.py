"""Tables of comma-separated values: one row a sample, or long form with an id column; one file a part."""

from pathlib import Path

from offramp.data.file_listing import is_leftover
from offramp.data.raw_data import READERS, RawDataset, ReadOptions, Role, role_of_file
from offramp.data.signals.csv_table import read_csv
from offramp.data.signals.table_parts import dataset_of_tables
from offramp.errors import DataError


class CsvReader:
    """Reads series and vectors from tables."""

    description = "a .csv file with a label column, one row a sample or one row a step; or a folder with train.csv, ..."

    def claims(self, path: Path) -> bool:
        return (
            path.suffix.lower() == ".csv" if path.is_file() else any(role_of_file(file.stem) for file in _files(path))
        )

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        files: dict[Role, Path] = {"train": path} if path.is_file() else _parts(path)
        tables = {file: read_csv(file) for file in files.values()}
        return dataset_of_tables(
            path.resolve().stem, [(role, f"{str(file)!r}", tables[file]) for role, file in files.items()], options
        )


READERS.add("csv", CsvReader())


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.csv") if file.is_file() and not is_leftover(file.name))


def _parts(folder: Path) -> dict[Role, Path]:
    """The files of a folder whose names say which part they are."""
    found: dict[Role, Path] = {}
    for file in _files(folder):
        role = role_of_file(file.stem)
        if role is None:
            continue
        if role in found:
            raise DataError(
                f"{str(folder)!r} must hold one table for each part, but {found[role].name!r} and {file.name!r} are "
                f"both for {role}."
            )
        found[role] = file
    return found
