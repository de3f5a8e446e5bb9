"""What is deployed decides as what was measured: every measure, rule and temperature, one sample alone and many."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE, MODEL_FILE
from offramp.deploy.onnx.nested_if import early_exit_model
from offramp.deploy.runtime.regroup import Regrouper, StageOutput
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.exits.confidence_measures import MEASURES
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import ExitRule
from offramp.exits.rules.cumulative import CumulativeConfidence
from offramp.exits.rules.patience import Patience
from tests.deploy.bundle_kinds import PRECISIONS
from tests.deploy.onnx.test_nested_if import pass_through, start

Logits = tuple[NDArray[np.float32], ...]

# Ties, values that saturate a softmax in float32 or in float64, values that vanish beside others.
VALUES = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 16.0, 17.0, 36.0, 37.0, -745.0, 1e4, -1e4, 1e30, -1e30, 1e-30]),
    st.floats(-20, 20, width=32),
)
THRESHOLDS = st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), st.floats(0.0, 1.0))
TEMPERATURES = st.sampled_from([1.0, 1e-6, 0.1, 0.7, 3.0, 1e6])


@st.composite
def rules(draw: st.DrawFn, num_exits: int) -> ExitRule:
    """A rule for so many exits."""
    thresholds = tuple(draw(THRESHOLDS) for _ in range(num_exits - 1))
    measure = draw(st.sampled_from(MEASURES))
    kind = draw(st.sampled_from(["threshold", "tempered", "cumulative", "patience"]))
    if kind == "patience":
        return Patience(draw(st.integers(1, num_exits + 1)))
    if kind == "cumulative":
        return CumulativeConfidence(thresholds, measure)
    temperatures = tuple(draw(TEMPERATURES) for _ in range(num_exits)) if kind == "tempered" else ()
    return ExitPolicy(measure, thresholds, temperatures)


@st.composite
def cases(draw: st.DrawFn) -> tuple[ExitRule, Logits]:
    """A rule, and logits (samples, classes) of as many exits: the same numbers at each, in another order."""
    num_exits, num_classes, num_samples = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 6))
    row = st.lists(VALUES, min_size=num_classes, max_size=num_classes)
    first = np.array(draw(st.lists(row, min_size=num_samples, max_size=num_samples)), dtype=np.float32)
    return draw(rules(num_exits)), tuple(np.roll(first, index, axis=0) for index in range(num_exits))


def regrouped(rule: ExitRule, logits: Logits, batch_size: int) -> list[int]:
    """The exits that a session takes, whose stages give the logits of the rows that they are handed."""
    taken = np.full(len(logits[0]), -1)

    def run(stage: int, features: NDArray[np.float32], previous: NDArray[np.float32] | None) -> StageOutput:
        rows = features[:, 0].astype(int)
        return StageOutput(None if stage == len(logits) - 1 else features, logits[stage][rows])

    runner = Regrouper(len(logits), batch_size, run, rule.leaves)
    rows = np.arange(len(taken))
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    left = [item for part in parts for item in runner.push(part, part[:, None].astype(np.float32))]
    for item in [*left, *runner.finish()]:
        taken[item.rows] = item.exit
    return taken.tolist()


@given(cases())
@settings(max_examples=150)
def test_all_forms_of_a_rule_decide_alike_on_any_logits(case: tuple[ExitRule, Logits]) -> None:
    rule, logits = case
    wanted = rule.decide(logits)
    assert [int(rule.decide([item[row : row + 1] for item in logits])[0]) for row in range(len(wanted))] == [*wanted]
    for batch_size in (1, 2, 7):
        assert regrouped(rule, logits, batch_size) == wanted.tolist()
    # What a last bit of float64 decides may be decided otherwise by another implementation of the exponential function.
    unsure = rule.undecided(logits, 1e-13 * np.max([np.abs(item).max(axis=1) for item in logits], axis=0) + 1e-13)
    num_classes = logits[0].shape[1]
    stages = pass_through(num_classes, len(logits))
    for index, stage in enumerate(stages):
        use_rows_(stage, index, logits[index])
    session = start(early_exit_model(stages, rule, num_classes))
    for row, right in enumerate(wanted):
        image = np.zeros((1, num_classes, 1, 1), np.float32)
        image[0, 0] = row
        found, taken, sure = session.run(["logits", "exit", "confidence"], {"images": image})
        assert taken[0] == right or unsure[row]
        assert np.array_equal(found[0], logits[taken[0]][row])
        stated = rule.notation(len(logits)).confidence(found, int(taken[0]))
        assert sure[0] == pytest.approx(float(stated[0]), abs=1e-12)


def use_rows_(stage: Any, index: int, logits: NDArray[np.float32]) -> None:
    """Let a stage of `pass_through` look its logits up: the first value of its input is the number of the row."""
    from onnx import TensorProto, helper, numpy_helper

    (node,) = (node for node in stage.graph.node if node.output[0] == f"exit_{index}")
    stage.graph.initializer.append(numpy_helper.from_array(logits, "rows"))
    stage.graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    made = [
        helper.make_node("Gather", ["flat_0", "first"], ["first_value"], axis=1),
        helper.make_node("Cast", ["first_value"], ["row"], to=TensorProto.INT64),
        helper.make_node("GatherND", ["rows", "row"], [f"exit_{index}"]),
    ]
    stage.graph.node.remove(node)
    stage.graph.node.extend(made)


def half_way(rule: ExitRule, logits: Logits) -> tuple[float, ...]:
    """A threshold per exit that half of the samples reach."""
    ordered = [np.sort(scores) for scores in rule.scores(logits[:-1])]
    return tuple(float(row[len(row) // 2 - 1 : len(row) // 2 + 1].mean()) for row in ordered)


def chosen_rules(logits: Logits) -> list[ExitRule]:
    nothing = (0.0,) * (len(logits) - 1)
    made: list[ExitRule] = [Patience(1), Patience(2)]
    for measure, temperatures in itertools.product(MEASURES, [(), (0.3, 2.0), (4.0, 0.5)]):
        thresholds = half_way(ExitPolicy(measure, nothing, temperatures), logits)
        made.append(ExitPolicy(measure, thresholds, temperatures))
    for measure in MEASURES:
        made.append(CumulativeConfidence(half_way(CumulativeConfidence(nothing, measure), logits), measure))
    return made


@pytest.mark.parametrize("kind", PRECISIONS)
def test_a_bundle_answers_as_its_network_by_every_rule_and_in_batches_of_any_size(
    bundles_of_kinds: dict[str, Path], kind: str
) -> None:
    bundle = bundles_of_kinds[kind]
    stored = np.load(bundle.parent / f"{kind}.npz")
    inputs, logits = stored["inputs"], tuple(stored["logits"])
    alone = EarlyExitSession(bundle)
    steps = [np.concatenate(parts) for parts in zip(*(alone.all_logits(row[None]) for row in inputs), strict=True)]
    for batch_size in (7, 60):
        together = alone.all_logits(inputs, batch_size=batch_size)
        errors = np.max([np.abs(a - b).max(axis=1) for a, b in zip(logits, together, strict=True)], axis=0)
        errors = np.maximum(errors, np.max([np.abs(a - b).max(axis=1) for a, b in zip(logits, steps, strict=True)], 0))
        # At most one sample in twenty may be rounded to another step.
        scale = max(np.abs(item).max() for item in logits)
        assert (errors > 1e-5 * scale).mean() <= 0.05
        for rule in chosen_rules(logits):
            wanted, certain = rule.decide(logits), ~rule.undecided(logits, errors + 1e-6 * scale)
            assert certain.mean() > 0.8
            answers = EarlyExitSession(bundle, rule=rule).predict(inputs, batch_size=batch_size)
            taken = np.array([answer.exit for answer in answers])
            assert (taken == wanted)[certain].all(), rule
            labels = np.array([logits[e][row].argmax() for row, e in enumerate(wanted)])
            assert ([answer.label for answer in answers] == labels)[certain].mean() >= 0.95, rule


@pytest.mark.parametrize("kind", PRECISIONS)
def test_all_files_of_a_bundle_give_the_same_logits(bundles_of_kinds: dict[str, Path], kind: str) -> None:
    """To the bit nearly everywhere, since all hold the same operators; another order of sums is the only freedom."""
    bundle = bundles_of_kinds[kind]
    stored = np.load(bundle.parent / f"{kind}.npz")
    inputs = stored["inputs"]
    chain = EarlyExitSession(bundle).all_logits(inputs)
    joined = start_file(bundle / MODEL_FILE).run(None, {"images": inputs})
    early = start_file(bundle / EARLY_EXIT_FILE)
    scale = np.abs(stored["logits"]).max()
    never = np.full(len(chain) - 1, 2.0)
    for row in range(len(inputs)):
        given = {"images": inputs[row : row + 1]}
        for thresholds in ({}, {"thresholds": never}):
            found, taken = early.run(["logits", "exit"], {**given, **thresholds})
            assert np.abs(found[0] - chain[taken[0]][row]).max() <= 1e-5 * scale
    for ours, theirs in zip(chain, joined, strict=True):
        assert np.abs(ours - theirs).max() <= 1e-5 * scale


def start_file(path: Path) -> Any:
    import onnx

    return start(onnx.load(path))
