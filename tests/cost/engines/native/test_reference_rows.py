"""The reference evaluation again, every layer priced by the native engine: all networks, all precisions."""

import time

import pytest

from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.expected import expected_cost
from offramp.cost.price_cache import CachedEngine
from tests.cost.engines.zigzag.test_reference import REFERENCE, cases, check, report_of, rows

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference data lies in ../shared, which is absent")


ENGINE = CachedEngine(NativeEngine(), None)


def test_every_stage_of_every_network_to_the_cycle() -> None:
    assert len(cases()) >= 10
    for case in cases():
        check(case, report_of(case, ENGINE))


def test_every_row_of_every_network_that_uses_one_core() -> None:
    """Averages over the exit rates and sums over the stages; the rows named GA have other allocations."""
    found = cases()
    assert {case.bits for case in found} == {(32, 32), (8, 8), (8, 4), (4, 8), (4, 4)}
    assert len(found) == sum("GA" not in row["variant"] for row in rows("models.csv"))
    for case in found:
        (row,) = [row for row in rows("models.csv") if case.belongs(row)]
        report = report_of(case, ENGINE)
        expected = expected_cost(report, [float(word) for word in row["exit_ratios"].split()])
        assert expected.latency_cycles == pytest.approx(float(row["avg_latency_cycles"]), rel=1e-12)
        assert expected.energy_pj == pytest.approx(float(row["avg_energy_J"]) * 1e12, rel=1e-12)
        assert expected.energy_delay_product_j_cycles == pytest.approx(float(row["avg_et_Jcycles"]), rel=1e-12)
        assert expected.product_of_means_j_cycles == pytest.approx(
            float(row["avg_latency_cycles"]) * float(row["avg_energy_J"]), rel=1e-12
        )
        last = report.stages[-1]
        assert last.latency_to_exit_cycles == float(row["sum_stage_latency"])
        assert last.energy_to_exit_pj == pytest.approx(float(row["sum_stage_energy_J"]) * 1e12, rel=1e-12)
        products = [stage.energy_to_exit_pj * 1e-12 * stage.latency_to_exit_cycles for stage in report.stages]
        # The table has six decimals.
        assert products == pytest.approx([float(word) for word in row["cum_et_per_exit"].split()], abs=6e-7)


def test_networks_that_share_layers_are_priced_at_once() -> None:
    case = cases()[0]
    report_of(case, ENGINE)
    start = time.process_time()
    jobs = len(report_of(case, ENGINE).layers)
    assert time.process_time() - start < 1.0, f"{jobs} known layers"
