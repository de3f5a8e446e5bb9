"""What stands above the headline: guarantees that could not be kept."""

from dataclasses import replace

from offramp.exits.accuracy_guarantee import Guarantee
from offramp.run.checks.alerts import budget_alerts, guarantee_alerts
from tests.report import fake


def test_a_guarantee_that_no_thresholds_kept_is_said_first() -> None:
    network = fake.chosen("most_accurate", fake.evaluation(fake.architecture(taps=(1,)), 0.9, 0.75))
    failed = replace(network, guarantee=Guarantee(0.01, 0.05, "never_exit", 300, 0.0))
    kept = replace(network, guarantee=Guarantee(0.01, 0.05, "binomial", 300, 0.009))
    (alert,) = guarantee_alerts([failed, kept, network])
    text = alert.replace("\u00a0", " ")
    assert text.startswith("The guarantee could not be kept by “most accurate”")
    assert "lose at most 1.00 percentage points of accuracy with a confidence of 95.0 % (300 validation images" in text
    assert "falls back to the static network" in text


def test_a_network_that_never_had_early_exits_breaks_no_guarantee() -> None:
    static = fake.chosen("knee", fake.evaluation(fake.architecture(taps=()), 0.9, 0.75))
    assert guarantee_alerts([replace(static, guarantee=Guarantee(0.01, 0.05, "never_exit", 300, 0.0))]) == ()


def test_a_run_that_took_longer_than_its_budget_says_so() -> None:
    (alert,) = budget_alerts(40.0, 118.2)
    assert alert.startswith("The run took 118 s, more than its budget of 40 s")
    assert budget_alerts(40.0, 43.9) == ()
    assert budget_alerts(None, 1e6) == ()
