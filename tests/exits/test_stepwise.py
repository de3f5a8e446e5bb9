"""Deciding exit by exit gives what deciding from all logits gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.exits.confidence_measures import MEASURES
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import ExitRule
from offramp.exits.rules.cumulative import CumulativeConfidence
from offramp.exits.rules.patience import Patience


def step_by_step(rule: ExitRule, logits: list[np.ndarray]) -> list[int]:
    """As a runtime does it: one sample, one exit after the other."""
    exits = []
    for sample in range(len(logits[0])):
        gone_through = [item[sample : sample + 1] for item in logits]
        last = len(logits) - 1
        exits.append(next((i for i in range(last) if rule.leaves(gone_through[: i + 1])[0]), last))
    return exits


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_exits=st.integers(1, 5),
    measure=st.sampled_from(MEASURES),
    num_agreeing=st.integers(1, 6),
    temperature=st.sampled_from([1.0, 0.5, 3.0]),
)
def test_step_by_step_and_at_once(
    seed: int, num_exits: int, measure: str, num_agreeing: int, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = [rng.normal(scale=2.0, size=(8, 3)) for _ in range(num_exits)]
    thresholds = tuple(rng.uniform(0.3, 1.0, size=num_exits - 1).tolist())
    rules: list[ExitRule] = [
        ExitPolicy(measure, thresholds, (temperature,) * num_exits),
        CumulativeConfidence(thresholds, measure),
        Patience(num_agreeing),
    ]
    for rule in rules:
        assert rule.num_exits in (None, num_exits)
        assert step_by_step(rule, logits) == rule.decide(logits).tolist()


@pytest.mark.parametrize(("num_agreeing", "exit_index"), [(1, 0), (2, 2), (3, 3), (4, 4)])
def test_patience_waits_for_answers_in_a_row(num_agreeing: int, exit_index: int) -> None:
    answers = [0, 1, 1, 1, 0]
    logits = [np.eye(2)[[answer]] for answer in answers]
    assert step_by_step(Patience(num_agreeing), logits) == [exit_index]
