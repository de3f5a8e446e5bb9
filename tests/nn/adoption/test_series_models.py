"""Models that read series (batch, channels, steps) or vectors (batch, features) are adopted with exits and priced."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import offramp
from offramp.errors import AdoptError, UnsupportedLayerError
from offramp.nn.adoption.adopted_model import OWN_HEAD, AdoptedModel
from offramp.nn.adoption.feature_layout import FeatureLayout, layout_of
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork, FeatureInfo
from offramp.nn.quantization.quantize import prepare_
from offramp.nn.supernet.supernet import Supernet
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.workload.layer import Op

BRANCHES = ("conv", "pool_linear")


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(inputs, outputs, 5, stride, 2)
        self.norm = nn.BatchNorm1d(outputs)
        self.second = nn.Conv1d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv1d(inputs, outputs, 1, stride)

    def forward(self, series: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.norm(self.first(series)))) + self.shortcut(series))


class Recurrent(nn.Module):
    """Convolutions without padding, so that the numbers of steps are no parts of the series' length."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(6, 8, 5), nn.ReLU())
        self.first = kind(8, 12, batch_first=True)  # type: ignore[call-arg]
        self.second = kind(12, 12, batch_first=True)  # type: ignore[call-arg]
        self.classifier = nn.Linear(12, 4)

    def forward(self, series: Tensor) -> Tensor:
        states, _ = self.first(self.front(series).transpose(1, 2))
        states, _ = self.second(states)
        logits: Tensor = self.classifier(states[:, -1])
        return logits


def convolutional() -> nn.Module:
    return nn.Sequential(
        Block(6, 8, 2),
        nn.MaxPool1d(2),
        Block(8, 12, 2),
        nn.AvgPool1d(2),
        Block(12, 16, 1),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))


def with_all_exits(model: AdoptedModel) -> EarlyExitNetwork:
    space = model.space(model.input_shape)
    members = EarlyExitSpace(space, BRANCHES, final_branch=OWN_HEAD, max_exits=len(model.early_taps))
    supernet = Supernet(space, BRANCHES, model.input_shape, model.num_classes, 0, model)
    architecture = members.with_all_exits(members.max_architecture(), np.random.default_rng(0))
    return supernet.extract(architecture).eval()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (convolutional(), (6, 40)),
        (Recurrent(nn.GRU), (6, 20)),
        (Recurrent(nn.LSTM), (6, 20)),
        (dense(), (6,)),
    ],
    ids=["convolutional", "gru", "lstm", "dense"],
)
def test_the_last_exit_gives_what_the_model_gives(model: nn.Module, shape: tuple[int, ...]) -> None:
    adopted = offramp.adopt(model, torch.randn(2, *shape))
    network = with_all_exits(adopted)
    assert adopted.input_shape == (6, 1, shape[1]) if len(shape) == 2 else (6, 1, 1)
    assert network.num_exits >= 2
    samples = torch.randn(5, *shape)
    with torch.no_grad():
        found = network(samples.view(5, *adopted.input_shape))
        assert torch.equal(found[-1], model.eval()(samples))
    assert all(logits.shape == (5, 4) for logits in found)
    costs = lower(network).macs_to_exit()
    assert all(earlier < later for earlier, later in itertools.pairwise(costs))
    assert all(layer.shape.fy == 1 for layer in lower(network).layers if layer.shape.op is Op.CONV)


def test_exits_of_a_convolutional_model_are_behind_its_blocks() -> None:
    adopted = offramp.adopt(convolutional(), torch.randn(2, 6, 40))
    assert [tap.name for tap in adopted.taps] == ["1", "3", "4"]
    sizes = [tap.layout.features for tap in adopted.taps]
    # 40 steps, halved by the stride of 2 and by the pooling: 10; again: 5 and 2.
    assert sizes == [FeatureInfo(8, 1, 10), FeatureInfo(12, 1, 2), FeatureInfo(16, 1, 2)]


def test_states_of_recurrent_layers_are_steps_of_channels() -> None:
    adopted = offramp.adopt(Recurrent(nn.GRU), torch.randn(2, 6, 20))
    assert [tap.name for tap in adopted.taps] == ["transpose", "first", "second"]
    assert adopted.taps[0].layout == FeatureLayout("tokens", FeatureInfo(8, 1, 16))  # 20 - 4 steps
    assert [tap.layout for tap in adopted.taps[1:]] == [FeatureLayout("tokens", FeatureInfo(12, 1, 16))] * 2


def test_macs_of_recurrent_layers_are_those_of_their_gates() -> None:
    """A GRU has 3 gates, an LSTM 4; each gate reads the input and the state, at every step."""
    for kind, gates in ((nn.GRU, 3), (nn.LSTM, 4)):
        adopted = offramp.adopt(Recurrent(kind), torch.randn(2, 6, 20))
        network = with_all_exits(adopted).with_exits(())
        convolution, steps = 16 * 6 * 8 * 5, 16
        layers = steps * gates * 12 * ((8 + 12) + (12 + 12))
        assert lower(network).macs_to_exit()[-1] == convolution + layers + 12 * 4


def test_a_model_with_exits_of_its_own_reads_series() -> None:
    class TwoExits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv1d(3, 4, 3), nn.Conv1d(4, 4, 3)
            self.early, self.late = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
            first = self.first(series)
            return self.early(first.mean(2)), self.late(self.second(first).mean(2))

    model = TwoExits().eval()
    adopted = offramp.adopt_exits(model, torch.randn(2, 3, 12))
    series = torch.randn(4, 3, 12)
    with torch.no_grad():
        pairs = zip(adopted.network(series.unsqueeze(2)), model(series), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert adopted.network.input_shape == (3, 1, 12)


def test_the_layer_decides_which_axis_holds_the_channels() -> None:
    # 50 is a half of 100 steps, and may be a number of channels.
    assert layout_of((2, 100, 50), (1, 100), channels_last=False) == FeatureLayout("row", FeatureInfo(100, 1, 50))
    assert layout_of((2, 100, 50), (1, 100), channels_last=True) == FeatureLayout("tokens", FeatureInfo(50, 1, 100))
    assert layout_of((2, 7, 50), (1, 100)) == FeatureLayout("row", FeatureInfo(7, 1, 50))
    assert layout_of((2, 50, 11), (1, 100)) == FeatureLayout("tokens", FeatureInfo(11, 1, 50))


def test_examples_of_another_number_of_axes_are_refused_with_a_sentence() -> None:
    with pytest.raises(AdoptError, match=r"series \(batch, channels, steps\).*got shape \(2, 1, 2, 3, 4\)"):
        offramp.adopt(dense(), torch.zeros(2, 1, 2, 3, 4))
    with pytest.raises(AdoptError, match="got shape"):
        offramp.adopt(dense(), torch.zeros(2, 0))


def test_convolutions_of_series_are_refused_by_quantisation_with_a_sentence() -> None:
    network = with_all_exits(offramp.adopt(convolutional(), torch.randn(2, 6, 40)))
    with pytest.raises(UnsupportedLayerError, match="Conv1d"):
        prepare_(network, [torch.randn(4, 6, 1, 40)])
