"""The fixed MobileNetV2 layer by layer against the published ONNX graphs."""

from pathlib import Path

import pytest

from offramp.nn.lowering.lower import lower
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture
from offramp.workload.graph import Layer, Role, Workload
from offramp.workload.layer import Op
from tests.nn.members import family_space, member
from tests.workload.from_onnx.onnx_samples import workload_from_onnx

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "eenn"
GRAPHS = sorted(REFERENCE.glob("**/model.onnx"))
SHAPE = (3, 32, 32)


def build(architecture: Architecture, branches: tuple[str, ...]) -> Workload:
    supernet = Supernet(family_space("mobilenetv2-zniber", SHAPE), branches, SHAPE, 10, 0)
    return lower(supernet.extract(architecture))


@pytest.fixture(scope="module")
def backbone() -> Workload:
    return build(member(family_space("mobilenetv2-zniber", SHAPE), max), ())


def test_it_has_the_published_size(backbone: Workload) -> None:
    convolutions = [x.shape for x in backbone.layers if x.shape.op is Op.CONV]
    assert len(convolutions) == 36
    assert sum(shape.macs for shape in convolutions) == 195_325_952
    depthwise = [shape for shape in convolutions if shape.g > 1]
    assert [shape.fy for shape in depthwise] == [3] * 7 + [7] * 5
    assert [index for index, shape in enumerate(depthwise) if shape.stride_y == 2] == [5, 9]


def test_it_has_the_published_parameters() -> None:
    supernet = Supernet(family_space("mobilenetv2-zniber", SHAPE), (), SHAPE, 10, 0)
    assert sum(p.numel() for p in supernet.backbone.parameters()) / 1e6 == pytest.approx(1.388, abs=2e-3)


def test_cumulative_macs_are_the_published_ones() -> None:
    space = family_space("mobilenetv2-zniber", SHAPE)
    workload = build(member(space, max, tuple((tap, "global_pool") for tap in range(11))), ("global_pool",))
    done, totals = 0, []
    for stage in range(workload.num_stages):
        done += sum(x.shape.macs for x in workload.stage_layers(stage, Role.BACKBONE))
        totals.append(round(done / 1e6, 2))
    published = [1.70, 6.52, 14.93, 24.51, 38.86, 48.74, 62.21, 82.76, 118.29, 140.15]
    assert totals[:10] == published
    assert totals[11] == 195.33


def shapes_by_place(workload: Workload) -> list[tuple[object, ...]]:
    """Layers without their names: shape, stage, role and the positions of the layers that feed them."""
    position = {layer.name: index for index, layer in enumerate(workload.layers)}

    def row(layer: Layer) -> tuple[object, ...]:
        return layer.shape, layer.stage, layer.role, sorted(position.get(name, -1) for name in layer.inputs)

    return [row(layer) for layer in workload.layers]


@pytest.mark.skipif(not GRAPHS, reason="the reference graphs are not here")
@pytest.mark.parametrize("path", GRAPHS, ids=lambda p: p.parent.name)
def test_every_layer_is_that_of_the_published_graph(path: Path) -> None:
    reference = workload_from_onnx(path)
    space = family_space("mobilenetv2-zniber", SHAPE)
    kinds = []
    for stage in range(reference.num_stages):
        dense = [x for x in reference.stage_layers(stage, Role.BRANCH) if x.shape.op is Op.DENSE]
        kinds.append("pool_mlp" if len(dense) == 2 else "pool_linear")
    architecture = member(space, max, tuple(zip(depthwise_blocks(reference)[:-1], kinds[:-1], strict=True)), kinds[-1])
    ours = build(architecture, ("pool_linear", "pool_mlp"))
    assert shapes_by_place(ours) == shapes_by_place(reference)


def depthwise_blocks(workload: Workload) -> list[int]:
    """The block each exit sits at: every block has one depthwise convolution."""
    counts, done = [], 0
    for stage in range(workload.num_stages):
        layers = workload.stage_layers(stage, Role.BACKBONE)
        done += sum(x.shape.op is Op.CONV and x.shape.g > 1 for x in layers)
        counts.append(done - 1)
    return counts
