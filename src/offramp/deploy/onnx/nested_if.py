"""One ONNX file with early exits: each later stage is inside an `If` node and runs only when needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from offramp.deploy.onnx.finish_model import EXPORT_OPSET, finish_model_, opset_of
from offramp.deploy.onnx.graph_arithmetic import GraphArithmetic, GraphBuilder, answer_outputs
from offramp.deploy.onnx.simplify import pass_integers_on_
from offramp.deploy.onnx.stage_graphs import prefixed
from offramp.deploy.onnx.value_names import IMAGES, THRESHOLDS, exit_name, features_name
from offramp.exits.exit_rule import ExitRule, RuleNotation
from offramp.exits.rule_arithmetic import State


def early_exit_model(stages: Sequence[Any], policy: ExitRule, num_classes: int) -> Any:
    """Join stage graphs into one graph for one sample that computes no stage behind the exit it takes.

    Confidences and thresholds are float64, as everywhere in offramp, so that decisions agree.

    Args:
        stages: The stage graphs as ONNX models.
        policy: The exit rule; its temperatures become part of the graph.
        num_classes: Number of classes.

    Returns:
        The model. Inputs: ``images`` (1, channels, height, width) and, where there is an early exit, ``thresholds``
        (early exits,), which may be left out: the default are those of the rule's notation. Outputs: ``logits``
        (1, classes), ``exit`` (1,) and ``confidence`` (1,).
    """
    from onnx import TensorProto, helper, numpy_helper

    notation = policy.notation(len(stages))
    first = _stage(stages, 0, _Rule(policy, notation), num_classes, ())
    images = stages[0].graph.input[0]
    dims = [size.dim_value for size in images.type.tensor_type.shape.dim][1:]
    inputs = [helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, [1, *dims])]
    initializers = list(first.initializers)
    if notation.thresholds:
        thresholds = np.array(notation.thresholds, dtype=np.float64)
        inputs.append(helper.make_tensor_value_info(THRESHOLDS, TensorProto.DOUBLE, [len(thresholds)]))
        initializers.append(numpy_helper.from_array(thresholds, THRESHOLDS))
    outputs = answer_outputs(_level(0), num_classes)
    graph = helper.make_graph(first.nodes, "early_exit_network_that_stops", inputs, outputs, initializers)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", max(EXPORT_OPSET, *(opset_of(stage) for stage in stages)))],
        producer_name="offramp",
    )
    finish_model_(model)
    return model


@dataclass(frozen=True)
class _Rule:
    """What decides, and the notation, whose measure is that of the confidence in the output."""

    rule: ExitRule
    notation: RuleNotation


def _stage(stages: Sequence[Any], index: int, rule: _Rule, num_classes: int, state: State) -> GraphBuilder:
    """Stage ``index``, its score, and the choice between leaving and all that follows.

    ``state`` is what the rule keeps of the exits before, as values of the graphs around.
    """
    from onnx import helper

    graph = prefixed(stages[index], index).graph
    if index:
        pass_integers_on_(prefixed(stages[index - 1], index - 1).graph, graph, features_name(index - 1))
    level = GraphBuilder(f"stage_{index}/decide_")
    level.nodes += graph.node
    level.initializers += graph.initializer
    arithmetic = GraphArithmetic(level, num_classes)
    logits = arithmetic.value(exit_name(index))
    confidence = arithmetic.confidence(logits, rule.notation.measure, rule.notation.temperature(index)).name
    if index == len(stages) - 1:
        level.leave(_level(index), index, confidence)
        return level
    threshold = level.add("Gather", [THRESHOLDS, level.constant(np.array([index]))], axis=0)
    score = rule.rule.score(arithmetic, logits, index, arithmetic.state(state))
    leaves = level.add("GreaterOrEqual", [score.value.name, threshold])
    stop = GraphBuilder(f"stage_{index}/stop_")
    stop.leave(f"stage_{index}/stop_", index, confidence)
    branches = {
        "then_branch": stop.graph(f"stop_{index}", f"stage_{index}/stop_", num_classes),
        "else_branch": _stage(stages, index + 1, rule, num_classes, score.state).graph(
            f"from_{features_name(index)}", _level(index + 1), num_classes
        ),
    }
    names = [value.name for value in answer_outputs(_level(index), num_classes)]
    level.nodes.append(helper.make_node("If", [leaves], names, name=f"leave_at_{exit_name(index)}", **branches))
    return level


def _level(index: int) -> str:
    """Prefix of a level's results; the outermost ones are the graph's outputs."""
    return "" if index == 0 else f"stage_{index}/"
