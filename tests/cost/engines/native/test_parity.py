"""A fixed sample of the random comparison with zigzag-dse; benchmarks/engine_parity.py compares thousands."""

import numpy as np
import pytest

pytest.importorskip("zigzag")

from benchmarks.engine_parity import candidates_agree, compare, cores, random_case

SEED = 20261120
CASES = 40


def test_mappings_cost_the_same_as_in_zigzag() -> None:
    rng = np.random.default_rng(SEED)
    available = cores()
    compared = mappings = 0
    for _ in range(CASES):
        case = random_case(rng, available)
        result = compare(case, rng, most_orders=6)
        assert result.fault == "", f"seed {SEED}: {case}"
        compared += not result.skipped
        mappings += result.mappings
    assert compared >= CASES - 5
    assert mappings >= 100


def test_the_same_spatial_mappings_are_proposed() -> None:
    rng = np.random.default_rng(SEED)
    available = cores()
    for _ in range(12):
        case = random_case(rng, available)
        assert candidates_agree(case), f"seed {SEED}: {case}"
