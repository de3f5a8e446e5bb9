"""Models with exits of their own, as lists and dictionaries: the stages give exactly what the models give."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.errors import AdoptError
from offramp.nn.adoption.adopt import adopt
from offramp.nn.adoption.adopt_exits import adopt_exits
from offramp.nn.lowering.lower import lower
from tests.nn.toy_models import SHAPE, conv

EXAMPLE = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
CLASSES = 5


class Branchy(nn.Module):
    """A chain with branches, like BranchyNet; ``wrap`` puts the logits together."""

    def __init__(self, wrap: Callable[[list[Tensor]], object] = lambda logits: logits) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([conv(3, 8), conv(8, 8), conv(8, 8)])
        self.heads = nn.ModuleList(nn.Linear(8, CLASSES) for _ in range(3))
        self.wrap = wrap

    def forward(self, images: Tensor) -> object:
        logits = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            images = block(images)
            logits.append(head(F.adaptive_avg_pool2d(images, 1).view(images.size(0), -1)))
        return self.wrap(logits)


class MultiScale(nn.Module):
    """Two maps of different sizes pass from block to block, like MSDNet."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = conv(3, 4), conv(4, 6, stride=2)
        self.fine_steps = nn.ModuleList(conv(4, 4) for _ in range(2))
        self.coarse_steps = nn.ModuleList(conv(10, 6) for _ in range(2))
        self.heads = nn.ModuleList(nn.Linear(6, CLASSES) for _ in range(3))

    def forward(self, images: Tensor) -> list[Tensor]:
        scales = [self.fine(images)]
        scales.append(self.coarse(scales[0]))
        logits = [self.heads[0](scales[-1].mean((2, 3)))]
        for index in range(2):
            down = F.max_pool2d(scales[0], 2)
            scales = [
                self.fine_steps[index](scales[0]),
                self.coarse_steps[index](torch.cat([down, scales[1]], 1)),
            ]
            logits.append(self.heads[index + 1](scales[-1].mean((2, 3))))
        return logits


def final_first(logits: list[Tensor]) -> dict[str, Tensor]:
    return {"out": logits[2], "aux1": logits[0], "aux2": logits[1]}


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (Branchy, ("0", "1", "2")),
        (lambda: Branchy(tuple), ("0", "1", "2")),
        (lambda: Branchy(final_first), ("aux1", "aux2", "out")),
        (
            lambda: Branchy(lambda logits: {"logits": logits[-1], "early": logits[:-1]}),
            ("early.0", "early.1", "logits"),
        ),
        (MultiScale, ("0", "1", "2")),
    ],
)
def test_stages_give_exactly_what_the_model_gives(build: Callable[[], nn.Module], names: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model = build().eval()
    if names == ("aux1", "aux2", "out"):
        with pytest.warns(UserWarning, match="order in which they are computed: aux1, aux2, out"):
            adopted = adopt_exits(model, EXAMPLE)
    else:
        adopted = adopt_exits(model, EXAMPLE)
    assert adopted.names == names
    for batch in (1, 4):
        images = torch.randn(batch, *SHAPE)
        with torch.no_grad():
            found, given = adopted.network(images), model(images)
            features, stepwise = images, []
            for index in range(3):
                features, logits = adopted.network.run_stage(index, features)
                stepwise.append(logits)
        if isinstance(given, dict):
            given = (
                [given["aux1"], given["aux2"], given["out"]] if "out" in given else [*given["early"], given["logits"]]
            )
        assert all(torch.equal(mine, other) for mine, other in zip(found, given, strict=True))
        assert all(torch.equal(mine, other) for mine, other in zip(stepwise, given, strict=True))


def test_every_exit_has_its_price() -> None:
    workload = lower(adopt_exits(Branchy(), EXAMPLE).network)
    first, block, head = 64 * 9 * 3 * 8, 64 * 9 * 8 * 8, 8 * CLASSES
    assert workload.macs_to_exit() == (first + head, first + block + 2 * head, first + 2 * block + 3 * head)


def test_layers_of_several_scales_are_priced_once() -> None:
    workload = lower(adopt_exits(MultiScale(), EXAMPLE).network)
    fine, coarse = 64 * 9 * 3 * 4, 16 * 9 * 4 * 6
    steps, heads = 64 * 9 * 4 * 4 + 16 * 9 * 10 * 6, 6 * CLASSES
    # The last fine step is not needed for any exit.
    last = 16 * 9 * 10 * 6
    assert workload.macs_to_exit()[-1] == fine + coarse + steps + last + 3 * heads


def test_an_activation_at_each_exit_is_left_out() -> None:
    torch.manual_seed(0)
    model = Branchy(lambda logits: [F.softmax(item, 1) for item in logits]).eval()
    with pytest.warns(UserWarning, match="ends in softmax"):
        adopted = adopt_exits(model, EXAMPLE)
    with torch.no_grad():
        for logits, given in zip(adopted.network(EXAMPLE), model(EXAMPLE), strict=True):
            torch.testing.assert_close(F.softmax(logits, 1), given)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Branchy(lambda logits: logits[-1]), "at least two tensors of logits"),
        (Branchy(lambda logits: [logits[0], logits[1][:, :3]]), "for the same classes"),
        (Branchy(lambda logits: [logits[0], logits[1] if float(logits[0].sum()) > 0 else logits[2]]), "decides by"),
    ],
)
def test_what_cannot_be_taken_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(AdoptError, match=message):
        adopt_exits(model, EXAMPLE)


def test_adopt_points_to_the_function_for_several_exits() -> None:
    with pytest.raises(AdoptError, match=r"taken by offramp\.adopt_exits"):
        adopt(Branchy(), EXAMPLE)
