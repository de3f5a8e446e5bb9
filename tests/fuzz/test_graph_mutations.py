"""Changes to graphs give files that parse and differ, and the same ones for one seed."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fuzz.graph_mutations import mutate_graph


def test_changed_graphs_parse_and_differ() -> None:
    weight = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis=-1)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    content = helper.make_model(graph).SerializeToString()
    rng = np.random.default_rng(3)
    made = [mutate_graph(content, rng) for _ in range(200)]
    assert sum(item != content for item in made) > 150
    for item in made:
        onnx.load_model_from_string(item)
    again = np.random.default_rng(3)
    assert [mutate_graph(content, again) for _ in range(20)] == made[:20]


def test_what_is_no_graph_is_taken_too() -> None:
    for content in (b"", b"garbage", bytes(50)):
        assert isinstance(mutate_graph(content, np.random.default_rng(0)), bytes)
