"""Which tasks a layer may become: where, in which parts, and where the result goes."""

from dataclasses import replace

import pytest

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.mapping.optimized.candidates.block_pricer import BlockPricer
from offramp.cost.mapping.optimized.candidates.layer_fusion import group_layers
from offramp.cost.mapping.optimized.candidates.task_builder import TaskBuilder
from offramp.cost.mapping.optimized.candidates.tasks import Task
from offramp.cost.mapping.optimized.core_groups import core_groups
from offramp.cost.mapping.optimized.mapping_steps import ALL_STEPS, MappingStep
from offramp.cost.mapping.optimized.tensor_regions import Axis
from offramp.cost.unsupported import UnpricedJobsError
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.cost.mapping.optimized.networks import branch, conv, quad, team_of
from tests.cost.mapping.optimized.test_mapping_steps import wide_chain
from tests.cost.toys import ToyEngine

TEAM = ("core0", "core1", "core3", "core2")


def builder_of(
    workload: Workload, accelerator: Accelerator | None = None, steps: frozenset[MappingStep] = ALL_STEPS
) -> TaskBuilder:
    return TaskBuilder(workload, core_groups(accelerator or quad())[0], BlockPricer([ToyEngine()]), steps)


def network(*shapes: LayerShape) -> Workload:
    """The shapes in a row, and a classifier."""
    layers: list[Layer] = []
    source = GRAPH_INPUT
    for index, shape in enumerate(shapes):
        inputs = (source, source) if shape.op in (Op.ADD, Op.CONCAT) else (source,)
        layers.append(Layer(f"l{index}", shape, inputs, 0, Role.BACKBONE))
        source = f"l{index}"
    last = shapes[-1]
    return Workload("n", (*layers, *branch(0, source, last.g * last.k, last.oy)), ("fc0",))


def options(workload: Workload, index: int, steps: frozenset[MappingStep] = ALL_STEPS, **sizes: float) -> list[Task]:
    builder = builder_of(workload, quad(**sizes), steps)
    return builder.options((builder.layers[index],))


def test_a_convolution_may_be_split_along_rows_and_channels() -> None:
    tasks = options(network(conv(8, 3, 64, 3)), 0)
    assert {(task.layout.axis, len(task.cores)) for task in tasks} == {
        (Axis.WHOLE, 1),
        (Axis.ROWS, 4),
        (Axis.CHANNELS, 4),
    }
    assert {task.num_blocks for task in tasks if task.layout.axis is Axis.ROWS} == {1, 4}
    assert all(task.cores == TEAM[: len(task.cores)] for task in tasks)


def test_small_layers_use_as_many_cores_as_they_have_parts() -> None:
    tasks = options(network(conv(3, 3, 2, 3)), 0)
    assert {(task.layout.axis, len(task.cores)) for task in tasks} == {
        (Axis.WHOLE, 1),
        (Axis.ROWS, 3),
        (Axis.CHANNELS, 2),
    }


def test_groups_are_never_parted() -> None:
    shape = conv(8, 8, 12, groups=4)
    (task,) = (x for x in options(network(shape), 0) if x.layout.axis is Axis.CHANNELS)
    assert task.layout.channel_step == 3
    assert [region.channels for region in task.tiles[0][0].results] == [3, 3, 3, 3]
    needs = task.tiles[0][0].sources[0].needs
    assert [(need.first_channel, need.end_channel) for need in needs] == [(0, 2), (2, 4), (4, 6), (6, 8)]


def test_without_steps_everything_goes_off_chip_from_one_core() -> None:
    (task,) = options(network(conv(8, 3, 64, 3)), 0, frozenset())
    assert (task.cores, task.layout.cores, task.num_blocks) == (("core0",), ("offchip",), 1)


def test_an_addition_stays_on_the_simd_core_if_four_would_fit() -> None:
    # 128 KiB: four of 32 KiB.
    small = LayerShape(Op.ADD, g=32, oy=32, ox=32, iy=32, ix=32)
    (task,) = options(network(conv(32, 3, 32), small), 1)
    assert (task.cores, task.layout.cores) == (("simd",), ("simd",))
    large = LayerShape(Op.ADD, g=33, oy=32, ox=32, iy=32, ix=32)
    (task,) = options(network(conv(32, 3, 33), large), 1)
    assert (task.cores, task.layout.cores, task.layout.axis) == (("simd",), TEAM, Axis.ROWS)


def test_an_addition_that_does_not_fit_is_tiled_along_channels() -> None:
    large = LayerShape(Op.ADD, g=128, oy=32, ox=32, iy=32, ix=32)
    (task,) = options(network(conv(32, 3, 128), large), 1)
    # Both inputs are one tensor: 128 + 128 KiB at once would be too much for 128 KiB, two tiles are just right.
    assert len(task.tiles) == 2
    assert [tile[0].results[0].channels for tile in task.tiles] == [64, 64]
    assert task.layout.cores == TEAM


def test_a_layer_that_does_not_fit_is_tiled_along_rows() -> None:
    tasks = options(network(conv(16, 3, 8, 3), conv(16, 8, 32)), 1, activation_kib=2)
    rows = next(task for task in tasks if task.layout.axis is Axis.ROWS or len(task.cores) == 4)
    assert len(rows.tiles) > 1
    made = [y for tile in rows.tiles for y in range(tile[0].results[0].first_row, tile[0].results[0].end_row)]
    assert made == [0, 1, 2, 3]


def test_what_fits_no_memory_stays_off_chip() -> None:
    tasks = options(network(conv(16, 3, 8, 3)), 0, activation_kib=0.01)
    assert [(task.streamed, task.layout.cores) for task in tasks] == [(True, ("offchip",))]


def test_what_fits_no_memory_and_has_no_price_off_chip_is_refused() -> None:
    chip = quad(activation_kib=0.01)
    cores = tuple(
        replace(core, memories=(replace(core.memories[0], size_bits=80),)) if core.kind is CoreKind.OFFCHIP else core
        for core in chip.cores
    )
    workload = network(conv(16, 3, 8, 3))
    pricer = BlockPricer([NativeEngine(loma_lpf_limit=3, num_spatial_mappings=1)])
    builder = TaskBuilder(workload, core_groups(replace(chip, cores=cores))[0], pricer, ALL_STEPS)
    with pytest.raises(UnpricedJobsError, match="its results need 2 KiB, and offchip_dram holds 10 B"):
        builder.options((builder.layers[0],))


def test_concatenation_reads_all_of_its_inputs() -> None:
    both = LayerShape(Op.CONCAT, g=16, oy=8, ox=8, iy=8, ix=8)
    (task,) = options(network(conv(8, 3, 8), both), 1)
    assert task.tiles[0][0].sources[0].needs[0].channels == 8


def test_activation_functions_are_no_tasks() -> None:
    relu = LayerShape(Op.ACTIVATION, g=8, oy=8, ox=8, iy=8, ix=8)
    builder = builder_of(network(conv(8, 3, 8), relu, conv(8, 8, 8)))
    assert [layer.name for layer in builder.layers] == ["l0", "l2", "pool0", "fc0"]
    assert builder.sources(builder.layers[1]) == ("l0",)


def test_branches_come_before_later_stages() -> None:
    first, *rest = (Layer("a", conv(8, 3, 8), (GRAPH_INPUT,), 0, Role.BACKBONE), *branch(0, "a", 8, 8))
    second = Layer("b", conv(8, 8, 8), ("a",), 1, Role.BACKBONE)
    listed = Workload("n", (first, second, *rest, *branch(1, "b", 8, 8)), ("fc0", "fc1"))
    assert [x.name for x in builder_of(listed).layers] == ["a", "pool0", "fc0", "b", "pool1", "fc1"]


def test_equal_layers_share_their_blocks() -> None:
    builder = builder_of(network(conv(8, 8, 8), conv(8, 8, 8), conv(8, 8, 8)))
    second, third = builder.options((builder.layers[1],)), builder.options((builder.layers[2],))
    assert [x.tiles[0][0].blocks for x in second] == [x.tiles[0][0].blocks for x in third]
    assert {task.result for task in third} == {"l2"}
    assert {task.reads for task in third} == {("l1",)}


def test_chains_form_only_where_something_does_not_fit() -> None:
    roomy, tight = builder_of(wide_chain()), builder_of(wide_chain(), quad(activation_kib=2))
    names = [[layer.name for layer in group] for group in group_layers(roomy, roomy.group, ALL_STEPS)]
    assert names == [["stem"], ["wide"], ["deep"], ["slim"], ["pool0"], ["fc0"]]
    groups = group_layers(tight, tight.group, ALL_STEPS)
    assert max(len(group) for group in groups) > 1
    assert [layer.name for group in groups for layer in group] == [layer.name for layer in tight.layers]
    without = group_layers(tight, tight.group, ALL_STEPS - {MappingStep.FUSE})
    assert all(len(group) == 1 for group in without)


def test_tiles_of_a_chain_make_the_halo_again() -> None:
    builder = builder_of(wide_chain(), team_of(1))
    wide, deep, slim = builder.layers[1:4]
    tight = builder_of(wide_chain(), quad(activation_kib=4), ALL_STEPS - {MappingStep.SPLIT})
    (task, *_) = tight.options((wide, deep, slim))
    assert len(task.tiles) > 1
    assert task.resident
    made = sum(tile[0].results[0].rows for tile in task.tiles)
    # Every border between two tiles costs a row on either side.
    assert made == 16 + 2 * (len(task.tiles) - 1)
    assert sum(tile[-1].results[0].rows for tile in task.tiles) == 16
    assert task.weight_bits == sum(layer.shape.weight_size_bits for layer in (wide, deep, slim))


def test_a_layer_may_be_cut_into_single_rows_of_the_largest_part() -> None:
    # 7 rows on two cores are 3 and 4; only single rows fit, so four tiles are needed.
    accelerator = team_of(2)
    shape = conv(7, 8, 64)
    tensor_row, input_row = 64 * 7 * 8, 8 * 7 * 8
    # A quarter of the memory is for weights where both share one; here they do not.
    sized = tuple(
        replace(
            core,
            memories=tuple(
                replace(m, size_bits=tensor_row + input_row) if m.name == "sram_2MB" else m for m in core.memories
            ),
        )
        for core in accelerator.cores
    )
    workload = network(shape)
    builder = builder_of(workload, replace(accelerator, cores=sized))
    split = [task for task in builder.options((builder.layers[0],)) if task.tiles[0][0].results[0].channels == 64]
    both = [task for task in split if len(task.cores) == 2]
    assert {len(task.tiles) for task in both} == {4}
    assert all(result.rows <= 1 for task in both for (tile,) in task.tiles for result in tile.results)


def test_blocks_of_a_dense_layer_in_groups_all_read_the_whole_input() -> None:
    grouped = LayerShape(Op.DENSE, g=4, k=64, c=8)
    tasks = options(network(conv(1, 3, 32), grouped), 1)
    assert tasks
    assert all(source.block_needs == () for task in tasks for source in task.tiles[0][0].sources)
