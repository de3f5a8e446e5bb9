"""Axes that a file leaves open get their sizes from the user."""

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from offramp.errors import InputError, WorkloadError
from offramp.workload.from_onnx.conversion import network_from_onnx
from tests.workload.from_onnx.onnx_samples import Net


def test_an_open_axis_gets_the_size_that_is_given_for_its_name(tmp_path: Path) -> None:
    net = Net(("batch", "sequence", 16))
    hidden = net.op("MatMul", net.input, net.weight(16, 24))
    path = net.exit(net.op("MatMul", hidden, net.op("Transpose", hidden, perm=[0, 2, 1]))).save(tmp_path)
    with pytest.raises(WorkloadError, match=r"open are: sequence\. Give each a size, such as `--size sequence=128`"):
        network_from_onnx(path)
    # 10 tokens of 16 values: 10 x 16 x 24 for the weights, 10 x 24 x 10 for the scores.
    assert network_from_onnx(path, sizes={"sequence": 10}).workload.macs_to_exit() == (3840 + 2400,)
    batch = network_from_onnx(path, sizes={"sequence": 10, "batch": 4})
    assert batch.workload.macs_to_exit() == (3840 + 2400,)
    assert any("batch of 4" in note for note in batch.notes)


def test_an_axis_without_a_name_is_that_of_its_input(tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    net.exit(net.conv(net.input, 4, 3))
    for size in net.inputs[0].type.tensor_type.shape.dim[2:]:
        size.Clear()
    path = net.save(tmp_path)
    with pytest.raises(WorkloadError, match=r"open are: image\.2, image\.3\."):
        network_from_onnx(path)
    assert network_from_onnx(path, sizes={"image.2": 6, "image.3": 5}).workload.macs_to_exit() == (4 * 27 * 30,)


def test_all_axes_of_one_name_get_the_same_size(tmp_path: Path) -> None:
    net = Net((1, "n", 4))
    net.inputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, (1, 4, "n")))
    path = net.exit(net.op("MatMul", net.input, "other")).save(tmp_path)
    assert network_from_onnx(path, sizes={"n": 5}).workload.macs_to_exit() == (5 * 4 * 5,)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"time": 4}, r"no open axis 'time'\. Its open axes are: n, image\.1"),
        ({"image.2": 4}, r"no open axis 'image\.2'"),
        ({"n": 0}, "must be >= 1, got 0"),
    ],
)
def test_a_size_for_an_axis_that_is_not_open_is_refused(tmp_path: Path, sizes: dict[str, int], message: str) -> None:
    net = Net((1, "n", 4))
    path = net.exit(net.op("MatMul", net.input, net.weight(4, 2))).save(tmp_path)
    with pytest.raises(InputError, match=message):
        network_from_onnx(path, sizes=sizes)
