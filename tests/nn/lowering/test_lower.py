"""Lowering against layers written down by hand and against the exported ONNX graph."""

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from offramp.errors import UnsupportedLayerError, WorkloadError
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import Architecture, ExitChoice, Precision, StageChoice
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.workload.graph import GRAPH_INPUT, Role, Workload
from offramp.workload.layer import LayerShape, Op
from tests.nn.members import BRANCHES, SMALL, family_space, member, small_supernet
from tests.workload.from_onnx.onnx_samples import workload_from_onnx


class Function(nn.Module):
    """A module around a function, with parts of its own."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, features: Tensor) -> Tensor:
        return self.function(features, *self.parts)


def network_of(
    *stages: nn.Module, shape: tuple[int, int, int] = (3, 8, 8), branch: nn.Module | None = None
) -> EarlyExitNetwork:
    """A network without early exits, or with one after each of ``stages``; branches are flatten and 2 classes."""
    architecture = Architecture("toy", 8, (StageChoice(1, 1, (1,), (1,)),), precision=Precision(4, 8))
    branches = [branch or nn.Sequential(nn.Flatten(), nn.LazyLinear(2)) for _ in stages]
    network = EarlyExitNetwork(architecture, stages, branches, shape, 2)
    network(network.example_input())
    return network


def layers_of(function: Callable[..., Tensor], *parts: nn.Module) -> list[LayerShape]:
    """Shapes of the layers of a function of images 3x8x8, its classifier left out."""
    workload = lower(network_of(Function(function, *parts)))
    return [layer.shape for layer in workload.layers if layer.role is Role.BACKBONE]


BITS = {"weight_bits": 4, "activation_bits": 8}


@pytest.mark.parametrize(
    ("function", "parts", "expected"),
    [
        (
            lambda x, conv: conv(x),
            [nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2))],
            LayerShape(Op.CONV, k=8, c=3, oy=4, ox=4, fy=3, fx=5, iy=8, ix=8, stride_y=2, dilation_x=2,
                       padding=(1, 2, 1, 2), **BITS),
        ),
        (
            lambda x, conv: conv(x),
            [nn.Conv2d(3, 6, 4, padding="same", groups=3)],
            LayerShape(Op.CONV, g=3, k=2, c=1, oy=8, ox=8, fy=4, fx=4, iy=8, ix=8, padding=(1, 1, 2, 2), **BITS),
        ),
        (
            lambda x: F.max_pool2d(x, 3, 2, 1),
            [],
            LayerShape(Op.MAX_POOL, g=3, oy=4, ox=4, fy=3, fx=3, iy=8, ix=8, stride_y=2, stride_x=2,
                       padding=(1, 1, 1, 1), **BITS),
        ),
        (
            lambda x, pool: pool(x),
            [nn.AvgPool2d(3, ceil_mode=True)],
            LayerShape(Op.AVG_POOL, g=3, oy=3, ox=3, fy=3, fx=3, iy=8, ix=8, stride_y=3, stride_x=3, **BITS),
        ),
        (
            lambda x: F.adaptive_avg_pool2d(x, (4, 2)),
            [],
            LayerShape(Op.AVG_POOL, g=3, oy=4, ox=2, fy=2, fx=4, iy=8, ix=8, stride_y=2, stride_x=4, **BITS),
        ),
        (lambda x: x.mean((-1, -2)), [], LayerShape(Op.AVG_POOL, g=3, fy=8, fx=8, iy=8, ix=8, **BITS)),
        (lambda x: x.amax(dim=(2, 3)), [], LayerShape(Op.MAX_POOL, g=3, fy=8, fx=8, iy=8, ix=8, **BITS)),
        (lambda x: x.sum((2, 3), keepdim=True), [], LayerShape(Op.AVG_POOL, g=3, fy=8, fx=8, iy=8, ix=8, **BITS)),
        # 64 values are written, each from the 3 channels of its pixel; 24 from the 8 values of their row.
        (lambda x: x.mean(1, keepdim=True), [], LayerShape(Op.AVG_POOL, g=64, fy=3, iy=3, **BITS)),
        (lambda x: x.norm(p=2, dim=-1), [], LayerShape(Op.AVG_POOL, g=24, fy=8, iy=8, **BITS)),
        (lambda x: x.amin((1, 2)).unsqueeze(1), [], LayerShape(Op.MAX_POOL, g=8, fy=3, fx=8, iy=3, ix=8, **BITS)),
        (lambda x: x.var((1, 2, 3)).reshape(1, 1), [], LayerShape(Op.AVG_POOL, g=1, fy=192, iy=192, **BITS)),
        (
            lambda x, conv: conv(x.flatten(2)),
            [nn.Conv1d(3, 6, 5, stride=2, padding=1, dilation=3, groups=3)],
            # 64 values and 2 of padding hold (66 - 13) // 2 + 1 windows of 1 + 4 * 3 values.
            LayerShape(Op.CONV, g=3, k=2, c=1, oy=1, ox=27, fy=1, fx=5, iy=1, ix=64, stride_x=2, dilation_x=3,
                       padding=(0, 1, 0, 1), **BITS),
        ),
        (
            lambda x, dense: dense(x.reshape(x.shape[0], -1)),
            [nn.Linear(192, 5)],
            LayerShape(Op.DENSE, k=5, c=192, **BITS),
        ),
        (lambda x, dense: dense(x), [nn.Linear(8, 5)], LayerShape(Op.DENSE, b=24, k=5, c=8, **BITS)),
    ],
)  # fmt: skip
# torch warns that it pads a copy for even kernels; that is its affair.
@pytest.mark.filterwarnings("ignore:Using padding")
def test_one_layer(function: Callable[..., Tensor], parts: list[nn.Module], expected: LayerShape) -> None:
    assert layers_of(function, *parts) == [expected]


def test_joining_layers() -> None:
    conv, gate = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def squeeze_and_excite(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
        features = F.relu(first(x))
        weights = torch.sigmoid(second(F.adaptive_avg_pool2d(features, 1)))
        return torch.cat([features * weights, x], 1) + 1.0

    workload = lower(network_of(Function(squeeze_and_excite, conv, gate)))
    rows = [(layer.shape.op, layer.shape.g, layer.shape.oy, layer.inputs) for layer in workload.layers[:5]]
    first, second = "stages.0.parts.0", "stages.0.parts.1"
    assert rows == [
        (Op.CONV, 1, 8, (GRAPH_INPUT,)),
        (Op.AVG_POOL, 4, 1, (first,)),
        (Op.CONV, 1, 1, ("stages.0.adaptive_avg_pool2d",)),
        (Op.MULTIPLY, 4, 8, (first, second)),
        (Op.CONCAT, 7, 8, ("stages.0.mul", GRAPH_INPUT)),
    ]


def test_what_folds_into_the_layer_before_is_free() -> None:
    def free(x: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
        y = norm(conv(x))
        y = y * torch.sigmoid(y)
        y = F.dropout(F.hardswish(y).clamp(0, 6) * 2 - torch.ones(()), 0.5)
        y += 1
        return 3 - y.contiguous().view(1, -1)

    assert [shape.op for shape in layers_of(free, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))] == [Op.CONV]


def test_a_sum_with_itself_is_free_but_one_with_another_is_not() -> None:
    def with_itself(x: Tensor, conv: nn.Module) -> Tensor:
        features: Tensor = conv(x)
        return features + F.relu(features)

    conv = nn.Conv2d(3, 3, 1)
    assert [shape.op for shape in layers_of(with_itself, conv)] == [Op.CONV]
    assert [shape.op for shape in layers_of(lambda x, c: c(x) + x, conv)] == [Op.CONV, Op.ADD]
    assert [shape.op for shape in layers_of(lambda x, c: c(x) + c(x), conv)] == [Op.CONV, Op.CONV, Op.ADD]


def test_differences_quotients_and_extremes_of_two_layers_are_layers() -> None:
    conv = nn.Conv2d(3, 3, 1)
    expected = {
        Op.ADD: (torch.sub, torch.maximum, torch.min, lambda a, b: torch.where(torch.eye(8) > 0, a, b)),
        Op.MULTIPLY: (torch.div, lambda a, b: a / b),
    }
    for op, functions in expected.items():
        for function in functions:
            shapes = layers_of(lambda x, c, f=function: f(c(x), x), conv)  # type: ignore[misc]
            assert [shape.op for shape in shapes] == [Op.CONV, op]
            assert (shapes[1].g, shapes[1].oy, shapes[1].ox) == (3, 8, 8)


def test_an_interpolation_is_a_mean_of_neighbours_and_a_nearest_one_is_free() -> None:
    def wider(x: Tensor, conv: nn.Module) -> Tensor:
        return F.interpolate(F.interpolate(conv(x), scale_factor=2.0), size=(32, 16), mode="bilinear")

    _, shape = layers_of(wider, nn.Conv2d(3, 4, 1))
    # 16x16 values become 32x16: two neighbours along the height, which alone grows.
    assert (shape.op, shape.g, shape.oy, shape.ox, shape.fy, shape.fx) == (Op.AVG_POOL, 4, 32, 16, 2, 1)


def test_a_fused_product_and_sum_is_both() -> None:
    def fused(x: Tensor, conv: nn.Module) -> Tensor:
        return torch.addcmul(x, conv(x), conv(x))

    ops = [shape.op for shape in layers_of(fused, nn.Conv2d(3, 3, 1))]
    assert ops == [Op.CONV, Op.CONV, Op.MULTIPLY, Op.ADD]


def test_the_type_of_another_layer_is_no_operand() -> None:
    conv = nn.Conv2d(3, 3, 1)
    assert [shape.op for shape in layers_of(lambda x, c: c(x).type_as(c(x)), conv)] == [Op.CONV, Op.CONV]


def test_unfolding_and_shuffling_move_values_and_cost_nothing() -> None:
    def unfolded(x: Tensor, dense: nn.Module) -> Tensor:
        return dense(F.unfold(F.pixel_unshuffle(x.flip(-1), 2), 3).transpose(1, 2))

    # 12 channels of 4x4 values: 4 windows of 3x3.
    assert layers_of(unfolded, nn.Linear(108, 5)) == [LayerShape(Op.DENSE, b=4, k=5, c=108, **BITS)]


def test_a_module_used_twice_gets_two_names() -> None:
    workload = lower(network_of(Function(lambda x, c: c(c(x)), nn.Conv2d(3, 3, 1))))
    names = [layer.name for layer in workload.layers]
    assert names == ["stages.0.parts.0", "stages.0.parts.0_2", "branches.0.1"]


def test_all_unsupported_layers_are_named_at_once() -> None:
    def odd(x: Tensor, conv: nn.Module) -> Tensor:
        y = F.interpolate(conv(x), scale_factor=2.0, mode="nearest").sort(1)[0]
        y = torch.einsum("bcii->bci", y) + y.mean(0, keepdim=True).flatten(2)[:, :, :16]
        return y @ torch.ones(2, 16, 3)

    with pytest.raises(UnsupportedLayerError) as caught:
        layers_of(odd, nn.Conv2d(3, 2, 1))
    message = str(caught.value)
    for part in ("sort: no such layer", "einsum: Einsum_0 (Einsum) reads a diagonal", "not the batch", "matmul"):
        assert part in message
    assert message.count("stages.0") == 4


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x.mean(0, keepdim=True) + x.std(0, correction=0), "not the batch"),
        (lambda x: torch.max(x, torch.zeros(1)), "write it as a clamp"),
        (lambda x: x.sort(dim=1)[0], "no such layer"),
        (lambda x: F.conv2d(x, torch.ones(5, 3, 1, 1), x[0, 0, 0, :5]), "its bias must be a constant"),
        (lambda x: F.conv3d(x.unsqueeze(1), torch.ones(2, 1, 3, 3, 3)), "windows over three axes have no rule"),
        (lambda x: torch.einsum("bcii->bc", x), "reads a diagonal"),
    ],
)
def test_what_cannot_be_priced_is_an_error(function: Callable[..., Tensor], message: str) -> None:
    with pytest.raises(UnsupportedLayerError, match=message):
        layers_of(function)


def test_places_that_another_layer_computes_are_refused() -> None:
    def gathered(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
        return first(x).flatten(1).gather(1, second(x).flatten(1).long())

    with pytest.raises(UnsupportedLayerError, match=r"gather: moves values to places that another layer computes"):
        layers_of(gathered, nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))


def test_a_new_tensor_does_not_depend_on_the_one_whose_shape_it_has() -> None:
    layers = layers_of(lambda x, conv: conv(x) + torch.zeros_like(x) * x.new_ones(1), nn.Conv2d(3, 3, 1))
    assert [layer.op for layer in layers] == [Op.CONV]


def test_computed_weights_of_a_convolution_have_the_width_of_activations() -> None:
    first, kernels, mixed = layers_of(
        lambda x, a, b: F.conv2d(a(x), b(x).flatten(1)[:, :72].reshape(6, 4, 3, 1), padding=(1, 0)),
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(3, 4, 1),
    )
    assert first.weight_bits == kernels.weight_bits == 4
    assert (mixed.macs, mixed.num_weights, mixed.weight_bits) == (6 * 4 * 3 * 64, 72, 8)


def test_a_window_of_one_place_along_an_axis_of_a_volume_is_one_convolution_of_maps_per_place() -> None:
    # 4 values of 3x3 neighbours in each of 8 columns, of a volume of 3 x 8 x 8 without padding along its first axis.
    (layer,) = layers_of(lambda x: F.conv3d(x.unsqueeze(1), torch.ones(4, 1, 3, 3, 1), padding=(0, 1, 0)))
    assert (layer.op, layer.b, layer.k, layer.oy, layer.ox, layer.fy, layer.fx) == (Op.CONV, 8, 4, 1, 8, 3, 3)
    assert (layer.macs, layer.padding) == (8 * 4 * 8 * 9, (0, 1, 0, 1))


def test_uneven_windows_of_adaptive_pooling_are_priced_as_the_largest() -> None:
    # Rows 0-1, 1-3, 3-4, 4-6, 6-7 of 8 are windows of at most 3; columns 0-2, 2-5, 5-7 of at most 4.
    (pooled,) = layers_of(lambda x: F.adaptive_avg_pool2d(x, (5, 3)))
    assert (pooled.op, pooled.g, pooled.oy, pooled.ox, pooled.fy, pooled.fx) == (Op.AVG_POOL, 3, 5, 3, 3, 4)
    (row,) = layers_of(lambda x: F.adaptive_max_pool1d(x.flatten(2), 48))
    assert (row.op, row.oy, row.ox, row.fy, row.fx) == (Op.MAX_POOL, 1, 48, 1, 2)
    _, area = layers_of(lambda x, conv: F.interpolate(conv(x), 4, mode="area"), nn.Conv2d(3, 3, 1))
    assert (area.op, area.oy, area.ox, area.fy, area.fx, area.stride_y) == (Op.AVG_POOL, 4, 4, 2, 2, 2)


def test_attention_of_torch_is_its_projections_scores_and_weighted_values() -> None:
    # 64 tokens of 3 values: 64 x 3 x 9 for the projections, 64 x 64 x 3 twice, 64 x 3 x 3 for the result.
    layers = layers_of(
        lambda x, m: m(*[x.flatten(2).transpose(1, 2)] * 3)[0], nn.MultiheadAttention(3, 3, batch_first=True)
    )
    assert [layer.macs for layer in layers] == [1728, 12288, 0, 12288, 576]
    apart = layers_of(
        lambda x, m: m(x.flatten(2).transpose(1, 2), *[x[:, :, :4].flatten(2).transpose(1, 2)] * 2)[0],
        nn.MultiheadAttention(3, 1, batch_first=True),
    )
    assert [layer.macs for layer in apart] == [576, 288, 288, 6144, 0, 6144, 576]


def test_a_recurrent_layer_has_its_states_after_each_other() -> None:
    # 8 steps of 24 values, 4 gates of 5 units: 8 x 24 x 20 at once, then 5 x 20 per step; twice for two directions.
    layers = layers_of(
        lambda x, lstm: lstm(x.permute(0, 2, 1, 3).flatten(2))[0],
        nn.LSTM(24, 5, batch_first=True, bidirectional=True),
    )
    assert [layer.macs for layer in layers if layer.macs] == 2 * [8 * 24 * 20, *8 * [100]]
    cell = layers_of(lambda x, gru: gru(x[:, :, 0].flatten(1)), nn.GRUCell(24, 5))
    assert [layer.macs for layer in cell if layer.macs] == [24 * 15, 5 * 15]


def test_an_exit_must_compute_something() -> None:
    with pytest.raises(WorkloadError, match="must compute something"):
        lower(network_of(nn.Identity(), branch=nn.Flatten()))
    with pytest.raises(WorkloadError, match="computed from its input"):
        lower(network_of(Function(lambda x: torch.ones(1, 3, 4, 4))))


def test_lowering_leaves_the_network_as_it_was() -> None:
    network = network_of(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    network.stages[0].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    lower(network)
    assert [stage.training for stage in network.stages] == [False, True]
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_stages_roles_names_and_bits() -> None:
    architecture = member(SMALL, min, ((0, "pool_linear"),))
    precise = Architecture(
        architecture.backbone, architecture.resolution, architecture.stages, architecture.exits,
        precision=Precision(2, 4), branch_precision=Precision(8, 16),
    )  # fmt: skip
    workload = lower(small_supernet().extract(precise))
    assert workload.name == "mobilenetv2"
    assert lower(small_supernet().extract(precise), "mine").name == "mine"
    assert workload.exits == ("branches.0.linear", "branches.1.linear")
    assert workload.layers[0].name == "stages.0.stem.conv"
    assert workload.layers[0].inputs == (GRAPH_INPUT,)
    assert workload.layers[0].shape.iy == 8  # the resolution, not the images' size: resizing is no layer
    for layer in workload.layers:
        bits = (layer.shape.weight_bits, layer.shape.activation_bits)
        assert layer.name.startswith("branches" if layer.role is Role.BRANCH else "stages")
        assert f".{layer.stage}." in layer.name
        # A maximum is written as wide as it was read.
        wanted = (8, 4) if layer.shape.op is Op.MAX_POOL else (8, 16)
        assert bits == (wanted if layer.role is Role.BRANCH else (2, 4))


def test_half_precision_networks_lower_alike() -> None:
    network = small_supernet().extract(member(SMALL, max, ((1, "conv"),)))
    assert lower(network) == lower(network.bfloat16())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["resnet", "resnet-large", "mobilenetv2"]), st.integers(5, 33))
def test_macs_are_those_that_torch_counts(seed: int, name: str, size: int) -> None:
    shape = (3, size, size + 2)
    space = EarlyExitSpace(family_space(name, shape), BRANCHES, max_exits=6, final_branch=BRANCHES[seed % 5])
    architecture = space.sample(np.random.default_rng(seed))
    network = Supernet(space.backbone, BRANCHES, shape, 7, 0).eval().extract(architecture)
    with FlopCounterMode(display=False) as counter:
        network(network.example_input())
    workload = lower(network)
    assert 2 * workload.macs_to_exit()[-1] == counter.get_total_flops()
    alone = Supernet(space.backbone, BRANCHES, shape, 7, 0).eval().extract(architecture.without_exits())
    assert [x.shape for x in workload.static().layers] == [x.shape for x in lower(alone).layers]


def test_weights_may_be_computed() -> None:
    def quantised(x: Tensor, conv: nn.Conv2d) -> Tensor:
        scale = conv.weight.detach().abs().amax(dim=(1, 2, 3), keepdim=True) / 7
        weight = (conv.weight / scale).round().clamp(-8, 7) * scale
        features = F.conv2d(x, torch.cat([weight[:2], weight[2:]]), padding=1)
        return torch.fake_quantize_per_tensor_affine(features, 0.1, 0, -128, 127)

    assert layers_of(quantised, nn.Conv2d(3, 4, 3)) == layers_of(lambda x, c: c(x), nn.Conv2d(3, 4, 3, padding=1))


def test_control_flow_is_followed() -> None:
    def halve_until_small(x: Tensor, conv: nn.Module) -> Tensor:
        while x.shape[-1] > 2:
            x = conv(F.max_pool2d(x, 2))
        return x

    sizes = [shape.oy for shape in layers_of(halve_until_small, nn.Conv2d(3, 3, 1))]
    assert sizes == [4, 4, 2, 2]


def test_resizing_features_is_no_preparation_of_the_image() -> None:
    def resized(x: Tensor, conv: nn.Module) -> Tensor:
        return conv(F.interpolate(x, size=(6, 6), mode="bilinear"))

    assert [shape.iy for shape in layers_of(resized, nn.Conv2d(3, 4, 3))] == [6]
    resized_features = layers_of(lambda x, c: F.interpolate(c(x), (6, 6), mode="bicubic"), nn.Conv2d(3, 4, 1))
    assert [(shape.op, shape.fy, shape.fx) for shape in resized_features] == [(Op.CONV, 1, 1), (Op.AVG_POOL, 4, 4)]


def without_names(workload: Workload) -> list[tuple[LayerShape, int, Role, tuple[int, ...]]]:
    position = {layer.name: index for index, layer in enumerate(workload.layers)}
    return [
        (layer.shape, layer.stage, layer.role, tuple(position.get(name, -1) for name in layer.inputs))
        for layer in workload.layers
    ]


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2"])
def test_the_exported_graph_says_the_same(name: str, tmp_path: Path) -> None:
    shape = (3, 20, 20)
    space = family_space(name, shape)
    taps = (0, 1, 2, 3) if name == "resnet" else (0, 1, 3, 4)
    exits = tuple(zip(taps, BRANCHES[:3] + BRANCHES[4:], strict=True))
    architecture = member(space, max, exits, "pool_linear")
    network = Supernet(space, BRANCHES, shape, 10, 0).eval().extract(architecture)
    assert architecture.exits == tuple(ExitChoice(tap, branch) for tap, branch in exits)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (network.example_input(),), tmp_path / "net.onnx", dynamo=True, verbose=False)
    assert without_names(lower(network)) == without_names(workload_from_onnx(tmp_path / "net.onnx"))


def _written_into(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    joined = torch.zeros(len(x), 12, 8, 8)
    joined[:, :4] = first(x)
    joined[:, 4:] = second(x)
    return joined


@pytest.mark.parametrize(
    "join",
    [
        _written_into,
        lambda x, first, second: torch.cat([first(x), second(x)], 1),
    ],
)
def test_values_written_into_a_tensor_are_joined_as_by_a_concatenation(join: Callable[..., Tensor]) -> None:
    first, second, joined = layers_of(join, nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 1))
    assert (first.macs, second.macs) == (3 * 4 * 64, 3 * 8 * 64)
    assert (joined.op, joined.g, joined.oy, joined.ox) == (Op.CONCAT, 12, 8, 8)


@pytest.mark.parametrize("dim", [1, 2, -1])
def test_a_concatenation_along_any_axis_moves_its_values_once(dim: int) -> None:
    (joined,) = layers_of(lambda x: torch.cat([x.flatten(2), x.flatten(2)], dim))
    assert joined.op is Op.CONCAT
    assert joined.g * joined.k * joined.oy * joined.ox == 2 * 3 * 64


def test_pooling_of_tokens_is_pooling() -> None:
    _, pooled = layers_of(lambda x, conv, pool: pool(conv(x).flatten(2)), nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool1d(1))
    assert (pooled.op, pooled.g, pooled.fy, pooled.fx) == (Op.AVG_POOL, 4, 64, 1)


def test_a_normalisation_to_unit_length_is_a_norm() -> None:
    (norm,) = layers_of(lambda x: F.normalize(x, dim=1))
    (same,) = layers_of(lambda x, layer: layer(x), nn.LayerNorm([3, 8, 8]))
    assert norm == same
