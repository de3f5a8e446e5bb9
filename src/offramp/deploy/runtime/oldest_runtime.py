"""Which versions of onnxruntime run the files of a bundle."""

import re

from offramp.errors import BundleError

# The oldest versions that ran such files, of those that Python 3.11 can install; none in between failed. 4-bit weights
# need opset 21 and 2-bit weights opset 25, so the opset tells them apart.
_OLDEST = ((18, "1.15.0"), (21, "1.23.0"), (25, "1.24.1"))

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def oldest_runtime(opset: int) -> str:
    """Name the oldest version of onnxruntime that runs files of an opset as offramp writes them.

    Args:
        opset: The highest opset of the files.

    Returns:
        The version, such as ``1.15.0``.

    Raises:
        ValueError: If offramp writes no file of this opset.
    """
    for highest, version in _OLDEST:
        if opset <= highest:
            return version
    raise ValueError(f"`opset` must be at most {_OLDEST[-1][0]}, got {opset}")


def is_version(text: str) -> bool:
    """Say whether a text is a version of onnxruntime.

    Args:
        text: Any text.

    Returns:
        Whether it consists of two or three numbers with points between them.
    """
    return _VERSION.fullmatch(text) is not None


def is_installed(oldest: str) -> bool:
    """Say whether the installed onnxruntime is new enough.

    Args:
        oldest: The oldest version that will do.

    Returns:
        Whether the installed version is this one or a newer one.
    """
    import onnxruntime

    return _numbers(onnxruntime.__version__) >= _numbers(oldest)


def check_runtime(oldest: str | None, what: str) -> None:
    """Check that the installed onnxruntime is new enough for a bundle or a detector.

    Args:
        oldest: The oldest version that its manifest states; None where it states none.
        what: What is loaded, for messages.

    Raises:
        BundleError: If the installed version is older.
    """
    import onnxruntime

    if oldest is None or is_installed(oldest):
        return
    narrow = _numbers(oldest) > _numbers(_OLDEST[0][1])
    other = ", or store its 4-bit and ternary weights in 8 bits with `offramp export-int8`" if narrow else ""
    raise BundleError(
        f"{what} needs onnxruntime {oldest} or newer, but {onnxruntime.__version__} is installed. "
        f"Install a newer onnxruntime{other}."
    )


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version; what follows them, as in 1.24.0.dev1, does not count."""
    found = _VERSION.match(version)
    return tuple(int(part or 0) for part in found.groups()) if found else ()
