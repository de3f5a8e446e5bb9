"""A few words to write ONNX graphs with in tests."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from offramp.workload.from_onnx.conversion import network_from_onnx
from offramp.workload.graph import Workload

Size = int | str


class Net:
    """An ONNX graph under construction; every method returns the name of the tensor it makes."""

    def __init__(self, shape: tuple[Size, ...] = (1, 3, 8, 8), opset: int = 17) -> None:
        self.input = "image"
        self.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)]
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.opset = opset

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=name or output, **attributes))
        return output

    def constant(self, value: Any, kind: type = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def weight(self, *shape: int, kind: type = np.float32) -> str:
        return self.constant(np.zeros(shape), kind)

    def conv(self, source: str, out: int, per_group: int, kernel: int = 3, name: str = "", **attributes: Any) -> str:
        attributes.setdefault("pads", [kernel // 2] * 4)
        weight = self.weight(out, per_group, kernel, kernel)
        return self.op("Conv", source, weight, name=name, **attributes)

    def head(self, source: str, channels: int, classes: int = 10, name: str = "") -> str:
        """Global average pooling and one dense layer."""
        pooled = self.op("GlobalAveragePool", source, name=f"{name}/pool" if name else "")
        flat = self.op("Flatten", pooled)
        return self.op("Gemm", flat, self.weight(classes, channels), transB=1, name=f"{name}/fc" if name else "")

    def exit(self, *tensors: str) -> "Net":
        self.outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors]
        return self

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "net", self.inputs, self.outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)

    def save(self, folder: Path, *, infer: bool = False) -> Path:
        return save(onnx.shape_inference.infer_shapes(self.model()) if infer else self.model(), folder)


def save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def two_exits() -> Net:
    """conv a (3 to 8) and conv b (8 to 8, stride 2) with a head after each, 10 classes."""
    net = Net()
    a = net.op("Relu", net.conv(net.input, 8, 3, name="a"))
    first = net.head(a, 8, name="exit0")
    b = net.op("Relu", net.conv(a, 8, 8, name="b", strides=[2, 2]))
    return net.exit(first, net.head(b, 8, name="exit1"))


def places(workload: Workload) -> dict[str, tuple[int, str]]:
    return {layer.name: (layer.stage, layer.role.value) for layer in workload.layers}


def workload_from_onnx(
    path: Path,
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    branch_weight_bits: int | None = None,
    branch_activation_bits: int | None = None,
    read_weights: bool = False,
    final: str | None = None,
) -> Workload:
    """The network in a file with these bit widths, those of branches as in the backbone if they are left out."""
    workload = network_from_onnx(path, final=final, read_weights=read_weights).workload
    branch_weights = weight_bits if branch_weight_bits is None else branch_weight_bits
    branch_activations = activation_bits if branch_activation_bits is None else branch_activation_bits
    return workload.with_bits(weight_bits, activation_bits, branch_weights, branch_activations)
