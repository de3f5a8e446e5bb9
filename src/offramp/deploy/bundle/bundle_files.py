"""The files of a bundle, in a folder or in a .zip: read by plain name, never extracted, never more than declared."""

import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Protocol

from offramp.errors import BundleError
from offramp.files.safe_files import open_to_read

MANIFEST_FILE = "manifest.json"

# Weights hardly shrink, and a manifest is text: what shrinks further was made to fill memory.
_MAX_SHRINKAGE, _SMALL_BYTES = 50, 2**20
_MAX_MEMBERS = 1000
_MOST_NAMED = 6
_WHAT = f"A bundle is a folder with a {MANIFEST_FILE}, or a .zip of one;"


class BundleFiles(Protocol):
    """Where a bundle's files come from."""

    def where(self, name: str) -> str:
        """The file's place, for messages.

        Args:
            name: Name of a file of the bundle.

        Returns:
            Where it is, for messages.
        """
        ...

    def read(self, name: str, limit_bytes: int) -> bytes:
        """Contents of the file; raises BundleError where it is missing or larger than ``limit_bytes``.

        Args:
            name: Name of a file of the bundle.
            limit_bytes: The largest size that is read.

        Returns:
            The content.
        """
        ...


def open_files(bundle: Path) -> BundleFiles:
    """The files of a bundle: a folder, or a .zip with the files at its top or in one folder.

    Args:
        bundle: A bundle: a folder, or a .zip of one.

    Returns:
        The files of the bundle.

    Raises:
        BundleError: If there is no bundle.
    """
    if bundle.is_dir():
        return _Folder(bundle)
    if not bundle.exists():
        raise BundleError(
            f"A bundle is a folder with a {MANIFEST_FILE}, or a .zip of one; there is no {str(bundle)!r}."
        )
    if not bundle.is_file() or not zipfile.is_zipfile(bundle):
        raise BundleError(f"{_WHAT} {str(bundle)!r} is not a folder and no .zip.")
    return _Zip(bundle)


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def where(self, name: str) -> str:
        return str(self._path / name)

    def read(self, name: str, limit_bytes: int) -> bytes:
        path = self._path / name
        if name == MANIFEST_FILE and (path.is_symlink() or not path.is_file()):
            raise BundleError(f"A bundle must hold a {MANIFEST_FILE}, but {str(self._path)!r} has none.{self._near()}")
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{str(path)!r} must be a regular file of the bundle, but it is missing or a link.")
        return read_limited(path, limit_bytes)

    def _near(self) -> str:
        """A sentence that names the bundles of a run, for whoever gave the folder of the run."""
        found = sorted(path.parent for path in self._path.glob(f"chosen/*/bundle/{MANIFEST_FILE}"))
        found += sorted(path.parent for path in self._path.glob(f"bundle/{MANIFEST_FILE}"))
        names = ", ".join(repr(str(path)) for path in found[:_MOST_NAMED])
        return f" Its bundles are {names}{', ...' if len(found) > _MOST_NAMED else ''}." if found else ""


class _Zip:
    """Members are read into memory under their own names, so that no name can lead out of a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        # Damaged archives end in all of these.
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as exc:
            raise BundleError(f"{str(path)!r} must be a .zip of a bundle, but it cannot be read: {exc}.") from exc
        if len(members) > _MAX_MEMBERS:
            raise BundleError(f"{str(path)!r} must have at most {_MAX_MEMBERS} files, but it has {len(members)}.")
        self._members = {member.filename: member for member in members}
        self._check_names(Counter(member.filename for member in members))
        tops = [name for name in self._members if PurePosixPath(name).name == MANIFEST_FILE]
        if len(tops) != 1 or len(PurePosixPath(tops[0]).parts) > 2:
            raise BundleError(
                f"A bundle must hold one {MANIFEST_FILE}, at the top of {str(path)!r} or in a folder of it; "
                f"found {len(tops)}: {', '.join(tops[:3]) or 'none'}."
            )
        self._folder = tops[0].removesuffix(MANIFEST_FILE)

    def _check_names(self, counts: Counter[str]) -> None:
        for name, count in counts.items():
            parts = name.split("/")
            if name.startswith("/") or "\\" in name or ".." in parts or ":" in name or count > 1:
                raise BundleError(
                    f"{str(self._path)!r} must hold files by plain and different names, but it has {count} named "
                    f"{name!r}. Nothing was read or written."
                )

    def where(self, name: str) -> str:
        return f"{self._path}:{self._folder}{name}"

    def read(self, name: str, limit_bytes: int) -> bytes:
        member = self._members.get(self._folder + name)
        if member is None:
            raise BundleError(f"{self.where(name)!r} must be a file of the bundle, but it is missing.")
        if member.file_size > limit_bytes:
            raise BundleError(f"{self.where(name)!r} must have at most {limit_bytes} bytes, but it has more.")
        if member.file_size > max(_SMALL_BYTES, _MAX_SHRINKAGE * member.compress_size):
            raise BundleError(f"{self.where(name)!r} unpacks to more than {_MAX_SHRINKAGE} times its size.")
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(member) as stream:
                content = stream.read(limit_bytes + 1)
        # RuntimeError: an encrypted member; NotImplementedError: a way of packing that Python has not.
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as exc:
            raise BundleError(f"{self.where(name)!r} cannot be unpacked: {exc}.") from exc
        if len(content) > limit_bytes:
            raise BundleError(f"{self.where(name)!r} must have at most {limit_bytes} bytes, but it has more.")
        return content


def read_limited(path: Path, limit_bytes: int) -> bytes:
    """Contents of a file that must not be larger than ``limit_bytes``.

    Args:
        path: The file.
        limit_bytes: The largest size that is read.

    Returns:
        The content.

    Raises:
        BundleError: If the file cannot be read, or is larger.
    """
    try:
        with open_to_read(path) as stream:
            content = stream.read(limit_bytes + 1)
    except OSError as exc:
        raise BundleError(f"{str(path)!r} cannot be read: {exc.strerror or exc}.") from exc
    if len(content) > limit_bytes:
        raise BundleError(f"{str(path)!r} must have at most {limit_bytes} bytes, but it is larger.")
    return content
