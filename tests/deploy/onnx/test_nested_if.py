import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from offramp.deploy.onnx.finish_model import EXPORT_OPSET
from offramp.deploy.onnx.nested_if import early_exit_model
from offramp.deploy.onnx.stage_graphs import joined_model
from offramp.exits.confidence_measures import MEASURES, Measure, confidence
from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.network import EarlyExitNetwork
from offramp.workload.from_onnx.conversion import network_from_onnx
from tests.deploy import toys


def start(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def between(values: NDArray[np.float64], rank: int) -> float:
    """A threshold half-way between two samples, so that rounding decides nothing."""
    ordered = np.sort(values)
    return float((ordered[rank] + ordered[rank + 1]) / 2)


@pytest.mark.parametrize("temperatures", [(), (0.6, 2.5, 1.7)])
@pytest.mark.parametrize("measure", MEASURES)
def test_takes_the_exit_and_gives_the_logits_of_the_network(
    network: EarlyExitNetwork, models: list[Any], measure: Measure, temperatures: tuple[float, ...]
) -> None:
    inputs = toys.samples(200, seed=21)
    logits = toys.logits_of(network, inputs)
    divisors = temperatures or (1.0, 1.0, 1.0)
    sure = [confidence(item / divisor, measure) for item, divisor in zip(logits, divisors, strict=True)]
    policy = ExitPolicy(measure, (between(sure[0], 100), between(sure[1], 120)), temperatures)
    wanted = policy.decide(logits)
    assert set(wanted) == {0, 1, 2}
    session = start(early_exit_model(models, policy, len(toys.CLASSES)))
    for row, right in enumerate(wanted):
        found, taken, certainty = session.run(["logits", "exit", "confidence"], {"images": inputs[row : row + 1]})
        assert taken.tolist() == [right]
        assert np.abs(found[0] - logits[right][row]).max() < 1e-4
        assert certainty[0] == pytest.approx(sure[right][row], abs=1e-5)


def test_thresholds_are_inputs_with_the_policys_as_default(models: list[Any]) -> None:
    session = start(early_exit_model(models, ExitPolicy("margin", (0.0, 0.5)), len(toys.CLASSES)))
    assert [value.name for value in session.get_inputs()] == ["images"]
    assert [value.name for value in session.get_overridable_initializers()] == ["thresholds"]
    inputs = toys.samples(1)

    def taken(thresholds: list[float] | None) -> int:
        given = {} if thresholds is None else {"thresholds": np.array(thresholds)}
        return int(session.run(["exit"], {"images": inputs, **given})[0][0])

    assert taken(None) == 0
    assert taken([2.0, 0.0]) == 1
    assert taken([2.0, 2.0]) == 2


def tensor(name: str, *sizes: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *sizes])


def stage(index: int, num_exits: int, num_classes: int, work: int = 0) -> Any:
    """A stage graph whose logits are its input's values, after ``work`` products with a large matrix of zeros."""
    last = index == num_exits - 1
    source = "images" if index == 0 else f"features_{index - 1}"
    nodes = [helper.make_node("Flatten", [source], ["flat_0"], axis=1)]
    weights = []
    if work:
        weights = [numpy_helper.from_array(np.zeros((num_classes, num_classes), np.float32), "w")]
        nodes += [helper.make_node("MatMul", [f"flat_{i}", "w"], [f"flat_{i + 1}"]) for i in range(work)]
    nodes.append(helper.make_node("Identity", [f"flat_{work}"], [f"exit_{index}"]))
    outputs = [tensor(f"exit_{index}", num_classes)]
    if not last:
        nodes.append(helper.make_node("Identity", [source], [f"features_{index}"]))
        outputs.insert(0, tensor(f"features_{index}", num_classes, 1, 1))
    graph = helper.make_graph(nodes, "main", [tensor(source, num_classes, 1, 1)], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", EXPORT_OPSET)], ir_version=10)


def pass_through(num_classes: int, num_exits: int) -> list[Any]:
    return [stage(index, num_exits, num_classes) for index in range(num_exits)]


@pytest.mark.parametrize("num_classes", [1, 2, 4])
def test_measures_agree_on_extreme_logits(num_classes: int) -> None:
    stages = pass_through(num_classes, num_exits=1)
    rows = np.array(np.meshgrid(*[[-1e4, -1.0, 0.0, 0.5, 90.0]] * num_classes), dtype=np.float32)
    logits = rows.reshape(num_classes, -1).T[:40]
    for measure in MEASURES:
        session = start(early_exit_model(stages, ExitPolicy(measure, ()), num_classes))
        for row in logits:
            found = session.run(["confidence"], {"images": row.reshape(1, num_classes, 1, 1)})[0]
            assert found[0] == pytest.approx(float(confidence(row, measure)), abs=1e-12)


def test_one_exit_needs_no_thresholds() -> None:
    model = early_exit_model(pass_through(3, num_exits=1), ExitPolicy("entropy", ()), 3)
    assert [value.name for value in model.graph.input] == ["images"]
    image = np.array([0.0, 1.0, 2.0], np.float32).reshape(1, 3, 1, 1)
    logits, taken, _ = start(model).run(None, {"images": image})
    assert logits.tolist() == [[0.0, 1.0, 2.0]]
    assert taken.tolist() == [0]


def test_a_confidence_that_equals_the_threshold_leaves() -> None:
    stages = pass_through(2, num_exits=2)
    # Two equal logits: the largest probability is exactly one half.
    image = np.zeros((1, 2, 1, 1), np.float32)
    for threshold, right in ((0.5, 0), (float(np.nextafter(0.5, 1.0)), 1)):
        session = start(early_exit_model(stages, ExitPolicy("max_probability", (threshold,)), 2))
        assert session.run(["exit"], {"images": image})[0][0] == right


def test_what_lies_behind_the_exit_taken_is_not_computed() -> None:
    classes = 1024
    stages = [stage(0, 2, classes), stage(1, 2, classes, work=20)]
    session = start(early_exit_model(stages, ExitPolicy("margin", (0.0,)), classes))
    image = np.ones((1, classes, 1, 1), np.float32)

    def seconds(threshold: float) -> float:
        given = {"images": image, "thresholds": np.array([threshold])}
        session.run(["exit"], given)
        best = float("inf")
        for _ in range(15):
            begin = time.perf_counter()
            session.run(["exit"], given)
            best = min(best, time.perf_counter() - begin)
        return best

    assert seconds(0.0) < 0.2 * seconds(2.0)


def test_is_priced_as_the_network_with_all_its_exits(models: list[Any], tmp_path: Path) -> None:
    priced = {}
    policy = ExitPolicy("margin", (0.3, 0.5))
    files = {"stops": early_exit_model(models, policy, len(toys.CLASSES)), "joined": joined_model(models)}
    for name, model in files.items():
        onnx.save(model, tmp_path / f"{name}.onnx")
        priced[name] = network_from_onnx(tmp_path / f"{name}.onnx")
    stops, joined = priced["stops"].workload, priced["joined"].workload
    assert [(x.shape, x.stage, x.role) for x in stops.layers] == [(x.shape, x.stage, x.role) for x in joined.layers]
    assert stops.num_stages == 3
    assert priced["stops"].outputs == ("logits (leave_at_exit_0)", "logits (leave_at_exit_1)", "logits")
    assert priced["joined"].outputs == ("exit_0", "exit_1", "exit_2")
