"""Bit widths in which an ONNX file stores the weights of its layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from offramp.workload.from_onnx.stored_weights.weight_counts import SAME_VALUES, WEIGHTS, Array, array_of

_BITS_OF_TYPE = {
    **dict.fromkeys(("INT2", "UINT2"), 2),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT8", "UINT8", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 8),
    **dict.fromkeys(("INT16", "UINT16"), 16),
}
"""Widths by type; types of floating point with 16 or more bits state none, because layers run quantised."""

_POSITIONS: dict[str, tuple[int, ...]] = {
    **{op: (position,) for op, position in WEIGHTS.items()},
    # Weights may stand on either side.
    **dict.fromkeys(("MatMul", "Gemm", "Einsum", "MatMulInteger", "FusedMatMul", "TransposeMatMul"), (0, 1)),
    "QLinearMatMul": (0, 3),
    **dict.fromkeys(("ConvTranspose", "Attention", "QAttention"), (1,)),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), (1, 2)),
}
"""Positions of weights among the inputs of a node."""

_PACKED_OPS = frozenset({"MatMulNBits", "MatMulBnb4"})
_PACKED_BITS = 4
"""The width of packed weights unless the operator has another attribute ``bits``."""

_INTEGER_QUANTIZERS = frozenset({"Quant", "IntQuant"})


@dataclass(frozen=True)
class StoredWidths:
    """Widths of the weights of nodes.

    Attributes:
        by_node: Bits by name of the node, where the file states them.
        nodes: Names of all nodes of the file.
    """

    by_node: Mapping[str, int] = field(default_factory=dict)
    nodes: frozenset[str] = frozenset()

    def of_layer(self, name: str) -> int | None:
        """Find the width of the weights of a layer.

        Args:
            name: Name of the layer: that of a node, or of a part of a node, which has a slash and a label behind it.

        Returns:
            Bits of each weight; None if the file does not state them.
        """
        while name not in self.nodes:
            name, slash, _ = name.rpartition("/")
            if not slash:
                return None
        return self.by_node.get(name)


def stored_widths(graph: Any, constants: Mapping[str, Any], nodes: Sequence[tuple[str, Any]]) -> StoredWidths:
    """Find the bit widths in which the weights of nodes are stored.

    The type of the stored integers states it, before or after `QuantizeLinear`, `DequantizeLinear` and `Cast`; so do
    the packed products of onnxruntime and the quantisers of QONNX. If a node has several weights, the widest one
    counts.

    Args:
        graph: ONNX graph.
        constants: Its constants by name.
        nodes: Names and nodes.

    Returns:
        The widths.
    """
    search = _Search(constants, {output: node for node in graph.node for output in node.output})
    found = {name: search.of_node(node) for name, node in nodes}
    return StoredWidths({name: bits for name, bits in found.items() if bits}, frozenset(found))


@dataclass(frozen=True)
class _Search:
    constants: Mapping[str, Any]
    producers: Mapping[str, Any]

    def of_node(self, node: Any) -> int:
        """The widest weights of a node; 0 if none states a width."""
        if node.op_type in _PACKED_OPS:
            return next((int(item.i) for item in node.attribute if item.name == "bits"), _PACKED_BITS)
        places = (place for place in _POSITIONS.get(node.op_type, ()) if place < len(node.input))
        return max((self.of_tensor(node.input[place]) for place in places), default=0)

    def of_tensor(self, name: str) -> int:
        """The narrowest type in which a constant is stored or quantised; 0 if there is none or it is no constant."""
        found: list[int] = []
        for _ in range(len(self.producers) + 1):
            if name in self.constants:
                found.append(_bits_of_type(self.constants[name].data_type))
                return min(filter(None, found), default=0)
            source = self.producers.get(name)
            if source is None or not source.input:
                return 0
            if source.op_type == "QuantizeLinear":
                found.append(self._of_quantized(source))
            elif source.op_type in _INTEGER_QUANTIZERS:
                found.append(_whole(self._value(source, 3)))
            elif source.op_type == "BipolarQuant":
                found.append(1)
            elif source.op_type not in SAME_VALUES | {"DequantizeLinear"}:
                return 0
            name = source.input[0]
        return 0

    def _of_quantized(self, node: Any) -> int:
        """The width of what `QuantizeLinear` writes: that of its zero point or of its attribute, else 8."""
        stated = next((int(item.i) for item in node.attribute if item.name == "output_dtype"), 0)
        zero_point = self.constants.get(node.input[2]) if len(node.input) > 2 else None
        return _bits_of_type(zero_point.data_type if zero_point is not None else stated) or 8

    def _value(self, node: Any, position: int) -> Array | None:
        return array_of(self.constants.get(node.input[position])) if position < len(node.input) else None


def _bits_of_type(data_type: int) -> int:
    from onnx import TensorProto

    # A type that this onnx does not know has no name.
    names: Iterable[str] = (name for name, value in TensorProto.DataType.items() if value == data_type)
    return _BITS_OF_TYPE.get(next(iter(names), ""), 0)


def _whole(value: Array | None) -> int:
    """A bit width that stands in a tensor: the widest of its entries, 0 if it is none."""
    widest = 0.0 if value is None or not value.size else float(value.max())
    return int(widest) if widest.is_integer() and 1 <= widest <= 32 else 0
