"""ONNX form of a quantised network: QuantizeLinear and DequantizeLinear around float operators.

onnxruntime fuses such a pair of every convolution into integer arithmetic, where activations are unsigned 8-bit.
Narrower activations keep that form, with a Clip on the integers; weights of 2 to 4 bits are stored as such and cast to
8 bits, which a runtime does once, when it loads the file.
"""

from collections.abc import Iterable
from functools import singledispatch
from typing import Any, cast

import torch
from torch import Tensor, nn

from offramp.deploy.onnx.integer_weights import NAME_ENDS, opset_of_weights
from offramp.deploy.runtime.oldest_runtime import is_installed, oldest_runtime
from offramp.errors import ExportError
from offramp.nn.analog.analog_convolution import AnalogPart
from offramp.nn.exit_link import ExitLink
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.activation_layers import (
    GridMaxPool,
    QuantizedAdd,
    QuantizedAveragePool,
    QuantizedIdentity,
    QuantizedLayer,
)
from offramp.nn.quantization.fake_quantize import IntegerRange, quantize, step_size
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer
from offramp.nn.quantization.quantize import stage_sources


class _Grid(nn.Module):
    """Quantise to uint8 and back."""

    step: Tensor
    zero_point: Tensor
    top: Tensor

    def __init__(self, layer: QuantizedLayer) -> None:
        super().__init__()
        self.register_buffer("step", layer.step)
        self.register_buffer("zero_point", torch.tensor(-layer.limits.lower, dtype=torch.uint8))
        self.register_buffer("top", torch.tensor(layer.limits.upper - layer.limits.lower, dtype=torch.uint8))
        self.clips = layer.bits != 8

    def forward(self, values: Tensor) -> Tensor:
        stored = _emit("QuantizeLinear", values, self.step, self.zero_point, dtype=torch.uint8)
        if self.clips:
            # On the integers: between a convolution and its QuantizeLinear it would keep the two from being fused.
            stored = _emit("Clip", stored, torch.zeros_like(self.zero_point), self.top, dtype=torch.uint8)
        return _emit("DequantizeLinear", stored, self.step, self.zero_point, dtype=torch.float32)


def _emit(operator: str, values: Tensor, *others: Tensor, dtype: torch.dtype, **attributes: int) -> Tensor:
    """A node of the ONNX graph whose result has the shape of ``values``; the attributes go straight to ONNX."""
    result: Tensor = torch.onnx.ops.symbolic(
        operator, (values, *others), attrs={**attributes}, dtype=dtype, shape=values.shape
    )
    return result


class _Layer(nn.Module):
    """A body and what comes after it: a grid, or the activation of a layer that leaves its output in floats."""

    def __init__(self, body: nn.Module, layer: QuantizedLayer) -> None:
        super().__init__()
        self.body = body
        self.end = _Grid(layer) if layer.bits is not None else layer.activation or nn.Identity()

    def forward(self, *inputs: Tensor) -> Tensor:
        return cast(Tensor, self.end(self.body(*inputs)))


class _Matrix(nn.Module):
    """Convolution or linear layer of integer weights and biases, the latter in units of the sum."""

    step: Tensor
    bias: Tensor
    bias_step: Tensor

    def __init__(self, layer: QuantizedMatrixLayer, first: int = 0) -> None:
        """Output channels from ``first`` on."""
        super().__init__()
        # In a tuple, so that the float weights are not carried along.
        self._layer = (layer,)
        whole = layer.integers()
        limits = cast(IntegerRange, layer.weight_limits)
        self.weight = _Weight(whole.weight[first:], whole.weight_step[first:], limits)
        self.register_buffer("bias", whole.bias[first:].to(torch.int32))
        self.register_buffer("bias_step", whole.accumulator_step[first:])

    def forward(self, inputs: Tensor) -> Tensor:
        bias = _emit("DequantizeLinear", self.bias, self.bias_step, dtype=torch.float32, axis=0)
        return self._layer[0].multiply(inputs, self.weight(), bias)


class _AnalogMatrix(nn.Module):
    """Analog channels without their noise, as rounding and clipping; the digital ones follow as a convolution."""

    def __init__(self, layer: QuantizedMatrixLayer, part: AnalogPart) -> None:
        super().__init__()
        (source,) = layer.known_sources()
        whole = part.constants(layer)
        unit = 1.0 if layer.bits is None else layer.step
        self.groups, self.limits, self.results = part.groups(layer), part.input_range, part.output_range
        self._layer = (layer,)
        self.rounding_offset = part.rounding_offset(source)
        for name, value in (
            ("weight", whole.weight),
            ("input_step", part.input_step(source)),
            ("result_step", whole.adc_step),
            ("factor", (whole.factor * unit).view(-1, 1, 1)),
            ("offset", (whole.offset * unit).view(-1, 1, 1)),
        ):
            self.register_buffer(name, value)
        self.rest = _Matrix(layer, part.channels) if part.channels < len(layer.weight) else None

    def forward(self, inputs: Tensor) -> Tensor:
        values = dict(self.named_buffers(recurse=False))
        entering = (inputs / values["input_step"] - self.rounding_offset).round()
        entering = entering.clamp(self.limits.lower, self.limits.upper)
        total: Tensor | None = None
        for group in self.groups:
            sums = self._layer[0].multiply(entering[:, group], values["weight"][:, group], None)
            read = (sums / values["result_step"]).round().clamp(self.results.lower, self.results.upper)
            total = read if total is None else total + read
        analog = cast(Tensor, total) * values["factor"] + values["offset"]
        return analog if self.rest is None else torch.cat([analog, self.rest(inputs)], 1)


class _FloatMatrix(nn.Module):
    """Convolution or linear layer that computes in floats, with quantised weights or without."""

    def __init__(self, layer: QuantizedMatrixLayer) -> None:
        super().__init__()
        self.layer = layer
        self.weight: _Weight | None = None
        if layer.weight_limits is not None:
            step = step_size(cast(Tensor, layer.weight_scale).detach())
            whole = quantize(layer.weight.detach(), step.view(-1, *[1] * (layer.weight.dim() - 1)), layer.weight_limits)
            self.weight = _Weight(whole, step, layer.weight_limits)

    def forward(self, inputs: Tensor) -> Tensor:
        layer = self.layer
        weight = layer.weight if self.weight is None else self.weight()
        return layer.normalized(layer.multiply(inputs, weight, layer.bias))


class _Weight(nn.Module):
    """Integer weights with a step per output channel; the name says in how many bits they are to be stored."""

    step: Tensor

    def __init__(self, whole: Tensor, step: Tensor, limits: IntegerRange) -> None:
        super().__init__()
        bits = (limits.upper - limits.lower).bit_length()
        self.stored_as = "whole" + NAME_ENDS.get(bits, "")
        self.register_buffer(self.stored_as, whole.to(torch.int8))
        self.register_buffer("step", step)

    def forward(self) -> Tensor:
        whole = cast(Tensor, getattr(self, self.stored_as))
        return _emit("DequantizeLinear", whole, self.step, dtype=torch.float32, axis=0)


class _Sum(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second


class _Average(nn.Module):
    def __init__(self, layer: QuantizedAveragePool) -> None:
        super().__init__()
        self._layer = (layer,)

    def forward(self, inputs: Tensor) -> Tensor:
        return self._layer[0].average(inputs)


@singledispatch
def _as_qdq(module: nn.Module) -> nn.Module | None:
    """The module to export instead; None for one that is exported as it is."""
    return None


@_as_qdq.register
def _(layer: QuantizedMatrixLayer) -> nn.Module | None:
    if isinstance(layer.analog, AnalogPart):
        return _Layer(_AnalogMatrix(layer, layer.analog), layer)
    return _Layer(_Matrix(layer) if layer.is_exact else _FloatMatrix(layer), layer)


@_as_qdq.register
def _(layer: QuantizedAdd) -> nn.Module | None:
    return _Layer(_Sum(), layer)


@_as_qdq.register
def _(layer: QuantizedAveragePool) -> nn.Module | None:
    return _Layer(_Average(layer), layer)


@_as_qdq.register
def _(layer: QuantizedIdentity) -> nn.Module | None:
    return _Layer(nn.Identity(), layer)


@_as_qdq.register
def _(layer: GridMaxPool) -> nn.Module | None:
    return nn.Sequential(layer, _Grid(layer.source))


def check_quantised_export(weight_bits: Iterable[int]) -> None:
    """Check that the installed onnxruntime can run what is written for quantised networks.

    Args:
        weight_bits: The bits of weights that networks may have; 32 stands for floating point.

    Raises:
        ExportError: If onnxruntime is too old.
    """
    for bits in sorted(set(weight_bits)):
        needed = oldest_runtime(opset_of_weights(bits))
        if not is_installed(needed):
            raise ExportError(
                f"Weights of {bits} bits need onnxruntime {needed} or newer, which runs the exported files to compare "
                "them with the network. Install a newer onnxruntime, or use weights of 8 bits."
            )


def to_qdq_(network: EarlyExitNetwork) -> None:
    """Make a prepared network in evaluation mode one that can only be exported.

    Args:
        network: The network.
    """
    sources = stage_sources(network)
    links = [cast(ExitLink, link).weights for link in network.links.values()]
    for part in (*network.stages, *network.branches, *links):
        for name, module in list(part.named_modules()):
            new = _as_qdq(module)
            if new is not None:
                cast(Any, part).add_submodule(name, new)
    for index, source in enumerate(sources[:-1]):
        if source is not None:
            # Features travel between files as floats; said to lie on a grid, they are fused as if they had not.
            network.stages[index + 1] = nn.Sequential(_Grid(source), network.stages[index + 1])
    network.eval()
