"""Global pools written as means: the same values, and no index computation in the file."""

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from offramp.deploy.onnx.plain_pools import GlobalMean, plain_pools_
from offramp.deploy.onnx.stage_graphs import stage_models
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, StageChoice


class Functional(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(features, (1, 1)) + F.adaptive_avg_pool2d(features, output_size=1)


def test_layers_and_calls_are_replaced_and_give_the_same() -> None:
    images = torch.randn(3, 4, 5, 6)
    network = nn.Sequential(fx.symbolic_trace(Functional()), nn.Sequential(nn.AdaptiveAvgPool2d((1, 1))))
    expected = network(images)
    plain_pools_(network)
    torch.testing.assert_close(network(images), expected)
    assert isinstance(network[1][0], GlobalMean)
    assert network[0].code.count("torch.mean(") == 2


def test_pools_to_more_than_a_pixel_stay() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d((1, 2)), nn.AdaptiveMaxPool2d(1))
    before = str(network)
    plain_pools_(network)
    assert str(network) == before


class LastAxis(nn.Module):
    """A map that lies in memory with channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 6)

    def forward(self, images: Tensor) -> Tensor:
        mapped: Tensor = self.linear(images.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return mapped


def test_a_map_with_channels_last_is_exported_without_index_computations() -> None:
    branch = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    architecture = Architecture("toy", 8, (StageChoice(1, 6, (1,), (1,)),))
    network = EarlyExitNetwork(architecture, [LastAxis()], [branch], (3, 8, 8), 4)
    (stage,) = stage_models(network)
    assert not {"Range", "Gather"} & {node.op_type for node in stage.graph.node}
    assert isinstance(branch[0], nn.AdaptiveAvgPool2d)
