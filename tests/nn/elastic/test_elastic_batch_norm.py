"""Elastic batch norm: active statistics."""

import torch

from offramp.nn.elastic.elastic_batch_norm import ElasticBatchNorm2d


def test_batch_norm_uses_and_updates_leading_statistics() -> None:
    norm = ElasticBatchNorm2d(5, momentum=0.5)
    norm.activate(3)
    inputs = torch.randn(8, 3, 4, 4) * 2 + 1
    norm(inputs)
    expected = 0.5 * inputs.mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean[:3], expected)
    assert torch.equal(norm.running_mean[3:], torch.zeros(2))
    norm.eval()
    scale = torch.rsqrt(norm.running_var[:3] + norm.eps).view(1, 3, 1, 1)
    torch.testing.assert_close(norm(inputs), (inputs - expected.view(1, 3, 1, 1)) * scale)
