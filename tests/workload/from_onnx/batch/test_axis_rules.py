"""Where the samples lie after each operator, in tensors with a batch of 3 on the given axis."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offramp.workload.from_onnx.file_graph import read_onnx
from tests.workload.from_onnx.onnx_samples import Net

BATCH = 3


def result(folder: Path, op: str, shape: tuple[int, ...], *others: Any, batch_axis: int = 0, **attributes: Any) -> Any:
    """Shape for one sample of ``op`` on a tensor of ``shape``, which has the batch on ``batch_axis``.

    The input has the batch first and is transposed, so that it is followed to its place.
    """
    order = [batch_axis, *(axis for axis in range(len(shape)) if axis != batch_axis)]
    net = Net(tuple(shape[axis] for axis in order), opset=17)
    x = net.op("Transpose", net.input, perm=[order.index(axis) for axis in range(len(shape))])
    constants = [x if item is None else net.constant(item, np.asarray(item).dtype.type) for item in others]
    inputs = constants if any(item is None for item in others) else [x, *constants]
    found = net.op(op, *inputs, **attributes)
    graph = read_onnx(net.exit(found).save(folder))
    return graph.shapes[found] if "batch of 3" in "".join(graph.notes) else None


ROWS = np.ones((5, 4), np.float32)


@pytest.mark.parametrize(
    ("op", "shape", "batch_axis", "others", "attributes", "right"),
    [
        ("Reshape", (3, 4, 5), 0, [np.array([3, 20])], {}, (1, 20)),
        ("Reshape", (4, 3, 5), 1, [np.array([12, 5])], {}, (4, 5)),
        ("Reshape", (4, 3, 10), 1, [np.array([4, 6, 5])], {}, (4, 2, 5)),
        ("Reshape", (4, 3, 10), 1, [np.array([2, 2, 30])], {}, (2, 2, 10)),
        ("Reshape", (3, 4), 0, [np.array([4, 3])], {}, None),
        ("Flatten", (4, 3, 5), 1, [], {"axis": 2}, (4, 5)),
        ("Unsqueeze", (3, 4), 0, [np.array([0])], {}, (1, 1, 4)),
        ("Squeeze", (1, 3, 4), 1, [np.array([0])], {}, (1, 4)),
        ("Transpose", (3, 4, 5), 0, [], {"perm": [2, 0, 1]}, (5, 1, 4)),
        ("MatMul", (3, 5), 0, [ROWS], {}, (1, 4)),
        ("MatMul", (2, 3, 5), 1, [ROWS], {}, (2, 1, 4)),
        ("MatMul", (4, 3), 1, [ROWS, None], {}, (5, 1)),
        ("MatMul", (5, 3), 1, [np.ones((3, 4), np.float32)], {}, None),
        ("MatMul", (3, 5), 0, [ROWS[:, 0]], {}, (1,)),
        ("MatMul", (4, 3, 5), 1, [ROWS[:, 0]], {}, (4, 1)),
        ("MatMul", (5, 3), 1, [ROWS[:, 0], None], {}, (1,)),
        ("MatMul", (3, 5, 4), 0, [ROWS[:, 0], None], {}, (1, 4)),
        ("MatMul", (5, 3), 1, [np.ones(3, np.float32)], {}, None),
        ("MatMul", (3, 5), 0, [np.ones(3, np.float32), None], {}, None),
        ("Gemm", (5, 3), 1, [ROWS], {"transA": 1}, (1, 4)),
        ("Concat", (3, 4), 0, [None, None], {"axis": 1}, (1, 8)),
        ("Concat", (3, 4), 0, [None, None], {"axis": 0}, None),
        ("Expand", (3, 1), 0, [np.array([2, 3, 4])], {}, (2, 1, 4)),
        ("Gather", (4, 3), 1, [np.array([[0, 1], [2, 3]])], {"axis": 0}, (2, 2, 1)),
        ("Gather", (3, 4), 0, [np.array([0, 1, 2])], {"axis": 0}, None),
        ("ReduceMean", (4, 3, 5), 1, [], {"axes": [0, 2], "keepdims": 0}, (1,)),
        ("ReduceMean", (4, 3, 5), 1, [], {"axes": [0], "keepdims": 1}, (1, 1, 5)),
        ("ReduceMean", (4, 3, 5), 1, [], {"axes": [1], "keepdims": 1}, None),
        ("ReduceMean", (4, 3, 5), 1, [], {}, None),
        ("ArgMax", (3, 4), 0, [], {"axis": 1, "keepdims": 0}, (1,)),
        ("ArgMax", (3, 4), 0, [], {"axis": 0}, None),
        ("Einsum", (3, 5), 0, [ROWS], {"equation": "bi,ij->jb"}, (4, 1)),
        ("Einsum", (5, 3), 1, [np.ones((3, 4), np.float32)], {"equation": "ib,bj->ij"}, None),
        ("Softmax", (4, 3, 5), 1, [], {"axis": 2}, (4, 1, 5)),
        ("Softmax", (4, 3, 5), 1, [], {"axis": 1}, None),
        ("LayerNormalization", (4, 3, 5), 1, [np.ones(5, np.float32)], {}, (4, 1, 5)),
        ("LayerNormalization", (4, 3, 5), 1, [np.ones((3, 5), np.float32)], {"axis": 1}, None),
        ("Transpose", (4, 5, 3), 2, [], {"perm": [2, 0, 1]}, (1, 4, 5)),
        ("ReduceMean", (4, 6, 5, 3), 3, [], {"axes": [1, 2], "keepdims": 0}, (4, 1)),
        ("CumSum", (4, 3), 1, [np.array(0)], {}, (4, 1)),
        # Samples that are picked by number are no batch, unless each stays in its place.
        ("GatherND", (3, 5), 0, [np.array([[0], [0], [1]])], {}, None),
        ("GatherND", (3, 5), 0, [np.array([[0], [1], [2]])], {}, (1, 5)),
        ("GatherElements", (3, 5), 0, [np.array([[0, 1]] * 3)], {"axis": 1}, (1, 2)),
        ("GatherElements", (3, 5), 0, [np.array([[0, 1, 2, 0, 0]] * 3)], {"axis": 0}, None),
        ("CumSum", (4, 3), 1, [np.array(1)], {}, None),
        ("Slice", (4, 3), 1, [np.array([1]), np.array([3]), np.array([0])], {}, (2, 1)),
        ("Slice", (4, 3), 1, [np.array([0]), np.array([2]), np.array([1])], {}, None),
        ("Pad", (4, 3), 1, [np.array([1, 0, 1, 0])], {}, (6, 1)),
        ("Pad", (4, 3), 1, [np.array([0, 1, 0, 1])], {}, None),
        ("Conv", (3, 2, 6, 6), 0, [np.ones((4, 2, 3, 3), np.float32)], {}, (1, 4, 4, 4)),
        ("Conv", (5, 2, 3, 6), 2, [np.ones((4, 2, 3, 3), np.float32)], {"pads": [1] * 4}, None),
        ("Add", (4, 3), 1, [np.ones((4, 3), np.float32)], {}, (4, 1)),
        ("Add", (4, 3), 1, [np.arange(12, dtype=np.float32).reshape(4, 3)], {}, None),
        ("Add", (4, 3), 1, [np.ones((4, 1), np.float32)], {}, (4, 1)),
        ("Where", (4, 3), 1, [np.ones((4, 1), np.bool_), None, np.zeros((2, 4, 3), np.float32)], {}, (2, 4, 1)),
        ("ScatterElements", (4, 3), 1, [np.zeros((6, 3), np.float32), np.zeros((4, 3), np.int64), None], {}, (6, 1)),
        ("ScatterElements", (4, 3), 1, [np.zeros((4, 5), np.float32), np.zeros((4, 3), np.int64), None], {"axis": 1},
         None),
    ],
)  # fmt: skip
def test_the_batch_is_followed_or_found_to_be_none(
    tmp_path: Path, op: str, shape: tuple[int, ...], batch_axis: int, others: list[Any], attributes: dict[str, Any],
    right: tuple[int, ...] | None,
) -> None:  # fmt: skip
    assert result(tmp_path, op, shape, *others, batch_axis=batch_axis, **attributes) == right
