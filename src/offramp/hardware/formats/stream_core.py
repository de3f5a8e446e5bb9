"""Core files of Stream: where they lie, and what kind of core they describe."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from offramp.errors import AcceleratorError
from offramp.hardware.accelerator import CoreKind
from offramp.hardware.field_types import Items, Name, Text, must
from offramp.hardware.formats.core_block import CoreBlock
from offramp.hardware.formats.faults import Faults
from offramp.hardware.formats.yaml_file import read_yaml

CORE_FOLDER = "cores"
KINDS = ("compute", "offchip", "pooling", "simd")
POOLING_OPS = frozenset(
    {"MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "Pool", "Pooling", "LpPool", "GlobalLpPool"}
)
MATRIX_OPS = frozenset({"Conv", "Gemm", "MatMul", "Einsum", "ConvTranspose", "QLinearConv", "QLinearMatMul"})


def _known_type(value: str) -> str:
    namespace, _, kind = value.rpartition(".")
    if namespace not in ("", "zigzag"):
        raise ValueError(f"must be in the namespace zigzag, whose cores have memories and an array, got {value!r}")
    if kind not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)} (perhaps with zigzag. before it), got {value!r}")
    return kind


@dataclass(frozen=True, kw_only=True)
class StreamCore(CoreBlock):
    """A core file.

    Attributes:
        name: Not used: cores are called by kind and number.
        type: compute, offchip, pooling or simd, perhaps with ``zigzag.`` before it; empty where left out.
        operator_types: ONNX operators that the core runs; none where it runs whatever its kind says.
        operand_precision: Not used: bit widths are those of the network.
        utilization: Share of the peak in percent; only 100 is understood.
    """

    name: Text = ""
    type: Annotated[Text, AfterValidator(_known_type)] = ""
    operator_types: Items[Name] = ()
    operand_precision: Any = None
    utilization: Annotated[
        Any, must(lambda value: value in (None, 100), "must be 100 where it is given, got {value}")
    ] = None


def stated_kind(data: Mapping[str, Any]) -> CoreKind | str:
    """What a core may run, as its file says.

    Args:
        data: The content of the core file.

    Returns:
        The kind, or a sentence where the file's operators fit none.
    """
    word = str(data.get("type") or "").rpartition(".")[2]
    if word in KINDS and word != "compute":
        return CoreKind(word)
    names = data.get("operator_types")
    operators = {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
    if not operators or operators & MATRIX_OPS:
        return CoreKind.COMPUTE
    pooling = operators & POOLING_OPS
    if pooling == operators:
        return CoreKind.POOLING
    if not pooling:
        return CoreKind.SIMD
    return (
        "`operator_types` must name the operators of one kind of core (convolutions and products, pooling, or "
        f"element-wise operators), got {', '.join(sorted(pooling))} beside {', '.join(sorted(operators - pooling))}"
    )


def read_core_file(file: str, path: Path, faults: Faults) -> Mapping[str, Any] | None:
    """Read the content of a core file.

    A bare name is looked for in the folder ``cores`` beside the accelerator's file, then beside it; a path from the top
    of Stream's repository is understood where the accelerator's file lies in such a tree.

    Args:
        file: The file's name, as the accelerator's file has it.
        path: The accelerator's file.
        faults: Gets the fault of a file that cannot be read.

    Returns:
        The content; None where there is a fault.
    """
    candidates = [*(parent / file for parent in path.absolute().parent.parents), path.parent / file]
    if "/" not in file:
        candidates = [path.parent / CORE_FOLDER / file, path.parent / file]
    there = [item for item in candidates if _exists(item)] or candidates[-1:]
    found = next((item for item in map(_resolved, there) if item and item.is_relative_to(path.parent.resolve())), None)
    if found is None or (found != _resolved(there[0]) and "/" not in file):
        faults.add("cores", f"core file {file!r} must lie in the folder of {path.name}")
        return None
    try:
        return read_yaml(found).data
    except AcceleratorError as exc:
        faults.add("cores", str(exc).rstrip("."))
        return None


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except (OSError, ValueError):  # too long a name, no permission, a zero byte
        return False


def _resolved(file: Path) -> Path | None:
    """The file that a path leads to, links followed; None where it leads nowhere."""
    try:
        return file.resolve()
    except (OSError, ValueError, RuntimeError):
        return None
