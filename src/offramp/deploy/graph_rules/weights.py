"""Checks of the tensors that an ONNX file carries."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.graph_rules.graph_demand import MAX_TENSOR_VALUES
from offramp.deploy.graph_rules.tensor_facts import (
    BITS,
    DOUBLE,
    FLOAT,
    INT32,
    INT64,
    MAX_CONTENT,
    UINT32,
    UINT64,
    RefusedGraph,
    TensorFacts,
)

# The typed field of each element type; those of fewer than 32 bits share one.
_TYPED = {FLOAT: "float_data", DOUBLE: "double_data", INT64: "int64_data", UINT32: "uint64_data", UINT64: "uint64_data"}
_DTYPES = {FLOAT: "<f4", DOUBLE: "<f8", INT64: "<i8", INT32: "<i4"}
# Values that are looked at together: those of a file may lie at any byte, and numpy copies them for arithmetic.
_BLOCK = 1 << 20
_ALLOWED = frozenset({"dims", "data_type", "name", "raw_data", "int32_data", *_TYPED.values()})


def weight_facts(tensor: Any, raw: bytes | memoryview) -> TensorFacts:
    """Check a tensor of a file.

    Args:
        tensor: The ONNX tensor.
        raw: Its raw data, in place of what it holds itself.

    Returns:
        What is known of it.

    Raises:
        RefusedGraph: Its data are in another file, are not as long as its shape says, or are NaN or infinite.
    """
    name = tensor.name[:100]
    if tensor.data_location == type(tensor).EXTERNAL or tensor.external_data:
        raise RefusedGraph("takes data from another file, which a bundle must not do")
    bits = BITS.get(tensor.data_type)
    typed = _TYPED.get(tensor.data_type, "int32_data")
    strange = [item.name for item, _ in tensor.ListFields() if item.name not in _ALLOWED and item.name != "doc_string"]
    other = [item for item in _ALLOWED if item.endswith("_data") and item not in ("raw_data", typed)]
    if bits is None or strange or any(len(getattr(tensor, item)) for item in other):
        raise RefusedGraph(f"has a tensor {name!r} of a kind that no bundle has ({tensor.data_type})")
    dims = tuple(tensor.dims)
    if len(dims) > 8 or any(size < 0 for size in dims):
        raise RefusedGraph(f"has a tensor {name!r} with a negative size or too many axes: {list(dims[:16])}")
    count = math.prod(dims)
    # Values of fewer than 8 bits are packed into bytes, in both forms.
    length, entries = -(-count * bits // 8), -(-count * bits // 8) if bits < 8 else count
    listed = getattr(tensor, typed)
    right = len(raw) == length and not listed if raw else len(listed) == entries
    if count > MAX_TENSOR_VALUES or not right:
        raise RefusedGraph(
            f"has a tensor {name!r} of shape {list(dims)}, which must have {length if raw else entries} "
            f"{'bytes' if raw else 'values'}, at most {MAX_TENSOR_VALUES} of them, but it has {len(raw) or len(listed)}"
        )
    small = count <= MAX_CONTENT and len(dims) <= 1
    content = _checked_values(tensor.data_type, raw, listed, name, small=small)
    numbers = None
    if small and tensor.data_type == FLOAT:
        numbers = tuple(float(value) for value in (np.frombuffer(raw, _DTYPES[FLOAT]) if raw else listed))
    return TensorFacts(tensor.data_type, dims, content, constant=True, numbers=numbers)


def _checked_values(
    element: int, raw: bytes | memoryview, listed: Any, name: str, *, small: bool
) -> tuple[int, ...] | None:
    dtype = _DTYPES.get(element)
    if dtype is None:
        return None
    if element in (FLOAT, DOUBLE):
        values = np.frombuffer(raw, dtype) if raw else np.array(listed, dtype)
        if not all(_finite(values[start : start + _BLOCK]) for start in range(0, values.size, _BLOCK)):
            raise RefusedGraph(f"has a tensor {name!r} with NaN or infinite values")
        return None
    if not small:
        return None
    return tuple(int(value) for value in (np.frombuffer(raw, dtype) if raw else listed))


def _finite(values: NDArray[Any]) -> bool:
    # One pass without an array of booleans: the sum of squares is finite only where all values are.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.dot(values, values)) or np.isfinite(values).all())
