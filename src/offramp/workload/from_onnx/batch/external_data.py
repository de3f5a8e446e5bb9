"""Contents of tensors that an ONNX file keeps in another file of its folder."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.files.safe_files import open_to_read

MAX_READ_BYTES = 64 * 1024**2
"""Larger tensors are not read: what is asked for are constants with an entry per sample, not weights."""


def read_external(tensor: Any, folder: Path) -> NDArray[Any] | None:
    """Read a tensor from the file that it names.

    Args:
        tensor: ONNX tensor whose data is external.
        folder: Folder of the ONNX file; a name that leads out of it is not followed, nor is a link.

    Returns:
        The content; None if it is not there, damaged, or larger than `MAX_READ_BYTES`.
    """
    from onnx import helper

    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        path = folder / entries["location"]
        offset = int(entries.get("offset", 0))
        wanted = int(np.prod(tensor.dims, dtype=np.int64)) * kind.itemsize
        if not path.resolve().is_relative_to(folder.resolve()) or not 0 <= wanted <= MAX_READ_BYTES or offset < 0:
            return None
        with open_to_read(path, follow_links=False) as stream:
            stream.seek(offset)
            content = stream.read(wanted)
        return np.frombuffer(content, kind).reshape(tuple(tensor.dims))
    # The file is not there or cannot be read, or its statements about the tensor do not fit it.
    except (OSError, ValueError, LookupError, TypeError):
        return None
