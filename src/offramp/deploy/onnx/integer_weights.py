"""How integer weights are stored in an ONNX file: in 2, 4 or 8 bits, with explicit zero points."""

from typing import Any

from offramp.deploy.onnx.finish_model import EXPORT_OPSET, graphs_of, opset_of

OPSET_INT4, OPSET_INT2 = 21, 25
# By the bits of a weight: what the name of a tensor ends in that is to be stored in fewer than 8 bits.
NAME_ENDS = {2: "_int2", 3: "_int4", 4: "_int4"}

_STORED = "/stored"


def opset_of_weights(bits: int) -> int:
    """Say which opset a file needs to store weights.

    Args:
        bits: Bits of a weight; 32 for floating point.

    Returns:
        The opset. An onnx that has no 2-bit type stores weights of 2 bits in 4.
    """
    from onnx import TensorProto

    end = NAME_ENDS.get(bits)
    if end is None:
        return EXPORT_OPSET
    return OPSET_INT2 if end == "_int2" and hasattr(TensorProto, "INT2") else OPSET_INT4


def store_narrow_weights_(model: Any) -> None:
    """Store the weights that have fewer than 5 bits in 4 or 2 bits, and cast them to 8 bits where they are used.

    The opset becomes the first that has the type.

    Args:
        model: The ONNX model, without branches; changed in place.
    """
    from onnx import TensorProto, helper, numpy_helper

    opset = opset_of(model)
    for tensor in model.graph.initializer:
        end = tensor.name[-5:]
        if end not in NAME_ENDS.values():
            continue
        needed = opset_of_weights(2 if end == "_int2" else 4)
        kind = TensorProto.INT2 if needed == OPSET_INT2 else TensorProto.INT4
        opset = max(opset, needed)
        name, values = tensor.name, numpy_helper.to_array(tensor)
        tensor.CopyFrom(helper.make_tensor(f"{name}{_STORED}", kind, values.shape, values.flatten().tolist()))
        cast_node = helper.make_node("Cast", [f"{name}{_STORED}"], [name], name=f"{name}/cast", to=TensorProto.INT8)
        model.graph.node.insert(0, cast_node)
    for entry in model.opset_import:
        entry.version = opset


def widen_weights_(model: Any) -> None:
    """Store all integer weights in 8 bits, as before `store_narrow_weights_`; their values stay the same.

    The opset becomes that of the export again.

    Args:
        model: The ONNX model; changed in place.
    """
    import numpy as np
    from onnx import TensorProto, numpy_helper

    narrow = {TensorProto.INT4, getattr(TensorProto, "INT2", TensorProto.INT4)}
    for graph in graphs_of(model.graph):
        constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type in narrow}
        for node in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in constants]:
            values = numpy_helper.to_array(constants[node.input[0]]).astype(np.int8)
            constants[node.input[0]].CopyFrom(numpy_helper.from_array(values, node.output[0]))
            graph.node.remove(node)
    for entry in model.opset_import:
        entry.version = min(entry.version, EXPORT_OPSET)


def state_zero_points_(model: Any) -> None:
    """Give weights of 8 bits the zero point that is their default, one per channel.

    onnxruntime 1.18 to 1.27 takes a missing one for a single zero in linear layers, and refuses to run these.

    Args:
        model: The ONNX model; changed in place.
    """
    import numpy as np
    from onnx import TensorProto, numpy_helper

    for graph in graphs_of(model.graph):
        constants = {tensor.name: tensor for tensor in graph.initializer}
        whole = {name for name, tensor in constants.items() if tensor.data_type == TensorProto.INT8}
        whole |= {node.output[0] for node in graph.node if node.op_type == "Cast" and node.input[0].endswith(_STORED)}
        for node in graph.node:
            implicit = node.op_type == "DequantizeLinear" and len(node.input) == 2
            if not implicit or node.input[0] not in whole or node.input[1] not in constants:
                continue
            zero_point = f"{node.output[0]}/zero_point"
            zeros = np.zeros(list(constants[node.input[1]].dims), dtype=np.int8)
            graph.initializer.append(numpy_helper.from_array(zeros, zero_point))
            node.input.append(zero_point)
