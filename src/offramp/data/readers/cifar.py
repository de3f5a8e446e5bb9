"""The official CIFAR-10 and CIFAR-100 archives, binary version: a folder of .bin files or the .tar.gz itself."""

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from offramp.data.raw_data import READERS, RawDataset, RawPart, ReadOptions, Role
from offramp.errors import DataError
from offramp.files.safe_files import read_file

_PIXELS = 3 * 32 * 32
_MAX_MEMBER_BYTES = 256 * 2**20
_MAX_ARCHIVE_BYTES = 2**30
_ARCHIVE_SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_FOLDERS = ("cifar-10-batches-bin", "cifar-100-binary", "cifar-10-batches-py", "cifar-100-python")
_PICKLES = frozenset(("data_batch_1", "test_batch", "batches.meta", "meta"))


@dataclass(frozen=True)
class _Layout:
    """Files and records of one of the two data sets; ``kinds`` are the label bytes before the pixels, in order."""

    name: str
    files: dict[Role, tuple[str, ...]]
    kinds: dict[str, str]
    default_kind: str

    @property
    def wanted(self) -> frozenset[str]:
        return frozenset((*self.kinds.values(), *(name for names in self.files.values() for name in names)))

    def files_there(self, names: set[str]) -> int:
        return sum(name in names for files in self.files.values() for name in files)


_CIFAR10 = _Layout(
    "cifar10",
    {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
    {"label": "batches.meta.txt"},
    "label",
)
_CIFAR100 = _Layout(
    "cifar100",
    {"train": ("train.bin",), "test": ("test.bin",)},
    {"coarse": "coarse_label_names.txt", "fine": "fine_label_names.txt"},
    "fine",
)
_LAYOUTS = (_CIFAR10, _CIFAR100)
_WANTED = frozenset().union(*(layout.wanted for layout in _LAYOUTS))


class CifarReader:
    """Reads the binary version of CIFAR-10 and CIFAR-100."""

    description = "the binary version of CIFAR-10 or CIFAR-100: a folder of .bin files, or the .tar.gz"

    def claims(self, path: Path) -> bool:
        if path.is_file():
            return path.name.lower().endswith((*_ARCHIVE_SUFFIXES, ".bin", ".pkl", ".pickle"))
        names = {child.name for child in path.iterdir()}
        return bool(names & (_WANTED | _PICKLES | set(_FOLDERS)))

    def read(self, path: Path, options: ReadOptions) -> RawDataset:
        if path.is_dir():
            files = _from_folder(_data_folder(path))
        elif path.name.lower().endswith(_ARCHIVE_SUFFIXES):
            files = _from_archive(path)
        elif path.suffix.lower() == ".bin":
            raise DataError(
                f"{str(path)!r} is one file of an archive; name the folder with all its .bin files instead."
            )
        else:
            raise _pickle_refusal(path)
        layout = _layout_of(path, files)
        kind = _kind_of_label(path, layout, options.label_column)
        names = _class_names(path, layout, kind, files)
        parts = tuple(_part(path, role, layout, kind, files) for role in layout.files)
        return RawDataset(layout.name, parts, names)


READERS.add("cifar", CifarReader())


def _data_folder(path: Path) -> Path:
    inner = [path / name for name in _FOLDERS if (path / name).is_dir()]
    if len(inner) > 1:
        raise DataError(
            f"{str(path)!r} must hold one data set, got {', '.join(p.name for p in inner)}. Name one of them."
        )
    return inner[0] if inner else path


def _from_folder(folder: Path) -> dict[str, bytes]:
    names = {child.name for child in folder.iterdir() if child.is_file()}
    if names & _PICKLES and not names & _WANTED:
        raise _pickle_refusal(folder)
    for name in sorted(names & _WANTED):
        _check_size(f"{folder / name}", (folder / name).stat().st_size)
    return {name: read_file(folder / name) for name in sorted(names & _WANTED)}


def _from_archive(path: Path) -> dict[str, bytes]:
    """Known members by their file names; nothing is written to disk, so a member's folder does not matter."""
    files: dict[str, bytes] = {}
    names: set[str] = set()
    total_bytes = 0
    with _archive_errors(path), tarfile.open(path) as archive:
        for member in archive:
            total_bytes += member.size
            if total_bytes > _MAX_ARCHIVE_BYTES:
                raise DataError(
                    f"{str(path)!r} must unpack to at most {_MAX_ARCHIVE_BYTES} bytes; this is no CIFAR archive."
                )
            name = PurePosixPath(member.name).name
            if not member.isfile():
                continue
            names.add(name)
            if name not in _WANTED:
                continue
            if name in files:
                raise DataError(f"{str(path)!r} must hold {name} once, but it is there twice.")
            _check_size(f"{path} ({member.name})", member.size)
            stream = archive.extractfile(member)
            files[name] = stream.read() if stream else b""
    if names & _PICKLES and not files:
        raise _pickle_refusal(path)
    return files


@contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise
    # OSError: a gzip stream whose checksum is wrong.
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as exc:
        reason = str(exc).partition("\n")[0].rstrip(":")
        raise DataError(
            f"{str(path)!r} cannot be unpacked ({reason}): it is damaged or cut short. Download it again."
        ) from exc


def _check_size(where: str, size: int) -> None:
    if size > _MAX_MEMBER_BYTES:
        raise DataError(f"{where!r} must have at most {_MAX_MEMBER_BYTES} bytes, got {size}: this is no CIFAR file.")


def _pickle_refusal(path: Path) -> DataError:
    return DataError(
        f"{str(path)!r} is the Python version of CIFAR, which is made of pickles: loading one can run any program, "
        "so offramp never does. Use the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz)."
    )


def _layout_of(path: Path, files: dict[str, bytes]) -> _Layout:
    layout = max(_LAYOUTS, key=lambda candidate: candidate.files_there(set(files)))
    missing = [name for names in layout.files.values() for name in names if name not in files]
    if missing:
        raise DataError(
            f"{str(path)!r} must hold all files of a CIFAR archive, but {', '.join(missing)} is missing "
            f"(found {', '.join(sorted(files)) or 'none of them'}). Download or unpack it again."
        )
    return layout


def _kind_of_label(path: Path, layout: _Layout, label_column: str | None) -> str:
    kind = layout.default_kind if label_column is None else label_column.removesuffix("_label")
    if kind not in layout.kinds:
        raise DataError(
            f"{str(path)!r} has no labels {label_column!r}; `label_column` may be {', '.join(layout.kinds)}."
        )
    return kind


def _class_names(path: Path, layout: _Layout, kind: str, files: dict[str, bytes]) -> tuple[str, ...] | None:
    name = layout.kinds[kind]
    if name not in files:
        return None
    try:
        names = tuple(line.strip() for line in files[name].decode().splitlines() if line.strip())
    except UnicodeDecodeError as exc:
        raise DataError(f"{name} in {str(path)!r} must be text with one class name a line, but it is not.") from exc
    if not names or len(names) > 256:
        raise DataError(f"{name} in {str(path)!r} must name 1 to 256 classes, got {len(names)}.")
    return names


def _part(path: Path, role: Role, layout: _Layout, kind: str, files: dict[str, bytes]) -> RawPart:
    num_labels = len(layout.kinds)
    record_bytes = num_labels + _PIXELS
    records = []
    for name in layout.files[role]:
        if not files[name] or len(files[name]) % record_bytes:
            raise DataError(
                f"{name} in {str(path)!r} must consist of records of {record_bytes} bytes, but it has "
                f"{len(files[name])} bytes: it is cut short or of another kind. Download it again."
            )
        records.append(np.frombuffer(files[name], dtype=np.uint8).reshape(-1, record_bytes))
    table = np.concatenate(records)
    images = np.ascontiguousarray(table[:, num_labels:]).reshape(-1, 3, 32, 32)
    labels = table[:, list(layout.kinds).index(kind)].astype(np.int64)
    return RawPart(role, f"{path} ({', '.join(layout.files[role])})", images, labels)
