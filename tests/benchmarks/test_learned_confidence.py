"""Thresholds on learned confidences that add up."""

import numpy as np
from benchmarks.learned_confidence import accumulated, learned_curve, learned_exits

from offramp.exits.exit_rule import CachedOutputs
from offramp.exits.rule_curve import rule_curve
from offramp.exits.score_thresholds import ThresholdGrid
from tests.exits.synthetic import outputs

GRID = ThresholdGrid(0.1, 3)
# Cumulative at the second exit: 1 - 0.5 * 0.5, 1 - 0.4 * 0.5, 1 - 0.1 * 0.4.
FIRST, SECOND = np.asarray([0.5, 0.6, 0.9]), np.asarray([0.5, 0.5, 0.6])


def test_by_hand() -> None:
    np.testing.assert_allclose(accumulated([FIRST, SECOND]), [[0.5, 0.6, 0.9], [0.75, 0.8, 0.96]])
    assert learned_exits((0.7, 0.78), [FIRST, SECOND]).tolist() == [2, 1, 0]
    assert learned_exits((0.95, 0.9), [FIRST, SECOND]).tolist() == [2, 2, 1]


def test_an_oracle_that_knows_where_an_exit_is_right_gives_the_best_accuracy_there_can_be() -> None:
    strengths = np.linspace(1.2, 3.0, 4).tolist()
    made = outputs(300, np.random.default_rng(0), strengths=strengths, num_classes=4)
    cached = CachedOutputs(made.logits, made.labels, (1.0, 2.0, 3.0, 4.0))
    right = [(item.argmax(axis=1) == made.labels).astype(float) for item in made.logits]
    known = learned_curve(cached, right[:-1], GRID)
    stand_in = rule_curve("cumulative", cached, GRID)
    assert known[-1].accuracy == np.mean(np.max(right, axis=0))
    assert stand_in[-1].accuracy < known[-1].accuracy
    exits = learned_exits(known[-1].thresholds, right[:-1])
    assert np.mean(np.stack(right)[exits, np.arange(300)]) == known[-1].accuracy
