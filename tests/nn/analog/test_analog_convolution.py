"""Analog channels: held against the operation written out in numpy, their export, and what training makes of them."""

import copy
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from offramp.deploy.onnx.stage_graphs import stage_models
from offramp.errors import ConfigError, InputError, UnsupportedLayerError
from offramp.hardware.chip_formulas import Converters, InMemoryArray
from offramp.hardware.loader import load_accelerator
from offramp.nn.analog.array_arithmetic import Noise
from offramp.nn.analog.make_analog import analog_parts, make_analog_, set_channels_, set_noise_
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.activation_layers import integers_of
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer
from offramp.nn.quantization.quantize import convert_, prepare_
from offramp.space.architecture import Architecture, StageChoice

CLASSES = 4
NAME = "stages.0.second"


def diana_array() -> InMemoryArray:
    formulas = load_accelerator("diana").formulas
    assert formulas is not None
    assert formulas.analog is not None
    return cast(InMemoryArray, formulas.analog.cycles)


ARRAY = diana_array()


class Stage(nn.Module):
    """Two convolutions with batch norm and ReLU; the second is the one that becomes analog."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, 6, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(6)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.norm1(self.first(images)))
        return torch.relu(self.norm2(self.second(hidden)))


def network(width: int = 8, seed: int = 0) -> EarlyExitNetwork:
    torch.manual_seed(seed)
    branch = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))
    architecture = Architecture("plain", 8, (StageChoice(1, 6, (3,), (1,)),))
    result = EarlyExitNetwork(architecture, [Stage(width)], [branch], (3, 8, 8), CLASSES)
    with torch.no_grad():
        for module in result.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(-1.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return result.eval()


def images(count: int = 32, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def prepared(channels: int, *, width: int = 8, array: InMemoryArray = ARRAY, seed: int = 0) -> EarlyExitNetwork:
    result = network(width, seed)
    prepare_(result, [images()])
    make_analog_(result, {NAME: channels}, array, [images(), images(seed=2)])
    return result.eval()


def analog_layer(of: EarlyExitNetwork) -> QuantizedMatrixLayer:
    return cast(QuantizedMatrixLayer, dict(of.named_modules())[NAME])


def run_layer(of: EarlyExitNetwork, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What the analog layer reads and gives."""
    seen: list[Tensor] = []
    handle = analog_layer(of).register_forward_hook(lambda module, args, out: seen.extend((args[0], out)))
    with torch.no_grad():
        of(inputs)
    handle.remove()
    return seen[0], seen[1]


def written_out(
    layer: QuantizedMatrixLayer, values: Tensor, channels: int, array: InMemoryArray
) -> NDArray[np.float64]:
    """The analog channels position by position, from the definition."""
    source = layer.known_sources()[0]
    stored = integers_of(values, source).numpy().astype(np.int64)
    low, high = -(2 ** (array.converters.input_bits - 1)), 2 ** (array.converters.input_bits - 1) - 1
    shift = 0
    while (255 >> shift) > high:
        shift += 1
    # To the nearest, halves down.
    entering = np.clip(np.ceil(stored / 2**shift - 0.5), low, high)
    step = layer.ternary_scale.detach().abs().double().numpy()  # type: ignore[operator]
    weight = layer.weight.detach().double().numpy()[:channels]
    ternary = np.clip(np.rint(weight / step[:channels, None, None, None]), -1, 1)
    adc = float(layer.adc_scale.detach().abs())  # type: ignore[operator]
    size = array.rows // 9
    padded = np.pad(entering, ((0, 0), (0, 0), (1, 1), (1, 1)))
    result = np.zeros((len(stored), channels, 8, 8))
    top = 2 ** (array.converters.output_bits - 1) - 1
    for start in range(0, weight.shape[1], size):
        group = slice(start, start + size)
        for y in range(8):
            for x in range(8):
                window = padded[:, group, y : y + 3, x : x + 3]
                sums = np.einsum("bcij,kcij->bk", window, ternary[:, group])
                result[:, :, y, x] += np.clip(np.rint(sums / adc), -top - 1, top)
    assert layer.norm_weight is not None
    assert layer.norm_bias is not None
    fold = layer.norm_weight.detach().abs() / (layer.running_var + layer.eps).sqrt()
    bias = layer.norm_bias.detach() - layer.running_mean * fold
    unit = adc * float(source.step) * 2**shift * step[:channels] * fold.numpy()[:channels]
    real = result * unit[:, None, None] + bias.numpy()[:channels, None, None]
    whole = np.clip(np.rint(real / float(layer.step)), 0, 255)
    return cast(NDArray[np.float64], whole)


@pytest.mark.parametrize("channels", [6, 2])
@pytest.mark.parametrize("rows", [1152, 27])
def test_the_deployed_layer_computes_what_the_array_does(channels: int, rows: int) -> None:
    """With 27 rows the eight input channels come in groups of 3, whose sums are read one by one."""
    array = replace(ARRAY, rows=rows)
    net = prepared(channels, array=array)
    read, made = run_layer(net, images(4, seed=5))
    layer = analog_layer(net)
    ours = (made / layer.step).round()[:, :channels].numpy()
    expected = written_out(layer, read, channels, array)
    # Products are float32 here and float64 there: a value halfway between two integers may go either way.
    assert np.abs(ours - expected).max() <= 1
    assert (ours != expected).mean() < 0.002
    assert np.unique(expected).size > 5


def test_digital_channels_are_those_of_the_digital_network() -> None:
    net = prepared(2)
    digital = copy.deepcopy(net)
    set_channels_(digital, {})
    values = images(4, seed=5)
    (read, mixed), (same, whole) = run_layer(net, values), run_layer(digital, values)
    assert torch.equal(read, same)
    assert torch.equal(mixed[:, 2:], whole[:, 2:])
    assert not torch.equal(mixed[:, :2], whole[:, :2])


def test_training_computes_what_is_deployed() -> None:
    """With the batch norm at its running statistics; sums halfway between two readings may go either way."""
    net = prepared(4)
    layer = analog_layer(net)
    read, deployed = run_layer(net, images(4, seed=5))
    part = analog_parts(net)[NAME]
    with torch.no_grad():
        layer.adc_scale.mul_(1.0137)  # type: ignore[operator]
        read, deployed = run_layer(net, images(4, seed=5))
        trained = part._run_training(layer, read)
    steps = ((trained - deployed) / layer.step).abs()
    assert float((steps > 0.5).float().mean()) < 0.005


def test_everything_learns() -> None:
    net = prepared(4).train()
    set_noise_(net, torch.Generator().manual_seed(3), shared_by=4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    labels = torch.arange(32) % CLASSES
    data = images() + labels.view(-1, 1, 1, 1) * 0.7
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(net(data)[0], labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    layer = analog_layer(net)
    for parameter in (layer.adc_scale, layer.ternary_scale, layer.weight):
        assert cast(Tensor, parameter).grad is not None
        assert float(cast(Tensor, cast(Tensor, parameter).grad).abs().sum()) > 0
    assert losses[-1] < 0.7 * losses[0]


def test_noise_is_proportional_to_what_is_read_seeded_and_off_on_demand() -> None:
    net = prepared(6)
    quiet = run_layer(net, images(4))[1]
    assert torch.equal(quiet, run_layer(net, images(4))[1])
    draws = []
    for seed in (1, 1, 2):
        set_noise_(net, torch.Generator().manual_seed(seed))
        draws.append(run_layer(net, images(4))[1])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    set_noise_(net, None)
    assert torch.equal(quiet, run_layer(net, images(4))[1])


def test_the_converter_reads_with_the_stated_noise() -> None:
    noise, limits = Noise(), prepared(6)
    part = analog_parts(limits)[NAME]
    noise.generator = torch.Generator().manual_seed(0)
    for value, expected in ((20.0, 0.8), (-10.0, 0.4)):
        read = noise.read(torch.full((200, 1, 10, 10), value), 25.0, part.output_range, 1.0)
        assert torch.equal(read, read.round())
        # Rounding adds the variance of a uniform distribution where several integers are hit.
        spread = float(read.std())
        assert spread == pytest.approx(np.sqrt(expected**2 + 1 / 12), rel=0.15)
        assert float(read.mean()) == pytest.approx(value, abs=0.05)
    largest = noise.read(torch.full((100, 1, 10, 10), 31.0), 5.0, part.output_range, 1.0)
    assert (float(largest.max()), float(largest.min()) < 25) == (31.0, True)
    assert torch.equal(noise.read(torch.zeros(4, 1, 2, 2), 25.0, part.output_range, 1.0), torch.zeros(4, 1, 2, 2))
    assert copy.deepcopy(noise).generator is None


def test_channels_may_change_and_norms_follow() -> None:
    net = prepared(6)
    before = analog_layer(net).running_mean.clone()
    set_channels_(net, {NAME: 2}, [images(seed=7)])
    assert analog_parts(net)[NAME].channels == 2
    assert not torch.equal(before, analog_layer(net).running_mean)
    assert not net.training
    with pytest.raises(ConfigError, match="0 to 6 analog channels, got 7"):
        set_channels_(net, {NAME: 7})


def test_a_workload_has_the_same_layers_before_and_after() -> None:
    plain = lower(network())
    assert lower(prepared(4)) == plain
    assert lower(prepared(0)) == plain


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ({"stages.0.third": 2}, "stages.0.third: no quantised layer of that name"),
        ({"branches.0.2": 2}, "convolutions without groups only"),
        ({NAME: 9}, "it has 6 channels, not 9"),
    ],
)
def test_what_cannot_be_analog_is_refused(channels: dict[str, int], words: str) -> None:
    net = network()
    prepare_(net, [images()])
    with pytest.raises(ConfigError, match=words):
        make_analog_(net, channels, ARRAY, [images()])
    assert not analog_parts(net)


def test_refusals_of_twice_and_of_no_images() -> None:
    net = prepared(4)
    with pytest.raises(ConfigError, match="analog channels already"):
        make_analog_(net, {NAME: 4}, ARRAY, [images()])
    fresh = network()
    prepare_(fresh, [images()])
    with pytest.raises(InputError, match="at least one batch"):
        make_analog_(fresh, {NAME: 4}, ARRAY, [])


def test_integers_alone_cannot_compute_it() -> None:
    with pytest.raises(UnsupportedLayerError, match=r"analog channels, the first is stages\.0\.second"):
        convert_(prepared(4))


def test_bits_that_are_lost_on_the_way_in() -> None:
    net = prepared(4)
    layer = analog_layer(net)
    part = analog_parts(net)[NAME]
    source = layer.known_sources()[0]
    assert part.dropped_bits(source) == 2  # 0..255 into -64..63
    wide = replace(ARRAY, converters=Converters(9, 6, 25.0, "invented"))
    assert replace(part, array=wide).dropped_bits(source) == 0


@pytest.mark.parametrize("channels", [6, 2])
def test_the_exported_file_computes_the_same_without_noise(channels: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = prepared(channels)
    set_noise_(net, torch.Generator().manual_seed(1))
    (model,) = stage_models(net)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = images(64, seed=9)
    (ours,) = session.run(None, {session.get_inputs()[0].name: values.numpy()})
    set_noise_(net, None)
    with torch.no_grad():
        expected = net(values)[0].numpy()
    assert np.abs(ours - expected).max() <= 0.01 * np.abs(expected).max()
    assert (ours.argmax(1) == expected.argmax(1)).mean() >= 0.95
