"""Models in which two tensors go on side by side are cut with both of them packed into one."""

import pytest
import torch
from torch import Tensor, nn

from offramp.nn.adoption.adopt import adopt
from offramp.nn.adoption.feature_layout import PackedPart
from offramp.nn.lowering.lower import lower
from offramp.nn.supernet.supernet import Supernet
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.workload.layer import Op

EXAMPLE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class _Exchange(nn.Module):
    """Two rows of tokens, each of which gets the mean of the other."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Sequential(nn.Linear(wide, wide)), nn.Sequential(nn.Linear(narrow, narrow))
        self.to_wide, self.to_narrow = nn.Linear(narrow, wide), nn.Linear(wide, narrow)

    def forward(self, both: list[Tensor]) -> list[Tensor]:
        wide, narrow = self.wide(both[0]), self.narrow(both[1])
        return [wide + self.to_wide(narrow.mean(1, True)), narrow + self.to_narrow(wide.mean(1, True))]


class TwoRows(nn.Module):
    """As CrossViT (Chen et al., 2021): patches of two sizes, exchanged in every block; logits of both are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(3, 12, 8, 8)
        self.blocks = nn.ModuleList([_Exchange(8, 12) for _ in range(3)])
        self.heads = nn.ModuleList([nn.Linear(8, 5), nn.Linear(12, 5)])

    def forward(self, images: Tensor) -> Tensor:
        both = [self.small(images).flatten(2).transpose(1, 2), self.large(images).flatten(2).transpose(1, 2)]
        for block in self.blocks:
            both = block(both)
        return torch.stack([head(row.mean(1)) for head, row in zip(self.heads, both, strict=True)], dim=0).mean(0)


def macs_of_two_rows() -> int:
    """16 patches of 4x4 with 8 channels, 4 of 8x8 with 12; in each block both rows and both exchanges; two heads."""
    patches = 16 * 48 * 8 + 4 * 192 * 12
    block = 16 * 8 * 8 + 4 * 12 * 12 + 2 * 8 * 12
    return patches + 3 * block + 8 * 5 + 12 * 5


@pytest.fixture(scope="module")
def model() -> TwoRows:
    torch.manual_seed(0)
    return TwoRows().eval()


def test_a_model_of_two_rows_of_tokens_has_taps_that_read_one_of_them(model: TwoRows) -> None:
    with pytest.warns(UserWarning, match="Several tensors go on side by side"):
        adopted = adopt(model, EXAMPLE)
    assert len(adopted.taps) >= 4
    widths = {tap.layout.features.channels: tap.layout.features for tap in adopted.taps}
    assert set(widths) <= {8, 12}
    assert all((info.height, info.width) == {8: (4, 4), 12: (2, 2)}[width] for width, info in widths.items())
    shares = [tap.macs_share for tap in adopted.taps]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1] <= 1


def test_its_pieces_compute_the_same_and_cost_the_same_macs(model: TwoRows) -> None:
    with pytest.warns(UserWarning, match="packed into one"):
        adopted = adopt(model, EXAMPLE)
    images = torch.randn(5, 3, 16, 16)
    features = images
    for piece in adopted.pieces:
        features = piece(features)
    torch.testing.assert_close(features, model(images))
    space = EarlyExitSpace(adopted.space((3, 16, 16)), ("global_pool",), final_branch="own_head")
    supernet = Supernet(adopted.space((3, 16, 16)), ("global_pool",), (3, 16, 16), 5, seed=0, family=adopted)
    workload = lower(supernet.extract(space.max_architecture().without_exits()).eval())
    assert workload.macs_to_exit()[-1] == macs_of_two_rows()
    packings = [layer.shape.num_outputs for layer in workload.layers if layer.shape.op is Op.CONCAT]
    stacked_logits = 2 * 5
    assert packings == [*[16 * 8 + 4 * 12] * len(adopted.taps), stacked_logits]


def test_an_exit_learns_from_the_tensor_that_it_reads(model: TwoRows) -> None:
    with pytest.warns(UserWarning, match="packed into one"):
        adopted = adopt(model, EXAMPLE, max_taps=2)
    assert len(adopted.taps) == 3
    supernet = Supernet(adopted.space((3, 16, 16)), ("global_pool",), (3, 16, 16), 5, seed=0, family=adopted)
    space = EarlyExitSpace(adopted.space((3, 16, 16)), ("global_pool",), final_branch="own_head")
    largest = space.max_architecture()
    network = supernet.extract(space.with_spread_exits(largest, 2, "global_pool", largest.policy))
    logits = network(EXAMPLE)
    assert len(logits) == 3
    torch.autograd.backward(logits[0].square().sum())
    assert all(part.grad is not None for part in network.branches[0].parameters())


def test_a_part_is_taken_out_of_the_packed_tensors() -> None:
    first, second = torch.arange(12.0).reshape(2, 3, 2), torch.arange(16.0).reshape(2, 2, 2, 2)
    packed = torch.cat([first.flatten(1), second.flatten(1)], 1)
    assert torch.equal(PackedPart(0, (3, 2)).of(packed), first)
    assert torch.equal(PackedPart(6, (2, 2, 2)).of(packed), second)


def test_two_stacked_tensors_are_no_two_samples() -> None:
    """A stack of as many tensors as the example has images was taken for a batch, and an exit could be behind it."""

    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4, 5)

        def forward(self, images: Tensor) -> Tensor:
            stem = self.stem(images)
            both = torch.stack([self.left(stem).mean((2, 3)), self.right(stem).mean((2, 3))], dim=0)
            return self.head(both).mean(0)

    with pytest.warns(UserWarning, match="side by side"):
        adopted = adopt(Stacked().eval(), EXAMPLE)
    assert all("stack" not in tap.name for tap in adopted.taps)
