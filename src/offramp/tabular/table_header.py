"""The header of a table: what it is of, who may use it, and how large its arrays must be."""

from dataclasses import dataclass

from offramp.errors import TableError
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.tabular.logit_codes import CODE_TYPES
from offramp.tabular.table_space import num_backbones

SCHEMA = "offramp-table-1"
"""Version of the format. A table of another version is refused."""
SPLITS = ("validation", "test")
MOST_BACKBONES = 10_000
_MOST_SAMPLES = 1_000_000
_MOST_CLASSES = 10_000
_MOST_ACCELERATORS = 100
_MOST_EXITS = 1_000
_MOST_PER_BLOCK = 64


@dataclass(frozen=True)
class TableAccelerator:
    """An accelerator that a table has costs on.

    Attributes:
        name: Its name.
        cost_model: What priced the layers.
        leaves_out: What a real chip pays for and the costs do not include, a sentence each.
    """

    name: str
    cost_model: str
    leaves_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableHeader:
    """What a table is of.

    Attributes:
        schema: `SCHEMA`.
        data: Name of the data set.
        licence: Under which licence the table may be used, as its maker states it.
        origin: How the table was made, in one sentence.
        class_names: Names of the classes.
        input_shape: Channels, height and width of the samples.
        space: The search space; the table holds every backbone of it.
        validation_samples: Number of samples that candidates are chosen on.
        test_samples: Number of samples that chosen candidates are measured on.
        code_bits: Bits of a logit, 8 or 16.
        confidence_errors: Largest absolute error of a confidence that the codes cause, by measure, over all samples
            and exits of the table.
        accelerators: The accelerators that costs are known on.
        left_out: One sentence for each shipped accelerator that could not price these networks.
    """

    schema: str
    data: str
    licence: str
    origin: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    space: EarlyExitSpace
    validation_samples: int
    test_samples: int
    code_bits: int
    confidence_errors: dict[str, float]
    accelerators: tuple[TableAccelerator, ...]
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise TableError(
                f"A table must have the schema {SCHEMA}, got {self.schema[:40]!r}. "
                "Read it with the offramp that made it."
            )
        if not self.licence.strip():
            raise TableError("A table must state its licence, got none.")
        if self.code_bits not in CODE_TYPES:
            raise TableError(f"The logits of a table must have 8 or 16 bits, got {self.code_bits}.")
        for name, value, most in (
            ("validation samples", self.validation_samples, _MOST_SAMPLES),
            ("test samples", self.test_samples, _MOST_SAMPLES),
            ("classes", len(self.class_names), _MOST_CLASSES),
            ("accelerators", len(self.accelerators), _MOST_ACCELERATORS),
        ):
            if not 1 <= value <= most:
                raise TableError(f"A table must have from 1 to {most:,} {name}, got {value:,}.")
        names = [item.name for item in self.accelerators]
        if len(set(names)) < len(names):
            raise TableError(f"The accelerators of a table must differ, got {', '.join(names)[:200]}.")
        self._check_space()

    def _check_space(self) -> None:
        space = self.space
        if space.precisions.choices or space.analog_shares or space.branch_layers.branches:
            raise TableError("The space of a table must have neither searched bit widths, analog shares nor layers.")
        stages = space.backbone.stages
        if len(stages) > _MOST_PER_BLOCK:
            raise TableError(f"A backbone of a table must have at most {_MOST_PER_BLOCK} stages, got {len(stages):,}.")
        depths = [depth for stage in stages for depth in stage.depths]
        blocks = [len(stage.kernel_sizes) * len(stage.expansions) * max(1, len(stage.heads)) for stage in stages]
        if max(depths, default=0) > _MOST_PER_BLOCK or max(blocks, default=0) > _MOST_PER_BLOCK:
            raise TableError(f"A stage of a table must have at most {_MOST_PER_BLOCK} blocks and choices per block.")
        if space.backbone.num_taps * len(space.branches) > _MOST_EXITS:
            raise TableError(f"A backbone of a table must have at most {_MOST_EXITS:,} exits to choose among.")
        count = num_backbones(space.backbone)
        if count > MOST_BACKBONES:
            raise TableError(
                f"A table must have at most {MOST_BACKBONES:,} backbones, got {float(min(count, 10**300)):.3g}."
            )

    @property
    def max_depths(self) -> tuple[int, ...]:
        """Largest depth of each stage, by which taps are numbered."""
        return tuple(max(stage.depths) for stage in self.space.backbone.stages)
