"""One ONNX file that really leaves early: each later stage lies inside an `If` that runs only when needed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from offramp.deploy.bundle.rule_notation import BundleRule, RuleName
from offramp.deploy.onnx.simplify import pass_integers_on_
from offramp.deploy.onnx.stage_graphs import opset_of, prefixed
from offramp.deploy.onnx.value_names import CONFIDENCE, EXIT, IMAGES, LOGITS, THRESHOLDS, exit_name, features_name
from offramp.exits.exit_rule import StepwiseRule


def early_exit_model(stages: Sequence[Any], policy: StepwiseRule, num_classes: int) -> Any:
    """The stage graphs as one graph for one sample that computes no stage behind the exit it takes.

    Inputs: ``images`` (1, channels, height, width) and, where there is an early exit, ``thresholds`` (early exits,),
    which may be left out: the policy's are the default, as `BundleRule` writes them; its temperatures are part of the
    graph. Outputs: ``logits`` (1, classes), ``exit`` (1,) and ``confidence`` (1,). Confidences and thresholds are
    float64, as everywhere in offramp, so that decisions agree.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rule = BundleRule.of(policy, len(stages))
    first = _stage(stages, 0, rule, num_classes, None)
    images = stages[0].graph.input[0]
    dims = [size.dim_value for size in images.type.tensor_type.shape.dim][1:]
    inputs = [helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, [1, *dims])]
    initializers = list(first.initializers)
    if rule.thresholds:
        thresholds = np.array(rule.thresholds, dtype=np.float64)
        inputs.append(helper.make_tensor_value_info(THRESHOLDS, TensorProto.DOUBLE, [len(thresholds)]))
        initializers.append(numpy_helper.from_array(thresholds, THRESHOLDS))
    outputs = _results(_level(0), num_classes)
    graph = helper.make_graph(first.nodes, "early_exit_network_that_stops", inputs, outputs, initializers)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset_of(stages[0]))],
        ir_version=stages[0].ir_version,
        producer_name="offramp",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _stage(stages: Sequence[Any], index: int, rule: BundleRule, num_classes: int, so_far: str | None) -> "_Builder":
    """Stage ``index``, its confidence, and the choice between leaving and all that follows.

    ``so_far`` names what the rule keeps of the exits before: of ``cumulative`` the product of their doubts, of
    ``patience`` the number of equal answers in a row.
    """
    from onnx import helper

    graph = prefixed(stages[index], index).graph
    if index:
        pass_integers_on_(prefixed(stages[index - 1], index - 1).graph, graph, features_name(index - 1))
    level = _Builder(f"stage_{index}/decide_")
    level.nodes += graph.node
    level.initializers += graph.initializer
    sure = level.confidence(exit_name(index), rule, index, num_classes)
    if index == len(stages) - 1:
        level.leave(_level(index), index, sure)
        return level
    threshold = level.add("Gather", [THRESHOLDS, level.constant(np.array([index]))], axis=0)
    score = level.score(rule.name, index, sure, so_far)
    leaves = level.add("GreaterOrEqual", [score.value, threshold])
    stop = _Builder(f"stage_{index}/stop_")
    stop.leave(f"stage_{index}/stop_", index, sure)
    branches = {
        "then_branch": stop.graph(f"stop_{index}", f"stage_{index}/stop_", num_classes),
        "else_branch": _stage(stages, index + 1, rule, num_classes, score.kept).graph(
            f"from_{features_name(index)}", _level(index + 1), num_classes
        ),
    }
    names = [value.name for value in _results(_level(index), num_classes)]
    level.nodes.append(helper.make_node("If", [leaves], names, name=f"leave_at_{exit_name(index)}", **branches))
    return level


def _level(index: int) -> str:
    """Prefix of a level's results; the outermost ones are the graph's outputs."""
    return "" if index == 0 else f"stage_{index}/"


def _results(prefix: str, num_classes: int) -> list[Any]:
    from onnx import TensorProto, helper

    return [
        helper.make_tensor_value_info(prefix + LOGITS, TensorProto.FLOAT, [1, num_classes]),
        helper.make_tensor_value_info(prefix + EXIT, TensorProto.INT64, [1]),
        helper.make_tensor_value_info(prefix + CONFIDENCE, TensorProto.DOUBLE, [1]),
    ]


def _answer(index: int) -> str:
    """Name of the class that exit ``index`` says."""
    return f"stage_{index}/answer"


@dataclass(frozen=True)
class _Score:
    """Names of what is compared with an exit's threshold, and of what the exits behind it need to know, if anything."""

    value: str
    kept: str | None


class _Builder:
    """Collects the nodes and constants of one level under names of their own."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._prefix = prefix

    def graph(self, name: str, results: str, num_classes: int) -> Any:
        """What was collected as a subgraph; it sees the values of the levels around it."""
        from onnx import helper

        return helper.make_graph(self.nodes, name, [], _results(results, num_classes), self.initializers)

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"{self._prefix}constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], *, output: str | None = None, **attributes: int) -> str:
        """Append a node with one result (attributes go straight to onnx) and give the result's name."""
        from onnx import helper

        name = f"{self._prefix}{operator}_{len(self.nodes)}"
        result = output or name
        self.nodes.append(helper.make_node(operator, inputs, [result], name=name, **attributes))
        return result

    def leave(self, prefix: str, index: int, sure: str) -> None:
        """The results of a sample that leaves at exit ``index``."""
        self.add("Identity", [exit_name(index)], output=prefix + LOGITS)
        self.add("Identity", [self.constant(np.array([index], dtype=np.int64))], output=prefix + EXIT)
        self.add("Identity", [sure], output=prefix + CONFIDENCE)

    def score(self, rule: RuleName, index: int, sure: str, so_far: str | None) -> "_Score":
        """What the threshold of exit ``index`` is for; the levels within see the values of those around them."""
        if rule == "cumulative":
            doubt = self.add("Sub", [self.constant(1.0), sure])
            doubts = doubt if so_far is None else self.add("Mul", [so_far, doubt])
            return _Score(self.add("Sub", [self.constant(1.0), doubts]), doubts)
        if rule == "patience":
            answer = self.add("ArgMax", [exit_name(index)], output=_answer(index), axis=-1, keepdims=0)
            one = self.constant(np.array([1.0]))
            if so_far is None:
                return _Score(one, one)
            same = self.add("Equal", [answer, _answer(index - 1)])
            in_a_row = self.add("Where", [same, self.add("Add", [so_far, one]), one])
            return _Score(in_a_row, in_a_row)
        return _Score(sure, None)

    def confidence(self, logits: str, rule: BundleRule, exit_index: int, num_classes: int) -> str:
        """The same formulas as ``BundleRule.confidence``, for one sample: shape (1,)."""
        from onnx import TensorProto

        measure, temperature = rule.measure, rule.temperature(exit_index)
        wide = self.add("Cast", [logits], to=TensorProto.DOUBLE)
        if temperature != 1.0:
            wide = self.add("Div", [wide, self.constant(temperature)])
        p = self.add("Softmax", [wide], axis=-1)
        last_axis = self.constant(np.array([-1]))
        if measure == "max_probability" or num_classes == 1:
            return self.add("ReduceMax", [p, last_axis], keepdims=0)
        if measure == "entropy":
            floored = self.add("Max", [p, self.constant(1e-300)])
            plogp = self.add("Mul", [p, self.add("Log", [floored])])
            total = self.add("ReduceSum", [plogp, last_axis], keepdims=0)
            share = self.add("Div", [total, self.constant(math.log(num_classes))])
            sure = self.add("Add", [share, self.constant(1.0)])
            return self.add("Clip", [sure, self.constant(0.0), self.constant(1.0)])
        return self._margin(p, last_axis)

    def _margin(self, p: str, last_axis: str) -> str:
        from onnx import helper

        values, indices = f"{self._prefix}top_values", f"{self._prefix}top_indices"
        two = self.constant(np.array([2]))
        self.nodes.append(
            helper.make_node("TopK", [p, two], [values, indices], name=f"{self._prefix}TopK", axis=-1, sorted=1)
        )
        # The larger less the smaller one: a sum with weights 1 and -1.
        signed = self.add("Mul", [values, self.constant(np.array([1.0, -1.0]))])
        return self.add("ReduceSum", [signed, last_axis], keepdims=0)
