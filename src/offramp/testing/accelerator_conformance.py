"""What every accelerator file must do, as checks that raise AssertionError with a sentence."""

import math
from pathlib import Path

from offramp.cost.engines.formula.engine import FormulaEngine
from offramp.cost.engines.formula.peak_efficiency import compare_peaks
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.published_figures import compare_with_reference
from offramp.hardware.accelerator import Accelerator, Core, CoreKind
from offramp.hardware.loader import load_accelerator


def check_accelerator(name_or_path: str | Path) -> None:
    """Check an accelerator that others are to use: sources, arrays, links and published figures.

    Args:
        name_or_path: The name of a shipped accelerator, or the path of its file.

    Raises:
        InputError: The file cannot be read, or has faults.
        AssertionError: A source or a description is missing, an array or a link is not consistent, or a published
            figure is not met.
    """
    accelerator = load_accelerator(name_or_path)
    stem = Path(name_or_path).stem
    _require(accelerator.name == stem, f"`name` must be that of the file, {stem!r}, got {accelerator.name!r}")
    check_sources(accelerator)
    check_arrays(accelerator)
    check_links(accelerator)
    check_published_figures(accelerator)


def check_sources(accelerator: Accelerator) -> None:
    """Check that a reader learns what the accelerator is and where its figures come from.

    Args:
        accelerator: The accelerator.

    Raises:
        AssertionError: The description, the list of sources or the source of a core is empty.
    """
    _require(bool(accelerator.description), f"{accelerator.name} must have a description")
    _require(bool(accelerator.sources), f"{accelerator.name} must have sources")
    for core in accelerator.cores:
        _require(bool(core.source), f"core {core.name!r} must have a source")


def check_arrays(accelerator: Accelerator) -> None:
    """Check the peak of each core: the product of its array's sizes, which a fixed dataflow does not exceed.

    Args:
        accelerator: The accelerator.

    Raises:
        AssertionError: A peak is not that product, a core that computes has none, or a dataflow unrolls more.
    """
    for core in accelerator.cores:
        peak = math.prod(dimension.size for dimension in core.array)
        given = core.peak_macs_per_cycle
        _require(given == peak, f"core {core.name!r} must have a peak of {peak} MACs per cycle, got {given}")
        is_memory = core.kind is CoreKind.OFFCHIP
        _require(is_memory or peak > 0, f"core {core.name!r} must have an array of at least one multiplier")
        unrolled = _unrolled(core)
        _require(unrolled <= max(peak, 1), f"the dataflow of core {core.name!r} unrolls {unrolled}, more than {peak}")


def _unrolled(core: Core) -> int:
    return math.prod(loop.size for loop in core.dataflow)


def check_links(accelerator: Accelerator) -> None:
    """Check that links join cores of the accelerator and that every core of several has one.

    Args:
        accelerator: The accelerator.

    Raises:
        AssertionError: A link names no core, or a core cannot be reached. Chips with formulas need no links.
    """
    names = {core.name for core in accelerator.cores}
    ends = {end for link in accelerator.links for end in (link.sender, link.receiver)}
    _require(ends <= names, f"links must join cores, got {', '.join(sorted(ends - names))}")
    if len(names) > 1 and accelerator.formulas is None:
        _require(ends == names, f"every core must have a link, {', '.join(sorted(names - ends))} has none")


def check_published_figures(accelerator: Accelerator) -> None:
    """Price the layers of the block `reference`, and the peaks of a chip with formulas.

    Args:
        accelerator: The accelerator.

    Raises:
        AssertionError: A price differs from the published figure by more than its tolerance.
    """
    engine = NativeEngine() if accelerator.formulas is None else FormulaEngine(accelerator)
    for row in (*compare_with_reference(accelerator, engine), *compare_peaks(accelerator)):
        difference = f"{row.priced:.6g} instead of {row.published:.6g}"
        _require(row.agrees, f"{row.layer}, {row.quantity} must be priced as published, got {difference}")


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(f"{sentence}.")
