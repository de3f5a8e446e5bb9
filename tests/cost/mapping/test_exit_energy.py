"""Energies and products to exits by hand, without a report."""

from offramp.cost.mapping.exit_energy import EnergyCharge, energies_to_exits, mean_energy_delay_product

CHARGES = (
    EnergyCharge("a", 0.0, 5.0),
    EnergyCharge("b", 40.0, 7.0),
    EnergyCharge("b", 50.0, 11.0),
    EnergyCharge("c", 20.0, 13.0),
)
STAGE_OF = {"a": 0, "b": 1, "c": 2}


def test_work_that_begins_before_a_verdict_is_charged_there() -> None:
    # Before the verdict at 50 began 7 of b and 13 of c, before that at 60 all of c.
    assert energies_to_exits(CHARGES, STAGE_OF, (50.0, 60.0, 90.0)) == [5 + 7 + 13, 5 + 18 + 13, 36]


def test_idle_power_counts_until_the_verdict() -> None:
    assert energies_to_exits(CHARGES[:1], STAGE_OF, (50.0, 60.0, 90.0), 2.0) == [105, 125, 185]


def test_products_are_weighted() -> None:
    assert mean_energy_delay_product((2e12, 3e12), (10.0, 20.0), (0.25, 0.75)) == 0.25 * 20 + 0.75 * 60
