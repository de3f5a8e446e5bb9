"""The folder of a bundle: written beside its place, and moved there only when it is complete."""

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from offramp.deploy.bundle.bundle_files import MANIFEST_FILE
from offramp.errors import InputError
from offramp.files.safe_files import kind_of, read_file, sync_folder, write_atomically

_LARGEST_MANIFEST_BYTES = 1 << 24


def checked_target(destination: Path, *, overwrite: bool) -> Path:
    """Check where a bundle is to be written; only a bundle or an empty folder is ever replaced.

    Args:
        destination: The folder to write.
        overwrite: Whether a bundle that is there is replaced.

    Returns:
        The absolute path.

    Raises:
        InputError: If something else is there, a bundle that must stay, or one with files that it does not list.
    """
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise InputError(f"A bundle is a folder; {str(destination)!r} is something else. Give another path.")
    target = Path(destination).resolve()
    if target.is_dir() and any(target.iterdir()):
        if not (target / MANIFEST_FILE).is_file():
            raise InputError(f"{str(destination)!r} holds other files than a bundle. Give the path of a new folder.")
        if not overwrite:
            raise InputError(f"{str(destination)!r} is a bundle already. Allow overwriting or give another path.")
        check_no_others(target, MANIFEST_FILE)
    return target


def check_no_others(folder: Path, manifest_name: str) -> None:
    """Check that a folder which is to be replaced holds its manifest and the files that this lists, and nothing else.

    Args:
        folder: The folder.
        manifest_name: Name of its manifest.

    Raises:
        InputError: There are other files, which would be lost; some are named.
    """
    try:
        listed = json.loads(read_file(folder / manifest_name, limit=_LARGEST_MANIFEST_BYTES, follow_links=False))
        names = {str(item["name"]) for item in listed["files"]}
        found = {path.name: kind_of(path) for path in folder.iterdir()}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise InputError(
            f"Only what offramp wrote is replaced, but the {manifest_name} in {str(folder)!r} does not list its files. "
            "Give another path."
        ) from exc
    others = sorted(name for name, kind in found.items() if name not in {*names, manifest_name} or kind != "a file")
    if others:
        raise InputError(
            f"Only what offramp wrote is replaced, but {str(folder)!r} holds {', '.join(map(repr, others[:5]))} too. "
            "Move that away or give another path."
        )


@contextmanager
def new_bundle(target: Path) -> Iterator[Path]:
    """Make an empty folder beside a path, and move it there once it is filled; after an error nothing is left of it.

    Args:
        target: The path, see `checked_target`. A folder that is there is removed when the new one is in its place.

    Yields:
        The folder to fill.

    Raises:
        InputError: If something cannot be written or moved.
    """
    draft = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        yield draft
        _put_in_place(draft, target)
    except OSError as exc:
        raise InputError(f"A bundle cannot be written to {str(target)!r}: {exc.strerror or exc}.") from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a folder.

    Args:
        folder: The folder.
        contents: The contents by file name.
    """
    for file, content in contents.items():
        write_atomically(folder / file, content)


def _put_in_place(draft: Path, target: Path) -> None:
    if not target.exists():
        draft.rename(target)
        sync_folder(target.parent)
        return
    old = draft.with_suffix(".old")
    target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        old.rename(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)
