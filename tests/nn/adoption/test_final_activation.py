"""A model that ends in softmax or the like is adopted by its logits, and says so."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.errors import AdoptError
from offramp.nn.adoption.adopt import adopt
from tests.nn.toy_models import CLASSES, SHAPE, Residual, Toy, conv

EXAMPLE = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


class Ended(Toy):
    """A model with a function behind its logits."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.end = end

    def forward(self, images: Tensor) -> Tensor:
        return self.end(super().forward(images))


ENDS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "module": (nn.Softmax(1), "softmax"),
    "last axis": (nn.Softmax(-1), "softmax"),
    "functional": (lambda x: F.softmax(x, dim=1), "softmax"),
    "torch": (lambda x: torch.softmax(x, -1), "softmax"),
    "method": (lambda x: x.softmax(1), "softmax"),
    "with an identity behind": (nn.Sequential(nn.Softmax(1), nn.Identity()), "softmax"),
    "reshaped": (lambda x: F.softmax(x[:, :, None, None], 1).flatten(1), "softmax"),
    "indexed": (lambda x: F.softmax(x[:, :, None, None], 1)[:, :, 0, 0], "softmax"),
    "log of softmax": (lambda x: torch.log(torch.softmax(x, 1)), "softmax and log"),
    "log_softmax": (lambda x: F.log_softmax(x, 1), "log_softmax"),
    "log_softmax module": (nn.LogSoftmax(1), "log_softmax"),
    "sigmoid": (torch.sigmoid, "sigmoid"),
    "sigmoid module": (nn.Sigmoid(), "sigmoid"),
    "logsigmoid": (F.logsigmoid, "logsigmoid"),
}


def run(pieces: tuple[nn.Module, ...], images: Tensor) -> Tensor:
    for piece in pieces:
        images = piece(images)
    return images


@pytest.mark.parametrize("name", ENDS)
def test_the_logits_of_a_model_that_ends_in_an_activation_are_taken(name: str) -> None:
    torch.manual_seed(0)
    end, text = ENDS[name]
    model = Ended(end).eval()
    with pytest.warns(UserWarning, match=f"ends in {text}, which was left out"):
        adopted = adopt(model, EXAMPLE)
    assert adopted.notes == (f"The model ends in {text}, which was left out: exits decide by the logits before it.",)
    images = torch.randn(4, *SHAPE) * 3
    with torch.no_grad():
        assert torch.equal(run(tuple(piece.eval() for piece in adopted.pieces), images), Toy.forward(model, images))


def test_an_activation_inside_a_part_of_the_model_is_left_out_too() -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES), nn.Softmax(1))
    with pytest.warns(UserWarning, match="softmax"):
        adopted = adopt(nn.Sequential(conv(3, 8), Residual(8), Residual(8), head), EXAMPLE)
    assert any(value < 0 for value in run(adopted.pieces, EXAMPLE).flatten())


def test_probabilities_from_other_code_are_refused() -> None:
    def by_hand(logits: Tensor) -> Tensor:
        powers = (logits - logits.amax(1, keepdim=True)).exp()
        return powers / powers.sum(1, keepdim=True)

    with pytest.raises(AdoptError, match="must give logits, but it gives probabilities"):
        adopt(Ended(by_hand), EXAMPLE)


def test_a_logarithm_of_the_features_is_no_activation() -> None:
    adopted = adopt(Ended(lambda x: torch.log(x.abs() + 1)), EXAMPLE)
    assert adopted.notes == ()
