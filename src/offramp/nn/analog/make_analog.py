"""Assignment of output channels of a quantised network to an analog core."""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from offramp.errors import ConfigError, InputError
from offramp.hardware.chip_formulas import InMemoryArray
from offramp.nn.analog.analog_convolution import AnalogPart
from offramp.nn.analog.array_arithmetic import TERNARY, Noise, best_step
from offramp.nn.network import EarlyExitNetwork, evaluating
from offramp.nn.quantization.fake_quantize import best_weight_steps
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer


def make_analog_(
    network: EarlyExitNetwork, channels: Mapping[str, int], array: InMemoryArray, images: Iterable[Tensor]
) -> None:
    """Assign the first output channels of some layers of a prepared network to an analog core.

    There is no noise until `set_noise_` is called.

    Args:
        network: A network prepared for quantisation.
        channels: Number of analog output channels by the layer's name in the network's workload.
        array: The array of the core.
        images: Batches (batch, channels, height, width); the first one gives the converters' steps, all of them the
            batch-norm statistics.

    Raises:
        ConfigError: A layer is no quantised convolution without groups, has fewer channels, or has analog ones already.
        InputError: Channels are to be assigned and there is no batch.
    """
    modules = dict(network.named_modules())
    wanted = {name: count for name, count in channels.items() if count}
    faults = [f"{name}: {reason}" for name, count in wanted.items() if (reason := _fault(modules.get(name), count))]
    if faults:
        raise ConfigError(f"These layers cannot have analog channels: {'; '.join(faults)}.")
    if not wanted:
        return
    noise = Noise()
    layers = [cast(QuantizedMatrixLayer, modules[name]) for name in wanted]
    for layer, count in zip(layers, wanted.values(), strict=True):
        layer.analog = AnalogPart(count, array, noise)
        layer.adc_scale = nn.Parameter(torch.ones((), device=layer.weight.device))
        layer.ternary_scale = nn.Parameter(best_weight_steps(layer.weight, TERNARY))
    _calibrate(network, layers, images)


def _fault(module: nn.Module | None, count: int) -> str:
    if not isinstance(module, QuantizedMatrixLayer):
        return "no quantised layer of that name"
    if not module.is_convolution or module.groups != 1:
        return "an analog core runs convolutions without groups only"
    if not module.is_exact:
        return "its weights and its input must be quantised"
    if module.analog is not None:
        return "it has analog channels already"
    return "" if count <= len(module.weight) else f"it has {len(module.weight)} channels, not {count}"


def set_channels_(network: EarlyExitNetwork, channels: Mapping[str, int], images: Iterable[Tensor] = ()) -> None:
    """Change how many output channels are analog in the layers given to `make_analog_`.

    Args:
        network: The network.
        channels: Number of analog output channels by layer; layers without an entry get none.
        images: Batches (batch, channels, height, width) from which batch-norm statistics are measured again; without
            any, the statistics stay.

    Raises:
        ConfigError: A number is below 0, or above the number of the layer's channels.
    """
    modules = dict(network.named_modules())
    for name, part in analog_parts(network).items():
        layer, count = cast(QuantizedMatrixLayer, modules[name]), channels.get(name, 0)
        if not 0 <= count <= len(layer.weight):
            raise ConfigError(f"Layer {name} must have 0 to {len(layer.weight)} analog channels, got {count}.")
        part.channels = count
    _calibrate(network, [], images, required=False)


def analog_parts(network: nn.Module) -> dict[str, AnalogPart]:
    """The analog channels of a network.

    Args:
        network: The network.

    Returns:
        The analog part of each layer that has one, by the layer's name.
    """
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, QuantizedMatrixLayer) and isinstance(module.analog, AnalogPart):
            found[name] = module.analog
    return found


def set_noise_(network: nn.Module, generator: torch.Generator | None, *, shared_by: int = 1) -> None:
    """Switch the noise of all converters of a network on or off.

    Args:
        network: The network.
        generator: Draws the noise; None: there is none.
        shared_by: How many images of a batch have the same noise; more is faster and good enough for training.
    """
    for part in analog_parts(network).values():
        part.noise.generator, part.noise.shared_by = generator, shared_by


@torch.no_grad()
def _calibrate(
    network: EarlyExitNetwork, layers: list[QuantizedMatrixLayer], images: Iterable[Tensor], *, required: bool = True
) -> None:
    parts = [cast(AnalogPart, layer.analog) for layer in layers]
    norms = [m for m in network.modules() if isinstance(m, QuantizedMatrixLayer) and m.has_norm]
    momenta = [norm.momentum for norm in norms]
    seen = 0
    with evaluating(network):
        network.train()
        try:
            for batch in images:
                if not seen and parts:
                    for part in parts:
                        part.observed = []
                    network(batch)
                    for layer, part in zip(layers, parts, strict=True):
                        _fit_converter(layer, part)
                seen += 1
                for norm in norms:
                    # The n-th batch has weight 1/n; the first one thus replaces the old statistics.
                    norm.momentum = 1.0 / seen
                network(batch)
        finally:
            for part in parts:
                part.observed = None
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    if not seen and required:
        raise InputError("To choose the converters' steps, at least one batch of images is needed, got none.")


def _fit_converter(layer: QuantizedMatrixLayer, part: AnalogPart) -> None:
    sums = torch.cat(part.observed or [torch.ones(1)])
    part.observed = None
    cast(Tensor, layer.adc_scale).fill_(best_step(sums, part.output_range))
