"""Weight-sharing layers: one set of weights for every width and kernel size, sliced when it is used.

Every elastic layer is a plain module whose ``activate`` fixes the current sizes, and whose ``extract`` copies
exactly what is active into an ordinary torch layer.
"""

from collections import OrderedDict
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offramp.nn.elastic.analog_channels import ElasticAnalog
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
    return nn.ReLU(inplace=True) if name == "relu" else nn.ReLU6(inplace=True)


class ElasticConv2d(nn.Module):
    """Convolution without bias whose leading channels and kernel centre serve all smaller sizes.

    Padding is half the active kernel, so that the output size depends on the stride alone; ``padding`` says otherwise,
    as it must for kernels of even size. A depthwise one has as many output as input channels.
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
        super().__init__()
        height, width = _sides(kernel_size)
        if padding is None and not height % 2 == width % 2 == 1:
            raise ValueError(f"`kernel_size` must be odd where no `padding` is given, got {kernel_size}.")
        if depthwise and in_channels != out_channels:
            raise ValueError(f"a depthwise convolution keeps its channels, got {in_channels} and {out_channels}.")
        self.stride = stride
        self.depthwise = depthwise
        self.fixed_padding = padding
        self.weight = nn.Parameter(torch.empty(out_channels, 1 if depthwise else in_channels, height, width))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if depthwise:
            # fan_out counts all channels, but each output sees one kernel only.
            nn.init.kaiming_normal_(self.weight, mode="fan_in", nonlinearity="relu")
        self.quantizer: WeightQuantizer | None = None
        self.analog: ElasticAnalog | None = None
        self.activate(in_channels, out_channels, kernel_size)

    def activate(self, in_channels: int, out_channels: int, kernel_size: Kernel) -> None:
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel_size

    @property
    def padding(self) -> tuple[int, int]:
        """Rows above and below, columns left and right."""
        height, width = _sides(self.kernel_size)
        return self.fixed_padding or (height // 2, width // 2)

    def active_weight(self) -> Tensor:
        """View of the weights in use: (out, in per group, kernel height, kernel width)."""
        weight: Tensor = self.weight
        in_per_group = 1 if self.depthwise else self.in_channels
        margin = (weight.shape[-1] - _sides(self.kernel_size)[1]) // 2
        if weight.shape[:2] != (self.out_channels, in_per_group):
            weight = weight[: self.out_channels, :in_per_group]
        if margin:
            weight = weight[:, :, margin:-margin, margin:-margin]
        return weight

    @property
    def groups(self) -> int:
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
        return F.conv2d(inputs, weight, None, self.stride, self.padding, 1, self.groups)

    def _layer_shape(self, inputs: Tensor) -> LayerShape:
        """As the layer would be priced; bit widths only as far as they tell quantised layers from others."""
        (fy, fx), (rows, columns), (iy, ix) = _sides(self.kernel_size), self.padding, inputs.shape[2:]
        window = Window(fy, fx, self.stride, self.stride, padding=(rows, columns, rows, columns))
        result = FeatureMap(self.out_channels, *window.output_size(iy, ix))
        is_float = self.quantizer is not None and self.quantizer.index is None
        bits = BitWidths(weights=FLOAT_BITS if is_float else 8)
        return convolution(FeatureMap(self.in_channels, iy, ix), result, window, self.groups, bits)

    def extract(self) -> nn.Conv2d:
        static = nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
            bias=False,
            device="meta",
        )
        static.weight = _copy(self.active_weight())
        return static


class ElasticBatchNorm2d(nn.Module):
    """Batch norm over the leading channels.

    The running statistics are shared by all subnets, hence right for none of them: recalibrate before evaluating.
    ``momentum=None`` takes the cumulative average, as in torch.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, *, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))
        self.num_features = num_features

    def activate(self, num_features: int) -> None:
        self.num_features = num_features

    def forward(self, inputs: Tensor) -> Tensor:
        momentum = self.momentum
        if self.training and momentum is None:
            self.num_batches_tracked.add_(1)
            momentum = 1.0 / float(self.num_batches_tracked)
        n = self.num_features
        return F.batch_norm(
            inputs,
            self.running_mean[:n],
            self.running_var[:n],
            self.weight[:n],
            self.bias[:n],
            self.training,
            0.0 if momentum is None else momentum,
            self.eps,
        )

    def extract(self) -> nn.BatchNorm2d:
        n = self.num_features
        static = nn.BatchNorm2d(n, eps=self.eps, momentum=self.momentum, device="meta")
        static.weight = _copy(self.weight[:n])
        static.bias = _copy(self.bias[:n])
        static.running_mean = self.running_mean[:n].clone()
        static.running_var = self.running_var[:n].clone()
        static.num_batches_tracked = self.num_batches_tracked.clone()
        return static


class ElasticConvNorm(nn.Module):
    """Elastic convolution, batch norm and an optional activation.

    ``precision`` is what an extracted layer states as its own bit widths; None = those of the part it is in.
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
        """Give weights and output steps for every format."""
        self.conv.quantizer = formats.for_weights(self.conv.weight.shape[0])
        self.output_quantizer = formats.for_activations()

    def choose_precision(self, precision: Precision) -> None:
        """Compute at these bit widths from now on, if the layer was made quantisable."""
        choose_weights(self.conv.quantizer, precision)
        choose_activations(self.output_quantizer, precision.activation_bits)

    def activate(self, in_channels: int, out_channels: int, kernel_size: Kernel) -> None:
        self.conv.activate(in_channels, out_channels, kernel_size)
        self.norm.activate(out_channels)

    def forward(self, inputs: Tensor) -> Tensor:
        output = cast(Tensor, self.act(self.norm(self.conv(inputs))))
        return output if self.output_quantizer is None else cast(Tensor, self.output_quantizer(output))

    def extract(self) -> nn.Sequential:
        parts: OrderedDict[str, nn.Module] = OrderedDict(conv=self.conv.extract(), norm=self.norm.extract())
        if self.activation is not None:
            parts["act"] = build_activation(self.activation)
        static = nn.Sequential(parts)
        mark_precision_(static, self.precision)
        return static


class ElasticLinear(nn.Module):
    """Linear layer over a flattened feature map (channels, height, width), any leading part of which may be active."""

    def __init__(self, in_channels: int, out_features: int, *, height: int = 1, width: int = 1) -> None:
        super().__init__()
        # Kept as (out, channels, height * width): three dimensions stay untouched by a change to channels_last.
        static = nn.Linear(in_channels * height * width, out_features)
        self.weight = nn.Parameter(static.weight.detach().view(out_features, in_channels, height * width).clone())
        self.bias = nn.Parameter(static.bias.detach().clone())
        self.max_height, self.max_width = height, width
        self.quantizer: WeightQuantizer | None = None
        self.input_quantizer: ActivationQuantizer | None = None
        self.activate(in_channels, out_features, height=height, width=width)

    def activate(self, in_channels: int, out_features: int, *, height: int = 1, width: int = 1) -> None:
        self.in_channels = in_channels
        self.out_features = out_features
        self.height, self.width = height, width

    def active_weight(self) -> Tensor:
        """Weights in use: (out features, channels * height * width)."""
        weight: Tensor = self.weight
        if weight.shape[:2] != (self.out_features, self.in_channels):
            weight = weight[: self.out_features, : self.in_channels]
        if (self.height, self.width) != (self.max_height, self.max_width):
            grid = weight.reshape(*weight.shape[:2], self.max_height, self.max_width)
            weight = grid[:, :, : self.height, : self.width]
        return weight.flatten(1)

    def make_quantizable_(self, formats: QuantizerFormats) -> None:
        """Give weights and input steps for every format; logits stay as they are."""
        self.quantizer = formats.for_weights(self.weight.shape[0])
        self.input_quantizer = formats.for_activations()

    def choose_precision(self, precision: Precision) -> None:
        """Compute at these bit widths from now on, if the layer was made quantisable."""
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
        weight = self.active_weight()
        static = nn.Linear(weight.shape[1], self.out_features, device="meta")
        static.weight = _copy(weight)
        static.bias = _copy(self.bias[: self.out_features])
        return static


def _sides(kernel_size: Kernel) -> tuple[int, int]:
    return (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size


def _copy(active: Tensor) -> nn.Parameter:
    """A dense parameter of its own, in the default memory layout."""
    return nn.Parameter(active.detach().clone(memory_format=torch.contiguous_format))
