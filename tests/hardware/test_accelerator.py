"""What a multiply-accumulate takes at which widths."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.hardware.accelerator import Core
from offramp.hardware.loader import load_accelerator
from offramp.hardware.published_figures import MacEnergy, MacEnergyTable

CORE = load_accelerator("edge-tpu-quad").core("core0")
TABLE = MacEnergyTable((MacEnergy(8, 8, 0.04), MacEnergy(4, 8, 0.03), MacEnergy(4, 4, 0.01)), "a paper")


def scaled() -> Core:
    return replace(CORE, mac_energy_pj=0.5, mac_energy_by_bits=TABLE)


def test_without_a_table_the_width_does_not_matter() -> None:
    assert {CORE.mac_energy_pj_at(w, a) for w in (1, 4, 8, 32) for a in (1, 8, 32)} == {0.04}


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "energy"),
    [
        (8, 8, 0.04),
        (4, 8, 0.03),
        (4, 4, 0.01),
        (2, 2, 0.01),  # the narrowest entry that holds both
        (3, 5, 0.03),
        (5, 4, 0.04),
        (8, 4, 0.04),
        (9, 8, 0.5),  # wider than every entry
        (8, 16, 0.5),
        (0, 8, 0.5),  # no weights: pooling
    ],
)
def test_the_cheapest_entry_that_is_wide_enough(weight_bits: int, activation_bits: int, energy: float) -> None:
    assert scaled().mac_energy_pj_at(weight_bits, activation_bits) == energy


@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, 4), st.integers(0, 4))
def test_more_bits_never_cost_less_where_the_table_covers_them(w: int, a: int, more_w: int, more_a: int) -> None:
    core = scaled()
    assert core.mac_energy_pj_at(w, a) <= core.mac_energy_pj_at(w + more_w, a + more_a)
