import torch
import torch.nn.functional as F

from offramp.train.compute import Compute

IMAGES = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
DEPTHWISE = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(1))
DENSE = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(2))


def test_bf16_leaves_depthwise_convolutions_in_fp32() -> None:
    with Compute(dtype="bf16").autocast():
        dense = F.conv2d(IMAGES, DENSE, padding=1)
        by_position = F.conv2d(dense, DEPTHWISE, None, 1, 1, 1, 4)
        by_name = F.conv2d(dense, DEPTHWISE, padding=1, groups=4)
        after = F.conv2d(by_name, DENSE, padding=1)
    assert dense.dtype is after.dtype is torch.bfloat16
    assert by_position.dtype is by_name.dtype is torch.float32
    assert torch.equal(by_position, F.conv2d(dense.float(), DEPTHWISE, padding=1, groups=4))
    assert torch.equal(by_name, by_position)


def test_a_depthwise_module_learns_from_bf16_inputs() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 4, 3, groups=4), torch.nn.BatchNorm2d(4))
    with Compute(dtype="bf16").autocast():
        torch.autograd.backward(network(IMAGES).float().square().mean())
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.dtype is torch.float32 for gradient in gradients)


def test_fp32_changes_nothing() -> None:
    with Compute().autocast():
        assert F.conv2d(IMAGES, DENSE).dtype is torch.float32


def test_nothing_is_left_behind() -> None:
    with Compute(dtype="bf16").autocast():
        pass
    assert F.conv2d(IMAGES.bfloat16(), DEPTHWISE.bfloat16(), groups=4).dtype is torch.bfloat16


def test_a_network_with_windows_over_three_axes_is_placed() -> None:
    """Only tensors of four axes have their channels last; `Module.to` fails with others."""
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3), torch.nn.Conv3d(1, 2, 3))
    Compute().place(network)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous()
