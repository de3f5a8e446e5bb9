"""From the checked stage graphs of a bundle to the layers that C computes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bundle.bundle_files import BundleFiles
from offramp.deploy.bundle.manifest import Manifest
from offramp.deploy.onnx.value_names import exit_name, features_name, input_name
from offramp.deploy.runtime.graph_check import known_shapes
from offramp.deploy.runtime.graph_sessions import checked_graph
from offramp.deploy.targets.c.program import (
    Addition,
    AveragePool,
    Convolution,
    FeatureMap,
    Grid,
    Layer,
    MaxPool,
    Program,
    Requantisation,
    Stage,
    Window,
    grid_of,
)
from offramp.deploy.targets.c.scalings import MAX_ACCUMULATOR, common_scaling_of, scaling_of
from offramp.errors import InputError

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Weights:
    """Integer constants and their steps: weights or biases."""

    name: str
    integers: NDArray[Any]
    steps: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Unfinished:
    """A result in floats that is still to be quantised; ``finish`` makes the layer, given the output's grid."""

    what: str
    finish: Callable[[FeatureMap], Layer]
    shape: Shape


_Value = FeatureMap | _Weights | _Unfinished


def read_program(files: BundleFiles, manifest: Manifest, *, allow_large: bool = False) -> Program:
    """Read the stages of a bundle.

    Args:
        files: The files of the bundle.
        manifest: The manifest.
        allow_large: Whether a graph may take more than `USUAL_LIMIT`.

    Returns:
        The network.

    Raises:
        BundleError: If the bundle is damaged.
        InputError: If a layer cannot be written in C; the message names it.
    """
    channels, height, width = manifest.input_shape
    arriving = FeatureMap(input_name(0), height, width, channels, None)
    stages, image = [], arriving
    for item in manifest.exits:
        if item.reads_logits:
            raise InputError(
                f"Exit {item.index} reads the logits of exit {item.index - 1}, which cannot be written in C. "
                "Train the network with `reuse` off."
            )
        model = checked_graph(files, manifest, item.file, allow_large=allow_large).model
        reader = _StageReader(model, item.index, arriving)
        stages.append(reader.read(item.index == len(manifest.exits) - 1))
        if item.index == 0:
            image = reader.entering
        arriving = reader.leaving
    if image.grid is None:
        raise InputError(
            "The network input is not quantised: C is written for networks of integers alone. Fine-tune with "
            "quantisation (`fine_tune.quantize`), weights and activations of at most 8 bits."
        )
    return Program(image, tuple(stages))


@dataclass
class _StageReader:
    """Walks over the nodes of one stage."""

    model: Any
    index: int
    arriving: FeatureMap
    layers: list[Layer] = field(default_factory=list)
    values: dict[str, _Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from onnx import TensorProto, numpy_helper

        narrow = {getattr(TensorProto, name, -1) for name in ("INT4", "INT2")}
        self.shapes = known_shapes(self.model)
        self.constants: dict[str, NDArray[Any]] = {}
        for tensor in self.model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            self.constants[tensor.name] = array.astype(np.int8) if tensor.data_type in narrow else array
        self.entering = self.leaving = self.arriving
        self.values[input_name(self.index)] = self.arriving
        self.handlers: dict[str, Callable[[Any], None]] = {
            "QuantizeLinear": self._quantise,
            "DequantizeLinear": self._dequantise,
            "Clip": self._clip,
            "Cast": self._cast,
            "Conv": self._convolve,
            "Gemm": self._multiply,
            "Add": self._add,
            "AveragePool": self._average,
            "GlobalAveragePool": self._average,
            "MaxPool": self._maximum,
            "Reshape": self._alias,
            "Flatten": self._alias,
            "Identity": self._alias,
        }

    def read(self, is_last: bool) -> Stage:
        """Read all nodes; the results are the stage, and the maps that enter and leave it."""
        for node in self.model.graph.node:
            handler = self.handlers.get(node.op_type)
            if handler is None:
                raise self._refusal(node, f"operator {node.op_type} cannot be written in C")
            handler(node)
        logits = self.values[exit_name(self.index)]
        if not isinstance(logits, _Unfinished):
            raise InputError(f"The logits of exit {self.index} are not the sums of a layer, which C is written for.")
        output = FeatureMap(exit_name(self.index), 1, 1, int(np.prod(logits.shape[1:])), None)
        last = logits.finish(output)
        if not isinstance(last, Convolution):
            raise InputError(f"The logits of exit {self.index} come from {logits.what}, not from a linear layer.")
        self.layers.append(last)
        if not is_last:
            leaving = self.values[features_name(self.index)]
            if not isinstance(leaving, FeatureMap) or leaving.grid is None:
                raise InputError(f"The features of stage {self.index} are not quantised: C is written for integers.")
            self.leaving = leaving
        return Stage(tuple(self.layers), last)

    def _refusal(self, node: Any, reason: str) -> InputError:
        return InputError(f"Layer {self._name(node)!r} of stage {self.index}: {reason}. Nothing was written.")

    def _name(self, node: Any) -> str:
        """The name of the layer in the network where the weights carry it, else that of the node."""
        for name in node.input:
            value = self.values.get(name)
            if isinstance(value, _Weights):
                return value.name
        return str(node.name or node.output[0])

    def _map(self, node: Any, name: str) -> FeatureMap:
        value = self.values.get(name)
        if not isinstance(value, FeatureMap) or value.grid is None:
            raise self._refusal(node, "its input is in floating point, but C is written for networks of integers alone")
        return value

    def _map_like(self, node: Any, name: str, grid: Grid | None) -> FeatureMap:
        return replace(_map_of(self._shape(node, name)), name=name, grid=grid)

    def _shape(self, node: Any, name: str) -> Shape:
        shape = self.shapes[name]
        if len(shape) not in (2, 3, 4) or shape[0] != 1:
            raise self._refusal(node, f"its shape {list(shape)} is not that of maps or vectors")
        return shape

    def _number(self, node: Any, name: str) -> Any:
        """A constant of one element."""
        value = self.constants.get(name)
        if value is None or value.size != 1:
            raise self._refusal(node, "a step or zero point per channel of a map cannot be written in C")
        return value.reshape(())[()]

    def _grid(self, node: Any) -> Grid:
        """The grid of a QuantizeLinear; a Clip after it narrows the integers."""
        step, zero_point = (self._number(node, name) for name in node.input[1:3])
        if zero_point.dtype != np.uint8:
            raise self._refusal(node, f"its integers are {zero_point.dtype}, not uint8")
        top = 255
        for other in self.model.graph.node:
            if other.op_type == "Clip" and other.input[0] == node.output[0]:
                if int(self._number(node, other.input[1])) != 0:
                    raise self._refusal(node, "its integers do not begin at 0")
                top = int(self._number(node, other.input[2]))
        return Grid(np.float32(step), int(zero_point), top)

    def _quantise(self, node: Any) -> None:
        grid, value = self._grid(node), self.values.get(node.input[0])
        output = self._map_like(node, node.output[0], grid)
        if isinstance(value, _Unfinished):
            self._append(node, lambda: value.finish(output))
        elif not isinstance(value, FeatureMap):
            raise self._refusal(node, "constants cannot be quantised at run time")
        elif value.grid == grid:
            output = value
        elif value.grid is None:
            if self.index or value is not self.arriving:
                raise self._refusal(node, "its input is in floating point")
            self.entering = output
        else:
            ratio = np.asarray(value.grid.step / grid.step, dtype=np.float32)
            self._append(node, lambda: Requantisation(node.output[0], value, output, scaling_of(ratio)))
        self.values[node.output[0]] = output

    def _append(self, node: Any, make: Callable[[], Layer]) -> None:
        try:
            self.layers.append(make())
        except ValueError as exc:
            raise self._refusal(node, str(exc)) from exc

    def _dequantise(self, node: Any) -> None:
        name = node.input[0]
        if name not in self.constants:
            value, grid = self._map(node, name), self._grid(node)
            if (grid_of(value).step, grid_of(value).zero_point) != (grid.step, grid.zero_point):
                raise self._refusal(node, "a map is read with another step than it was written with")
            self.values[node.output[0]] = value
            return
        integers = self.constants[name]
        steps = self.constants.get(node.input[1])
        zero_points = self.constants.get(node.input[2]) if len(node.input) > 2 else np.zeros(1)
        if steps is None or zero_points is None or zero_points.any():
            raise self._refusal(node, "constants must have a constant step and a zero point of 0")
        axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
        if steps.size > 1 and axis != 0:
            raise self._refusal(node, f"steps along axis {axis} of the weights cannot be written in C")
        steps = np.broadcast_to(steps.reshape(-1), (len(integers),)).astype(np.float32)
        plain = name.split(".body.weight")[0].split(".body.bias")[0].removesuffix(".weight").removesuffix(".bias")
        self.values[node.output[0]] = _Weights(plain, integers, steps)

    def _cast(self, node: Any) -> None:
        name = node.input[0]
        if name not in self.constants:
            raise self._refusal(node, "values cannot be cast at run time")
        self.constants[node.output[0]] = self.constants[name]

    def _clip(self, node: Any) -> None:
        """Limits of integers, which `_grid` has read."""
        makers = [other.op_type for other in self.model.graph.node if node.input[0] in other.output]
        if makers != ["QuantizeLinear"]:
            raise self._refusal(node, "limits of values in floating point cannot be written in C")
        self.values[node.output[0]] = self._map(node, node.input[0])

    def _alias(self, node: Any) -> None:
        """Reshapes that keep the order of values."""
        value = self.values.get(node.input[0])
        if isinstance(value, _Unfinished):
            if value.shape[1:] != (value.shape[1], *[1] * (len(value.shape) - 2)):
                raise self._refusal(node, f"operator {node.op_type} on floats cannot be written in C")
            self.values[node.output[0]] = replace(value, shape=self.shapes[node.output[0]])
            return
        source = self._map(node, node.input[0])
        before, after = (self._shape(node, name) for name in (node.input[0], node.output[0]))
        if len(after) > 2 and _map_of(after) != replace(source, name="", grid=None):
            raise self._refusal(node, f"shape {list(before)} cannot become {list(after)} in C")
        self.values[node.output[0]] = source

    def _weights(self, node: Any, position: int) -> _Weights | None:
        if len(node.input) <= position or not node.input[position]:
            return None
        value = self.values.get(node.input[position])
        if not isinstance(value, _Weights):
            why = "its weights are in floating point, but C is written for networks of integers: search with --quantize"
            raise self._refusal(node, why)
        return value

    def _convolve(self, node: Any) -> None:
        weights = self._weights(node, 1)
        assert weights is not None
        integers = weights.integers
        if integers.ndim == 3:
            integers = integers[:, :, None, :]
        window = self._window(node, integers.shape[2:])
        self._matrix(node, weights, integers, window, _attribute(node, "group", 1))

    def _multiply(self, node: Any) -> None:
        weights = self._weights(node, 1)
        assert weights is not None
        plain = [_attribute(node, name, 1.0) for name in ("alpha", "beta")]
        if not _attribute(node, "transB", 0) or _attribute(node, "transA", 0) or plain != [1.0, 1.0]:
            raise self._refusal(node, "only products with transposed weights can be written in C")
        source = self._map(node, node.input[0])
        # A linear layer over a flattened map is a convolution whose window is the whole map.
        integers = weights.integers.reshape(-1, source.channels, source.height, source.width)
        self._matrix(node, weights, integers, Window((source.height, source.width)), 1)

    def _matrix(self, node: Any, weights: _Weights, integers: NDArray[Any], window: Window, groups: int) -> None:
        source, bias = self._map(node, node.input[0]), self._weights(node, 2)
        if weights.integers.dtype != np.int8:
            raise self._refusal(node, f"its weights are {weights.integers.dtype}, not int8")
        sum_steps = (grid_of(source).step * weights.steps).astype(np.float32)
        zeros = np.zeros(len(integers), dtype=np.int32)
        if bias is not None and not np.array_equal(bias.steps, sum_steps):
            raise self._refusal(node, "its bias has another step than its sums")

        def finish(output: FeatureMap) -> Layer:
            grid = output.grid
            layer = Convolution(
                self._name(node),
                source,
                output,
                np.ascontiguousarray(integers.transpose(0, 2, 3, 1)),
                zeros if bias is None else bias.integers.astype(np.int32),
                window,
                groups,
                None if grid is None else scaling_of((sum_steps / grid.step).astype(np.float32)),
                sum_steps,
            )
            if int(layer.largest_sums.max()) >= MAX_ACCUMULATOR:
                raise self._refusal(node, "its sums may reach 2**28")
            return layer

        self._unfinished(node, finish)

    def _unfinished(self, node: Any, finish: Callable[[FeatureMap], Layer]) -> None:
        self.values[node.output[0]] = _Unfinished(
            f"layer {self._name(node)!r}", finish, self._shape(node, node.output[0])
        )

    def _add(self, node: Any) -> None:
        first, second = (self._map(node, name) for name in node.input)
        if (first.height, first.width, first.channels) != (second.height, second.width, second.channels):
            raise self._refusal(node, "maps of different shapes cannot be added in C")

        def finish(output: FeatureMap) -> Layer:
            ratios = np.array([grid_of(first).step, grid_of(second).step], dtype=np.float32) / grid_of(output).step
            return Addition(node.name or node.output[0], (first, second), output, common_scaling_of(ratios))

        self._unfinished(node, finish)

    def _average(self, node: Any) -> None:
        source = self._map(node, node.input[0])
        window = Window((source.height, source.width))
        if node.op_type == "AveragePool":
            window = self._window(node, _attribute(node, "kernel_shape", []))
            if any(window.padding) and not _attribute(node, "count_include_pad", 0):
                raise self._refusal(node, "averages that leave out the padding cannot be written in C")

        def finish(output: FeatureMap) -> Layer:
            count = np.float32(window.kernel[0] * window.kernel[1])
            ratio = np.asarray(grid_of(source).step / (count * grid_of(output).step), dtype=np.float32)
            return AveragePool(node.name or node.output[0], source, output, window, scaling_of(ratio))

        self._unfinished(node, finish)

    def _maximum(self, node: Any) -> None:
        source = self._map(node, node.input[0])
        window = self._window(node, _attribute(node, "kernel_shape", []))

        def finish(output: FeatureMap) -> Layer:
            if output.grid != source.grid:
                raise self._refusal(node, "a maximum on another grid than its input cannot be written in C")
            return MaxPool(node.name or node.output[0], source, output, window)

        self._unfinished(node, finish)

    def _window(self, node: Any, kernel: Any) -> Window:
        """The windows of a node; a map of one dimension is one row."""
        count = len(self._shape(node, node.output[0])) - 2
        kernel = list(kernel)[-count:]
        if _attribute(node, "auto_pad", b"NOTSET") != b"NOTSET" or _attribute(node, "ceil_mode", 0):
            raise self._refusal(node, "windows must have padding that is stated, and rounded down")
        strides, dilations = (_attribute(node, name, [1] * count) for name in ("strides", "dilations"))
        padding = [0, 0, *_attribute(node, "pads", [0] * 2 * count)[:count]]
        return Window(_pair([1, *kernel]), _pair([1, *strides]), _pair([1, *dilations]), _pair(padding))


def _pair(values: Any) -> tuple[int, int]:
    first, second = values[-2:]
    return int(first), int(second)


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def _map_of(shape: Shape) -> FeatureMap:
    """The map of a shape (1, channels, ...) without name and grid."""
    if len(shape) == 4:
        return FeatureMap("", shape[2], shape[3], shape[1], None)
    return FeatureMap("", 1, shape[2] if len(shape) == 3 else 1, shape[1], None)
