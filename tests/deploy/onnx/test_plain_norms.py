"""Local response norms in a form that runtimes have."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from offramp.deploy.onnx.plain_norms import plain_norms_


class Norms(nn.Module):
    """A norm as a layer and two as calls."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(5, alpha=0.5, beta=0.6, k=2.0)

    def forward(self, features: Tensor) -> Tensor:
        return F.local_response_norm(F.local_response_norm(input=self.norm(features), size=2, k=1.5), 3, 0.2)


def test_a_layer_and_a_call_give_the_same_without_a_pooling_over_three_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    features = 3 * torch.randn(2, 7, 4, 5)
    network = nn.Sequential(fx.symbolic_trace(Norms()), nn.LocalResponseNorm(4))
    expected = network(features)
    plain_norms_(network)

    def refused(*_: object, **__: object) -> Tensor:
        raise AssertionError("a pooling over three axes")

    monkeypatch.setattr(F, "avg_pool3d", refused)
    torch.testing.assert_close(network(features), expected, rtol=1e-5, atol=1e-6)
