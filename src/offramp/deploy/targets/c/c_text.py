"""Text of C constants."""

from importlib.resources import files as package_files
from typing import Any

import numpy as np
from numpy.typing import NDArray

_VALUES_IN_A_LINE = 24


def template(name: str, prefix: str, values: dict[str, object]) -> str:
    """Fill in a file of this package.

    Args:
        name: Its path below the package, such as ``"kernels/add.h"``.
        prefix: What stands for PREFIX and, in capitals, for UPPER.
        values: What stands for each ``@NAME@``.

    Returns:
        The text.
    """
    text = package_files("offramp.deploy.targets.c").joinpath(*name.split("/")).read_text(encoding="ascii")
    for macro in ("HEIGHT", "WIDTH", "CHANNELS", "EXITS", "CLASSES", "RULE"):
        text = text.replace(f"PREFIX_{macro}", f"UPPER_{macro}")
    text = text.replace("PREFIX_", f"{prefix}_").replace("UPPER_", f"{prefix.upper()}_")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def array_text(kind: str, name: str, values: NDArray[Any]) -> str:
    """Write a constant array; of two dimensions where the values have two.

    Args:
        kind: The type.
        name: Its name.
        values: Integers.

    Returns:
        A definition.
    """
    if values.ndim == 2:
        rows = ",\n".join(f"    {{{_wrapped(row)}}}" for row in values)
        return f"{kind} {name}[{values.shape[1]}] = {{\n{rows}\n}};\n"
    return f"{kind} {name}[{values.size}] = {{\n{_wrapped(values)}\n}};\n"


def float_text(value: np.float32) -> str:
    """Write a float32 number so that C reads the same one.

    Args:
        value: The number.

    Returns:
        A literal.
    """
    text = f"{float(value):.9g}"
    return f"{text if '.' in text or 'e' in text else text + '.0'}f"


def comment_text(name: str) -> str:
    """Limit a name from a bundle to what cannot end a comment.

    Args:
        name: The name.

    Returns:
        At most 100 letters, digits and signs of names.
    """
    return "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name)[:100]


def _wrapped(values: NDArray[Any]) -> str:
    numbers = [str(int(value)) for value in values]
    starts = range(0, len(numbers), _VALUES_IN_A_LINE)
    return ",\n".join(", ".join(numbers[start : start + _VALUES_IN_A_LINE]) for start in starts)
