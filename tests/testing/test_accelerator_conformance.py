"""Every shipped accelerator passes the checks, and each check can fail."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offramp.hardware.accelerator import Accelerator, ArrayDimension, Link, SpatialLoop
from offramp.hardware.loader import CATALOG, accelerator_names, load_accelerator
from offramp.testing.accelerator_conformance import (
    check_accelerator,
    check_arrays,
    check_links,
    check_published_figures,
    check_sources,
)

CHIP = load_accelerator("mcu")


@pytest.mark.parametrize("name", accelerator_names())
def test_shipped_accelerators_pass(name: str) -> None:
    check_accelerator(name)


def test_a_file_passes_under_its_own_name_only(tmp_path: Path) -> None:
    text = (CATALOG / "mcu.yaml").read_text()
    (tmp_path / "mcu.yaml").write_text(text)
    check_accelerator(tmp_path / "mcu.yaml")
    (tmp_path / "other.yaml").write_text(text)
    with pytest.raises(AssertionError, match="`name` must be that of the file, 'other', got 'mcu'"):
        check_accelerator(tmp_path / "other.yaml")


def with_core(**changes: Any) -> Accelerator:
    return replace(CHIP, cores=(replace(CHIP.cores[0], **changes), *CHIP.cores[1:]))


@pytest.mark.parametrize(
    ("check", "broken", "says"),
    [
        (check_sources, replace(CHIP, description=""), "must have a description"),
        (check_sources, replace(CHIP, sources=()), "must have sources"),
        (check_sources, with_core(source=""), "core 'cpu' must have a source"),
        (check_arrays, with_core(array=(ArrayDimension("D1", 0),)), "core 'cpu' must have an array of at least one"),
        (check_arrays, with_core(dataflow=(SpatialLoop("D1", "K", 2),)), "core 'cpu' unrolls 2, more than 1"),
        (check_links, replace(CHIP, links=(Link("cpu", "npu", 8),)), "links must join cores, got npu"),
        (check_links, replace(CHIP, links=()), "every core must have a link, cpu, flash has none"),
    ],
)
def test_each_check_can_fail(check: Callable[[Accelerator], None], broken: Accelerator, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check(broken)


def test_a_published_figure_that_is_not_met_fails() -> None:
    quad = load_accelerator("edge-tpu-quad")
    check_published_figures(quad)
    row = quad.reference[0]
    wrong = replace(row, cycles=(row.cycles or 1.0) * 1.1)
    with pytest.raises(AssertionError, match="must be priced as published"):
        check_published_figures(replace(quad, reference=(wrong,)))
