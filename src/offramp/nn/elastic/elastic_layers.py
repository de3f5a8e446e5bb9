"""Weight-sharing layers: one set of weights for every width and kernel size, sliced in the forward pass.

``activate`` sets the current sizes of an elastic layer; ``extract`` copies the active weights to an ordinary torch
layer.
"""

from collections import OrderedDict
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.elastic.analog_channels import ElasticAnalogChannels
from offramp.nn.elastic.elastic_batch_norm import ElasticBatchNorm2d
from offramp.nn.elastic.elastic_quantizer import (
    ActivationQuantizer,
    QuantizerFormats,
    WeightQuantizer,
    choose_activations,
    choose_weights,
)
from offramp.nn.quantization.precision_marks import mark_precision_
from offramp.space.architecture import FLOAT_BITS, Precision
from offramp.workload.layer import LayerShape
from offramp.workload.layer_constructors import BitWidths, FeatureMap, Window, convolution

Activation = Literal["relu", "relu6"]
Kernel = int | tuple[int, int]
"""Side of a square kernel, or (height, width) of one that is the same in every member."""


def build_activation(name: Activation) -> nn.Module:
    """Build an activation function.

    Args:
        name: ``relu`` or ``relu6``.

    Returns:
        A module that computes in place.
    """
    return nn.ReLU(inplace=True) if name == "relu" else nn.ReLU6(inplace=True)


class ElasticConv2d(nn.Module):
    """Convolution without bias; smaller sizes use the leading channels and the centre of the kernel.

    Attributes:
        in_channels: active number of input channels.
        out_channels: active number of output channels.
        kernel_size: active kernel size.
        one_row: whether maps have one row, and the kernel too.
        one_column: whether maps have one column, and the kernel too.
        quantizer: quantises the weights; None = floating point.
        analog: computes the analog output channels; None = all channels are digital.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Kernel,
        *,
        stride: int = 1,
        depthwise: bool = False,
        padding: tuple[int, int] | None = None,
    ) -> None:
        """Make the weights; all of them are active at first.

        Args:
            in_channels: largest number of input channels.
            out_channels: largest number of output channels.
            kernel_size: largest kernel size; odd unless ``padding`` is given.
            stride: step in both directions.
            depthwise: convolve each channel alone; ``out_channels`` must equal ``in_channels``.
            padding: rows above and below, columns left and right; None = half the active kernel, so that the output
                size depends on the stride alone.

        Raises:
            ValueError: if the kernel size is even and has no padding, or a depthwise convolution changes its channels.
        """
        super().__init__()
        height, width = _sides(kernel_size)
        if padding is None and not height % 2 == width % 2 == 1:
            raise ValueError(f"`kernel_size` must be odd where no `padding` is given, got {kernel_size}.")
        if depthwise and in_channels != out_channels:
            raise ValueError(
                f"a depthwise convolution must have as many output as input channels, got {in_channels} inputs and "
                f"{out_channels} outputs."
            )
        self.stride = stride
        self.depthwise = depthwise
        self.fixed_padding = padding
        self.one_row = self.one_column = False
        self.weight = nn.Parameter(torch.empty(out_channels, 1 if depthwise else in_channels, height, width))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if depthwise:
            # fan_out counts all output channels, but each input channel of a depthwise convolution feeds one.
            nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")
        self.quantizer: WeightQuantizer | None = None
        self.analog: ElasticAnalogChannels | None = None
        self.activate(in_channels, out_channels, kernel_size)

    def activate(self, in_channels: int, out_channels: int, kernel_size: Kernel) -> None:
        """Set the current sizes.

        Args:
            in_channels: number of input channels.
            out_channels: number of output channels.
            kernel_size: kernel size; it must differ from the largest one by an even number.
        """
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size

    def fit_to_axes_(self, *, one_row: bool, one_column: bool) -> None:
        """Keep only the part of the kernel that meets maps of one row or one column; the rest would read padding.

        The result has the same size. The initial weights are scaled to the variance that suits the smaller kernel.

        Args:
            one_row: whether all maps have one row.
            one_column: whether all maps have one column.
        """
        for axis, only in ((0, one_row and not self.one_row), (1, one_column and not self.one_column)):
            if only:
                size = self.weight.shape[2 + axis]
                place = self.fixed_padding[axis] if self.fixed_padding else size // 2
                kept = self.weight.detach().narrow(2 + axis, place, 1)
                self.weight = nn.Parameter(kept.clone() * size**0.5)
        self.one_row, self.one_column = self.one_row or one_row, self.one_column or one_column

    def _along_axes(self, sizes: tuple[int, int], single: int) -> tuple[int, int]:
        """Sizes in height and width; ``single`` along an axis on which maps have one value."""
        return (single if self.one_row else sizes[0], single if self.one_column else sizes[1])

    @property
    def kernel_sides(self) -> tuple[int, int]:
        """Height and width of the active kernel."""
        return self._along_axes(_sides(self.kernel_size), 1)

    @property
    def strides(self) -> tuple[int, int]:
        """Step in height and width."""
        return self._along_axes((self.stride, self.stride), 1)

    @property
    def padding(self) -> tuple[int, int]:
        """Padding of the active kernel: rows above and below, columns left and right."""
        height, width = self.kernel_sides
        return self._along_axes(self.fixed_padding or (height // 2, width // 2), 0)

    def active_weight(self) -> Tensor:
        """View of the active weights (out, in per group, kernel height, kernel width)."""
        weight: Tensor = self.weight
        in_per_group = 1 if self.depthwise else self.in_channels
        if weight.shape[:2] != (self.out_channels, in_per_group):
            weight = weight[: self.out_channels, :in_per_group]
        for axis, side in enumerate(self.kernel_sides, start=2):
            margin = (weight.shape[axis] - side) // 2
            if margin:
                weight = weight.narrow(axis, margin, side)
        return weight

    @property
    def groups(self) -> int:
        """Active number of groups: 1, or the channels of a depthwise convolution."""
        return self.out_channels if self.depthwise else 1

    def forward(self, inputs: Tensor) -> Tensor:
        weight = active = self.active_weight()
        if self.quantizer is not None:
            weight = self.quantizer(weight, self.weight)
        analog = self.analog
        count = analog.channels(self._layer_shape(inputs)) if analog is not None and analog.share else 0
        if analog is None or not count:
            return self._convolve(inputs, weight)
        output = cast(Tensor, analog(inputs, active[:count], self.weight, self._convolve))
        return output if count == len(weight) else torch.cat([output, self._convolve(inputs, weight[count:])], 1)

    def _convolve(self, inputs: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(inputs, weight, None, self.strides, self.padding, 1, self.groups)

    def _layer_shape(self, inputs: Tensor) -> LayerShape:
        """Sizes of the active layer; the bit widths only say whether its weights are quantised."""
        (fy, fx), (rows, columns), (iy, ix) = self.kernel_sides, self.padding, inputs.shape[2:]
        window = Window(fy, fx, *self.strides, padding=(rows, columns, rows, columns))
        result = FeatureMap(self.out_channels, *window.output_size(iy, ix))
        is_float = self.quantizer is not None and self.quantizer.index is None
        bits = BitWidths(weights=FLOAT_BITS if is_float else 8)
        return convolution(FeatureMap(self.in_channels, iy, ix), result, window, self.groups, bits)

    def extract(self) -> nn.Conv2d:
        """A convolution with a copy of the active weights."""
        static = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_sides,
            stride=self.strides,
            padding=self.padding,
            groups=self.groups,
            bias=False,
            device="meta",
        )
        static.weight = _copy(self.active_weight())
        return static


class ElasticConvNorm(nn.Module):
    """Elastic convolution, batch norm and an optional activation function.

    Attributes:
        precision: bit widths with which an extracted layer is marked; None = no mark, the widths of its part hold.
        output_quantizer: quantises the output; None = floating point.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Kernel,
        *,
        stride: int = 1,
        depthwise: bool = False,
        padding: tuple[int, int] | None = None,
        activation: Activation | None = "relu",
    ) -> None:
        """Make the layers; all weights are active at first.

        Args:
            in_channels: largest number of input channels.
            out_channels: largest number of output channels.
            kernel_size: largest kernel size; odd unless ``padding`` is given.
            stride: step in both directions.
            depthwise: convolve each channel alone; ``out_channels`` must equal ``in_channels``.
            padding: rows above and below, columns left and right; None = half the active kernel.
            activation: name of the activation function; None = none.
        """
        super().__init__()
        self.conv = ElasticConv2d(
            in_channels, out_channels, kernel_size, stride=stride, depthwise=depthwise, padding=padding
        )
        self.norm = ElasticBatchNorm2d(out_channels)
        self.activation = activation
        self.act = nn.Identity() if activation is None else build_activation(activation)
        self.precision: Precision | None = None
        self.output_quantizer: ActivationQuantizer | None = None

    def make_quantizable_(self, formats: QuantizerFormats) -> None:
        """Add quantisers of the weights and of the output.

        Args:
            formats: the formats that may be chosen.
        """
        self.conv.quantizer = formats.for_weights(self.conv.weight.shape[0])
        self.output_quantizer = formats.for_activations()

    def choose_precision(self, precision: Precision) -> None:
        """Set the current bit widths; without quantisers the layer stays in floating point.

        Args:
            precision: one of the precisions for which the quantisers were made.
        """
        choose_weights(self.conv.quantizer, precision)
        choose_activations(self.output_quantizer, precision.activation_bits)

    def activate(self, in_channels: int, out_channels: int, kernel_size: Kernel) -> None:
        """Set the current sizes.

        Args:
            in_channels: number of input channels.
            out_channels: number of output channels.
            kernel_size: kernel size; it must differ from the largest one by an even number.
        """
        self.conv.activate(in_channels, out_channels, kernel_size)
        self.norm.activate(out_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        output = cast(Tensor, self.act(self.norm(self.conv(inputs))))
        return output if self.output_quantizer is None else cast(Tensor, self.output_quantizer(output))

    def extract(self) -> nn.Sequential:
        """Plain layers with copies of the active weights, marked with the layer's precision."""
        parts: OrderedDict[str, nn.Module] = OrderedDict(conv=self.conv.extract(), norm=self.norm.extract())
        if self.activation is not None:
            parts["act"] = build_activation(self.activation)
        static = nn.Sequential(parts)
        mark_precision_(static, self.precision)
        return static


class ElasticLinear(nn.Module):
    """Linear layer over a flattened feature map; smaller sizes use leading channels, rows, columns and outputs.

    Attributes:
        in_channels: active number of input channels.
        out_features: active number of outputs.
        height: active height of the feature map.
        width: active width of the feature map.
        quantizer: quantises the weights; None = floating point.
        input_quantizer: quantises the inputs; None = floating point.
    """

    def __init__(self, in_channels: int, out_features: int, *, height: int = 1, width: int = 1) -> None:
        """Make weights and biases; all of them are active at first.

        Args:
            in_channels: largest number of channels of the feature map.
            out_features: largest number of outputs.
            height: largest height of the feature map.
            width: largest width of the feature map.
        """
        super().__init__()
        # The shape is (out, channels, height * width), because channels_last reorders tensors of four dimensions.
        static = nn.Linear(in_channels * height * width, out_features)
        self.weight = nn.Parameter(static.weight.detach().view(out_features, in_channels, height * width).clone())
        self.bias = nn.Parameter(static.bias.detach().clone())
        self.max_height, self.max_width = height, width
        self.quantizer: WeightQuantizer | None = None
        self.input_quantizer: ActivationQuantizer | None = None
        self.activate(in_channels, out_features, height=height, width=width)

    def activate(self, in_channels: int, out_features: int, *, height: int = 1, width: int = 1) -> None:
        """Set the current sizes.

        Args:
            in_channels: number of channels of the feature map.
            out_features: number of outputs.
            height: height of the feature map.
            width: width of the feature map.
        """
        self.in_channels = in_channels
        self.out_features = out_features
        self.height, self.width = height, width

    def active_weight(self) -> Tensor:
        """Active weights (out features, channels * height * width)."""
        weight: Tensor = self.weight
        if weight.shape[:2] != (self.out_features, self.in_channels):
            weight = weight[: self.out_features, : self.in_channels]
        if (self.height, self.width) != (self.max_height, self.max_width):
            grid = weight.reshape(*weight.shape[:2], self.max_height, self.max_width)
            weight = grid[:, :, : self.height, : self.width]
        return weight.flatten(1)

    def make_quantizable_(self, formats: QuantizerFormats) -> None:
        """Add quantisers of the weights and of the input; the output stays in floating point.

        Args:
            formats: the formats that may be chosen.
        """
        self.quantizer = formats.for_weights(self.weight.shape[0])
        self.input_quantizer = formats.for_activations()

    def choose_precision(self, precision: Precision) -> None:
        """Set the current bit widths; without quantisers the layer stays in floating point.

        Args:
            precision: one of the precisions for which the quantisers were made.
        """
        choose_weights(self.quantizer, precision)
        choose_activations(self.input_quantizer, precision.activation_bits)

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.active_weight()
        if self.quantizer is not None:
            weight = self.quantizer(weight, self.weight.flatten(1))
        if self.input_quantizer is not None:
            inputs = self.input_quantizer(inputs)
        return F.linear(inputs.flatten(1), weight, self.bias[: self.out_features])

    def extract(self) -> nn.Linear:
        """A linear layer with copies of the active weights and biases."""
        weight = self.active_weight()
        static = nn.Linear(weight.shape[1], self.out_features, device="meta")
        static.weight = _copy(weight)
        static.bias = _copy(self.bias[: self.out_features])
        return static


def _sides(kernel_size: Kernel) -> tuple[int, int]:
    return (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size


def _copy(active: Tensor) -> nn.Parameter:
    """A copy as a parameter, contiguous in the default memory layout."""
    return nn.Parameter(active.detach().clone(memory_format=torch.contiguous_format))
