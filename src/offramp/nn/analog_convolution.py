"""Convolutions with some output channels on an analog in-memory core.

Such channels have ternary weights. Inputs lose bits on their way to the array, the sums of each group of rows are
read by a converter of a few bits, with noise; groups are added, scaled and shifted digitally. The other channels are
the digital core's, as in `quantized_matrix`. Source: KULeuven-MICAS/diana-quantlib, core/Operations.py (the operation,
not its code); per-channel split: Risso et al. 2023, ODiMO, arXiv 2306.05060.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function

from offramp.errors import ConfigError, InputError
from offramp.hardware.chip_formulas import InMemoryArray
from offramp.nn.network import EarlyExitNetwork, evaluating
from offramp.nn.quantization.activation_layers import QuantizedLayer, integers_of
from offramp.nn.quantization.fake_quantize import (
    SMALLEST_STEP,
    IntegerRange,
    best_weight_steps,
    fake_quantize,
    gradient_scale,
    quantize,
    step_size,
)
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer, per_channel

TERNARY = IntegerRange(-1, 1)
_FRACTIONS = 40
_SAMPLE = 2**14


class Noise:
    """Where the noise of all analog layers of a network comes from; copies of it are silent."""

    def __init__(self) -> None:
        self.generator: torch.Generator | None = None
        # Drawing takes as long as a convolution: in training, several images of a batch may have the same noise.
        self.shared_by = 1

    def __deepcopy__(self, memo: dict[int, Any]) -> "Noise":
        return Noise()

    def read(self, results: Tensor, snr: float, limits: IntegerRange, step: float) -> Tensor:
        """``step`` times integers as they are read: round(y + y / snr * N(0, 1)), limited; without gradient."""
        if self.generator is None or not snr:
            return results
        shares = self.shared_by if len(results) % self.shared_by == 0 else 1
        groups = results.view(shares, -1, *results.shape[1:])
        drawn = torch.randn(groups.shape[1:], generator=self.generator, device=self.generator.device)
        drawn = drawn.mul_(1.0 / (snr * step)).to(results.device)
        # y is whole, so that rounding the sum is rounding what is added.
        read = torch.add(groups, (groups * drawn).round_(), alpha=step)
        return read.clamp_(limits.lower * step, limits.upper * step).flatten(0, 1)


class _Noisy(torch.autograd.Function):
    """Reads with noise; gradients pass unchanged."""

    @staticmethod
    def forward(ctx: Any, read: Tensor, noise: Noise, snr: float, limits: IntegerRange, step: float) -> Tensor:
        return noise.read(read, snr, limits, step).to(read.dtype).view_as(read)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        return gradients[0], None, None, None, None


def signed_range(bits: int) -> IntegerRange:
    """Two's complement."""
    return IntegerRange(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def row_groups(weight: Tensor, array: InMemoryArray) -> list[slice]:
    """Input channels of a convolution whose sums are read together: as many as the array has rows for."""
    _, inputs, height, width = weight.shape
    size = array.rows // (height * width)
    return [slice(start, min(start + size, inputs)) for start in range(0, inputs, size)]


def read_sums(sums: Tensor, scale: Tensor, array: InMemoryArray, noise: Noise) -> Tensor:
    """Sums of one group of rows as a converter with the learned step ``scale`` reads them, for training."""
    limits = signed_range(array.converters.output_bits)
    read = fake_quantize(sums, scale, limits, gradient_scale(sums[0].numel(), limits))
    step = float(step_size(scale.detach()))
    return cast(Tensor, _Noisy.apply(read, noise, array.converters.snr, limits, step))  # type: ignore[no-untyped-call]


def best_step(values: Tensor, limits: IntegerRange) -> float:
    """The step that loses least, in squares, of those that leave the largest value on the grid or cut it off."""
    largest = float(values.abs().max())
    best, best_loss = max(largest / limits.upper, SMALLEST_STEP), float("inf")
    for fraction in torch.linspace(0.05, 1.0, _FRACTIONS).tolist():
        step = max(largest * fraction / limits.upper, SMALLEST_STEP)
        loss = float((quantize(values, torch.tensor(step), limits) * step - values).square().sum())
        if loss < best_loss:
            best, best_loss = step, loss
    return best


@dataclass
class AnalogPart:
    """The first ``channels`` outputs of a convolution on ``array``.

    The layer holds what is learned: ``adc_scale``, the converter's step, and ``ternary_scale``, the step of each output
    channel's weights, so that ``channels`` may change. ``observed`` collects sums while the step is being chosen.
    """

    channels: int
    array: InMemoryArray
    noise: Noise
    observed: list[Tensor] | None = field(default=None, compare=False)

    @property
    def results(self) -> IntegerRange:
        return signed_range(self.array.converters.output_bits)

    @property
    def inputs(self) -> IntegerRange:
        return signed_range(self.array.converters.input_bits)

    def lost_bits(self, source: QuantizedLayer) -> int:
        """Bits at the lower end that inputs lose so that all of the source's values fit."""
        lost = 0
        while source.limits.upper >> lost > self.inputs.upper or source.limits.lower >> lost < self.inputs.lower:
            lost += 1
        return lost

    def halves_down(self, source: QuantizedLayer) -> float:
        """To be taken away before rounding, so that halves go down: and no value is as near to two integers."""
        lost = self.lost_bits(source)
        return 0.5 ** (lost + 1) if lost else 0.0

    def groups(self, layer: QuantizedMatrixLayer) -> list[slice]:
        """Input channels whose sums are read together: as many as the array has rows for."""
        return row_groups(layer.weight, self.array)

    def run(self, layer: QuantizedMatrixLayer, inputs: Tensor) -> Tensor:
        """All output channels of the layer, the analog ones first."""

        def compute(values: Tensor) -> Tensor:
            return self._deployed(layer, values) if layer.computes_integers else self._trained(layer, values)

        return analog_conv2d(inputs, layer.weight, layer.stride, layer.padding, layer.dilation, compute)

    def _trained(self, layer: QuantizedMatrixLayer, inputs: Tensor) -> Tensor:
        (source,) = layer.known_sources()
        count = self.channels
        scale, weight = cast(Tensor, layer.ternary_scale)[:count], layer.weight[:count]
        step = step_size(scale)
        ternary = fake_quantize(weight, scale, TERNARY, gradient_scale(weight[0].numel(), TERNARY))
        step_in = self.input_step(source)
        entering = fake_quantize(inputs - self.halves_down(source) * step_in, step_in, self.inputs, 0.0)
        # Values are in input steps times ternary weights: what the array sees, times the input's step.
        total = self._read(layer, entering, ternary / per_channel_weight(step, weight), step_in)
        analog = total * per_channel(step, total)
        if layer.bias is not None:
            analog = analog + per_channel(layer.bias[:count], analog)
        parts = [analog]
        if count < len(layer.weight):
            rest, limits = layer.weight[count:], cast(IntegerRange, layer.weight_limits)
            kept = cast(Tensor, layer.weight_scale)[count:]
            rest = fake_quantize(rest, kept, limits, gradient_scale(rest[0].numel(), limits))
            parts.append(layer.multiply(inputs, rest, None if layer.bias is None else layer.bias[count:]))
        return layer.leave(layer.normalized(torch.cat(parts, 1) if len(parts) > 1 else analog))

    def input_step(self, source: QuantizedLayer) -> Tensor:
        return source.step * 2.0 ** self.lost_bits(source)

    def _read(self, layer: QuantizedMatrixLayer, entering: Tensor, weight: Tensor, unit: Tensor) -> Tensor:
        """Sums as read from the array, times ``unit``."""
        total: Tensor | None = None
        scale = cast(Tensor, layer.adc_scale) * unit
        for group in self.groups(layer):
            sums = layer.multiply(entering[:, group], weight[:, group], None)
            if self.observed is not None:
                flat = sums.detach().flatten().float() / unit
                self.observed.append(flat[:: max(1, flat.numel() // _SAMPLE) | 1])
            else:
                sums = read_sums(sums, scale, self.array, self.noise)
            total = sums if total is None else total + sums
        return cast(Tensor, total)

    def _deployed(self, layer: QuantizedMatrixLayer, inputs: Tensor) -> Tensor:
        """As the chip computes: integers into the array, integers out, one product and one sum per channel."""
        (source,) = layer.known_sources()
        whole, count = self.constants(layer), self.channels
        with torch.autocast(inputs.device.type, enabled=False):
            entering = integers_of(inputs, source) / 2.0 ** self.lost_bits(source)
            entering = (entering - self.halves_down(source)).round().clamp(self.inputs.lower, self.inputs.upper)
            total: Tensor | None = None
            for group in self.groups(layer):
                sums = layer.multiply(entering[:, group], whole.weight[:, group], None).round()
                read = (sums / whole.adc_step).round().clamp(self.results.lower, self.results.upper)
                read = self.noise.read(read, self.array.converters.snr, self.results, 1.0)
                total = read if total is None else total + read
        values = cast(Tensor, total) * per_channel(whole.factor, inputs) + per_channel(whole.offset, inputs)
        limits = layer.limits if layer.bits is not None else None
        if limits is not None:
            values = layer.on_grid(values.round().clamp(limits.lower, limits.upper))
        if count == len(layer.weight):
            return values
        return torch.cat([values, layer.run_integers(inputs, count)], 1)

    @torch.no_grad()
    def constants(self, layer: QuantizedMatrixLayer) -> "AnalogConstants":
        """The analog channels as deployed."""
        (source,) = layer.known_sources()
        count = self.channels
        step = step_size(cast(Tensor, layer.ternary_scale)[:count].float())
        weight = quantize(layer.weight[:count].float(), per_channel_weight(step, layer.weight), TERNARY)
        fold, bias = layer.fold()
        adc = step_size(cast(Tensor, layer.adc_scale).float())
        unit = 1.0 if layer.bits is None else layer.step.double()
        factor = adc.double() * self.input_step(source).double() * step.double() * fold[:count] / unit
        return AnalogConstants(weight, adc, factor.float(), (bias[:count] / unit).float())


@dataclass(frozen=True)
class AnalogConstants:
    """``weight`` -1, 0, 1; results (integers) times ``factor`` plus ``offset`` per channel are in output steps.

    Without an output grid they are the values themselves. ``adc_step``: one result in sums of inputs times weights.
    """

    weight: Tensor
    adc_step: Tensor
    factor: Tensor
    offset: Tensor


def analog_conv2d(
    inputs: Tensor,
    weight: Tensor,
    stride: tuple[int, ...],
    padding: Any,
    dilation: tuple[int, ...],
    compute: Callable[[Tensor], Tensor],
) -> Tensor:
    """``compute(inputs)``; whoever watches torch functions sees this one convolution and not what it is made of."""
    if has_torch_function((inputs, weight)):
        result: Tensor = handle_torch_function(
            analog_conv2d, (inputs, weight), inputs, weight, stride, padding, dilation, compute
        )
        return result
    return compute(inputs)


def per_channel_weight(values: Tensor, weight: Tensor) -> Tensor:
    return values.view(-1, *[1] * (weight.dim() - 1))


def make_analog_(
    network: EarlyExitNetwork, channels: Mapping[str, int], array: InMemoryArray, images: Iterable[Tensor]
) -> None:
    """Give the first channels of named layers of a prepared network to an analog core.

    ``channels``: how many, by the layer's name in the network's workload. ``images`` are batches from which converter
    steps (the first batch) and batch-norm statistics (all) are taken. Noise is off until `set_noise_`. Raises
    ConfigError for a layer that is no quantised convolution without groups, or has fewer channels.
    """
    modules = dict(network.named_modules())
    wanted = {name: count for name, count in channels.items() if count}
    faults = [f"{name}: {reason}" for name, count in wanted.items() if (reason := _why_not(modules.get(name), count))]
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


def _why_not(module: nn.Module | None, count: int) -> str:
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
    """Change how many channels of the layers that `make_analog_` named are analog; those not named: none.

    With ``images`` (batches), batch-norm statistics are measured anew.
    """
    modules = dict(network.named_modules())
    for name, part in analog_parts(network).items():
        layer, count = cast(QuantizedMatrixLayer, modules[name]), channels.get(name, 0)
        if not 0 <= count <= len(layer.weight):
            raise ConfigError(f"Layer {name} must have 0 to {len(layer.weight)} analog channels, got {count}.")
        part.channels = count
    _calibrate(network, [], images, required=False)


def analog_parts(network: nn.Module) -> dict[str, AnalogPart]:
    """By the layer's name."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, QuantizedMatrixLayer) and isinstance(module.analog, AnalogPart):
            found[name] = module.analog
    return found


def set_noise_(network: nn.Module, generator: torch.Generator | None, *, shared_by: int = 1) -> None:
    """Let all converters of a network draw their noise from ``generator``; None: none.

    ``shared_by`` images of a batch have the same noise, which is faster and good enough for training.
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
                    # The n-th batch weighs 1/n, so the first one overwrites whatever was there.
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
    cast(Tensor, layer.adc_scale).fill_(best_step(sums, part.results))
