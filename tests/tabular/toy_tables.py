"""A small table with random answers and costs, of whose networks all can be tried."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.search_space import BackboneSpace, StageSpace
from offramp.tabular.logit_codes import encode_logits
from offramp.tabular.table_file import TableEntry, TableLayer, write_table
from offramp.tabular.table_header import SCHEMA, TableAccelerator, TableHeader
from offramp.tabular.table_space import every_backbone

SIZES = {"validation": 70, "test": 50}
CLASSES = 4


def toy_space() -> EarlyExitSpace:
    """Eight backbones of two to four blocks: depths 1 and 2 in two stages, and two widths in the first."""
    stages = (StageSpace(depths=(1, 2), widths=(4, 8)), StageSpace(depths=(1, 2), widths=(8,)))
    return EarlyExitSpace(
        backbone=BackboneSpace("toy", (8,), stages),
        branches=("conv", "pool_linear"),
        measures=("max_probability", "entropy"),
        accuracy_drops=(0.0, 0.05),
        max_exits=2,
    )


def toy_header(bits: int = 8) -> TableHeader:
    """A header of the table that `write_toy_table` writes."""
    return TableHeader(
        schema=SCHEMA,
        data="toy",
        licence="CC0-1.0",
        origin="random numbers",
        class_names=tuple("abcd"),
        input_shape=(1, 8, 8),
        space=toy_space(),
        validation_samples=SIZES["validation"],
        test_samples=SIZES["test"],
        code_bits=bits,
        confidence_errors={"max_probability": 0.01},
        accelerators=(TableAccelerator("one", "toy costs"), TableAccelerator("two", "toy costs")),
    )


def toy_entries(bits: int = 8, seed: int = 0) -> tuple[dict[str, np.ndarray], list[TableEntry]]:  # type: ignore[type-arg]
    """Labels by split, and one entry per backbone; later exits are right more often and cost more."""
    rng, space = np.random.default_rng(seed), toy_space()
    labels = {split: rng.integers(CLASSES, size=count) for split, count in SIZES.items()}
    entries = []
    for backbone in every_backbone(space):
        options = space.exit_options(backbone)
        count = len(options) + 1
        codes = {}
        for split, truth in labels.items():
            logits = rng.normal(size=(count, len(truth), CLASSES))
            logits[:, np.arange(len(truth)), truth] += np.linspace(0.5, 2.5, count)[:, None]
            codes[split] = encode_logits(3 * logits, bits)
        taps = np.asarray([*(option.tap + 1 for option in options), 9.0])
        to_tap = taps[None, :, None] * rng.uniform(900, 1100, size=(2, 1, 3)) * backbone.stages[0].width
        branch = rng.uniform(50, 300, size=(2, count, 3))
        layers = tuple(TableLayer(f"layer {row}", "conv", row, row % 2 == 1, 10 * row) for row in range(count))
        layer_costs = rng.uniform(1, 2, size=(2, count, 2)).astype(np.float32)
        entries.append(TableEntry(codes, to_tap.round(), branch.round(), layers, layer_costs))
    return labels, entries


def write_toy_table(path: Path, bits: int = 8, seed: int = 0) -> Path:
    """Write the table, and return its path."""
    labels, entries = toy_entries(bits, seed)
    write_table(path, replace(toy_header(bits)), labels, entries)
    return path
