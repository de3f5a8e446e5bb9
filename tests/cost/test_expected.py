"""Expected costs are sums weighted with exit rates; every branch on the way is in the cumulative figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.cost.expected import ExpectedCost, check_exit_rates, exit_weights, expected_cost
from offramp.cost.report import CostReport, StageCost
from offramp.errors import InputError
from offramp.jsonio import from_data, to_data


def report(*cumulative: tuple[float, float, int]) -> CostReport:
    """One stage per (latency, energy, MACs) from the input to its exit."""
    stages = tuple(
        StageCost(f"exit{index}", 0.0, 0.0, 0.0, 0.0, 0.0, latency, energy, macs)
        for index, (latency, energy, macs) in enumerate(cumulative)
    )
    return CostReport("toy", "engine", "1", "offramp", stages, ())


def test_by_hand() -> None:
    # 1 mJ = 1e9 pJ. 70 % leave at 100 cycles and 1 mJ, 30 % at 400 cycles and 3 mJ.
    cost = expected_cost(report((100.0, 1e9, 1000), (400.0, 3e9, 5000)), [0.7, 0.3])
    assert cost.latency_cycles == pytest.approx(190.0)
    assert cost.energy_pj == pytest.approx(1.6e9)
    assert cost.macs == pytest.approx(2200.0)
    # Mean of the products: 0.7 * 0.001 * 100 + 0.3 * 0.003 * 400.
    assert cost.energy_delay_product_j_cycles == pytest.approx(0.07 + 0.36)
    assert cost.product_of_means_j_cycles == pytest.approx(0.0016 * 190)


def test_one_exit_costs_what_it_costs() -> None:
    cost = expected_cost(report((100.0, 2e9, 7)), [1.0])
    assert (cost.latency_cycles, cost.energy_pj, cost.macs) == (100.0, 2e9, 7.0)
    assert cost.energy_delay_product_j_cycles == pytest.approx(cost.product_of_means_j_cycles)


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e12)), min_size=1, max_size=5), st.data())
def test_expected_values_lie_between_the_exits(stages: list[tuple[float, float]], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(0.01, 1), min_size=len(stages), max_size=len(stages)))
    rates = [weight / sum(weights) for weight in weights]
    cost = expected_cost(report(*((latency, energy, 1) for latency, energy in stages)), rates)
    latencies, energies = zip(*stages, strict=True)
    assert min(latencies) * (1 - 1e-9) <= cost.latency_cycles <= max(latencies) * (1 + 1e-9)
    assert min(energies) * (1 - 1e-9) <= cost.energy_pj <= max(energies) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("rates", "fault"),
    [
        ([1.0], r"one value per exit \(2, the final one included\), got 1"),
        ([0.5, 0.3, 0.2], "got 3"),
        ([0.5, 0.4], "sum to 1"),
        ([1.5, -0.5], "shares from 0 to 1"),
        ([float("nan"), 1.0], "shares from 0 to 1"),
        ([float("inf"), 0.0], "shares from 0 to 1"),
    ],
)
def test_rates_that_make_no_sense(rates: list[float], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        check_exit_rates(rates, 2)
    with pytest.raises(InputError, match=fault):
        expected_cost(report((1.0, 1.0, 1), (2.0, 2.0, 2)), rates)


def test_printed_rates_may_be_rounded() -> None:
    check_exit_rates([0.333, 0.333, 0.333], 3)
    with pytest.raises(InputError):
        check_exit_rates([0.33, 0.33, 0.33], 3)


def test_the_product_of_an_earlier_manifest_is_read_under_its_present_name() -> None:
    data = {"latency_cycles": 10.0, "energy_pj": 2.0, "macs": 3.0, "product_of_means_j_cycles": 4e-12}
    earlier = from_data(ExpectedCost, {**data, "energy_latency_product_j_cycles": 5e-12})
    assert earlier.energy_delay_product_j_cycles == 5e-12
    assert from_data(ExpectedCost, to_data(earlier)) == earlier
    assert set(to_data(earlier)) == {*data, "energy_delay_product_j_cycles"}
    with pytest.raises(InputError, match="energy_delay_product_j_cycles"):
        from_data(ExpectedCost, data)


def test_weights_of_exits_are_the_rates_where_they_are_known() -> None:
    assert exit_weights((0.25, 0.75), 2) == (0.25, 0.75)
    assert exit_weights(None, 4) == (0.25,) * 4
    # Of an early-exit network with known rates, the static one has a single exit.
    assert exit_weights((0.25, 0.75), 1) == (1.0,)
    with pytest.raises(InputError, match="one value per exit"):
        exit_weights((0.25, 0.25, 0.5), 2)
