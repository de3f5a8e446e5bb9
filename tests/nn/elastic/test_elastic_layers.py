"""Elastic layers against the same computation on weights cut out or zeroed by hand."""

import pytest
import torch
import torch.nn.functional as F

from offramp.nn.elastic.elastic_layers import ElasticConv2d, ElasticConvNorm, ElasticLinear


def test_fewer_channels_are_the_leading_ones() -> None:
    conv = ElasticConv2d(4, 6, 3, stride=2)
    conv.activate(3, 5, 3)
    inputs = torch.randn(2, 3, 7, 7)
    expected = F.conv2d(inputs, conv.weight[:5, :3], stride=2, padding=1)
    assert torch.equal(conv(inputs), expected)
    assert expected.shape == (2, 5, 4, 4)


def test_a_smaller_kernel_is_the_centre_of_the_larger() -> None:
    conv = ElasticConv2d(2, 2, 7)
    inputs = torch.randn(1, 2, 9, 9)
    for size in (3, 5):
        conv.activate(2, 2, size)
        border = torch.zeros_like(conv.weight)
        margin = (7 - size) // 2
        border[:, :, margin:-margin, margin:-margin] = conv.weight.detach()[:, :, margin:-margin, margin:-margin]
        torch.testing.assert_close(conv(inputs), F.conv2d(inputs, border, padding=3))


def test_depthwise_channels_do_not_mix() -> None:
    conv = ElasticConv2d(6, 6, 5, depthwise=True)
    conv.activate(4, 4, 3)
    inputs = torch.randn(1, 4, 5, 5)
    before = conv(inputs)
    inputs[:, 3] += 1.0
    after = conv(inputs)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


@pytest.mark.parametrize(("in_channels", "out_channels", "kernel_size"), [(4, 6, 4), (4, 6, 2)])
def test_even_kernels_have_no_centre(in_channels: int, out_channels: int, kernel_size: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        ElasticConv2d(in_channels, out_channels, kernel_size)


def test_depthwise_convolutions_must_keep_the_number_of_channels() -> None:
    with pytest.raises(ValueError, match="as many output as input channels"):
        ElasticConv2d(4, 6, 3, depthwise=True)


def test_gradients_touch_only_active_weights() -> None:
    conv = ElasticConv2d(4, 6, 5)
    conv.activate(2, 3, 3)
    conv(torch.randn(1, 2, 6, 6)).square().sum().backward()
    gradient = conv.weight.grad
    assert gradient is not None
    active = torch.zeros_like(gradient, dtype=torch.bool)
    active[:3, :2, 1:4, 1:4] = True
    assert bool((gradient[active] != 0).all())
    assert bool((gradient[~active] == 0).all())


def test_linear_takes_the_corner_of_the_grid() -> None:
    linear = ElasticLinear(5, 7, height=4, width=4)
    linear.activate(2, 3, height=2, width=3)
    features = torch.randn(2, 2, 2, 3)
    grid = linear.weight.view(7, 5, 4, 4)
    expected = torch.einsum("bchw,ochw->bo", features, grid[:3, :2, :2, :3]) + linear.bias[:3]
    torch.testing.assert_close(linear(features), expected)


def test_extracted_layers_are_dense_copies() -> None:
    block = ElasticConvNorm(4, 6, 5, stride=2, activation="relu6")
    block.activate(3, 4, 3)
    block(torch.randn(8, 3, 9, 9))
    block.eval()
    static = block.extract().eval()
    inputs = torch.randn(2, 3, 9, 9)
    expected = block(inputs)
    assert torch.equal(static(inputs), expected)
    assert [tuple(p.shape) for p in static.parameters()] == [(4, 3, 3, 3), (4,), (4,)]
    assert all(p.is_contiguous() and p.untyped_storage().nbytes() == 4 * p.numel() for p in static.parameters())
    with torch.no_grad():
        block.conv.weight.zero_()
    assert torch.equal(static(inputs), expected)


def test_extracting_leaves_the_random_state_alone() -> None:
    block, linear = ElasticConvNorm(4, 6, 5), ElasticLinear(4, 6)
    before = torch.random.get_rng_state()
    block.extract()
    linear.extract()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_kernel_of_even_height_with_its_own_padding() -> None:
    conv = ElasticConv2d(1, 6, (10, 4), stride=2, padding=(5, 1))
    conv.activate(1, 4, (10, 4))
    inputs = torch.randn(2, 1, 49, 10)
    expected = F.conv2d(inputs, conv.weight[:4], stride=2, padding=(5, 1))
    assert tuple(expected.shape) == (2, 4, 25, 5)
    assert torch.equal(conv(inputs), expected)
    static = conv.extract()
    assert (static.kernel_size, static.padding, static.stride) == ((10, 4), (5, 1), (2, 2))
    assert torch.equal(static(inputs), expected)
    with pytest.raises(ValueError, match=r"odd where no `padding` is given, got \(10, 4\)"):
        ElasticConv2d(1, 6, (10, 4))
