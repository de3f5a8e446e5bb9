"""Exits that no sample uses are gone before thresholds are final, and so is what lies behind an exit that all take."""

import numpy as np
import pytest
from numpy.typing import NDArray

from offramp.cost.report import CostReport
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.network import EarlyExitNetwork
from offramp.run.evaluators.operating_point import OperatingPoint, measure_point
from offramp.run.finishing.used_exits import (
    ChosenPoint,
    SettledNetwork,
    UsedExits,
    end_at_dominating_exit,
    settle,
    used_by_any,
    used_by_samples,
)
from tests.cost.test_expected import report
from tests.nn.members import SMALL, member, small_supernet

DEPTHS = (1, 2, 2)
LABELS = np.zeros(4, dtype=np.int64)


def sure(*confidences: float) -> NDArray[np.float64]:
    """Logits of two classes with these confidences in class 0."""
    share = np.asarray(confidences)
    return np.stack([np.log(share), np.log(1.0 - share)], axis=1)


def network() -> EarlyExitNetwork:
    return small_supernet().eval().extract(member(SMALL, max, ((0, "conv"), (1, "pool_linear"), (2, "pool_mlp"))))


def priced(part: EarlyExitNetwork) -> CostReport:
    """The n-th exit costs n, each branch before it a tenth more."""
    return report(*((float(index + 1), float(index + 1), index + 1) for index in range(part.num_exits)))


class Chooser:
    """Gives the thresholds of a list, one after the other, and keeps the number of exits that it was asked for."""

    def __init__(self, *policies: tuple[float, ...], guarantee: Guarantee | None = None) -> None:
        self.policies = list(policies)
        self.asked: list[int] = []
        self.guarantee = guarantee

    def __call__(self, logits: object, cost: CostReport) -> ChosenPoint:
        self.asked.append(len(cost.stages))
        return ChosenPoint(measure(logits, cost, ExitPolicy("max_probability", self.policies.pop(0))), self.guarantee)


def measure(logits: object, cost: CostReport, policy: ExitPolicy) -> OperatingPoint:
    return measure_point(logits, LABELS, policy, cost)  # type: ignore[arg-type]


LOGITS = [
    sure(0.9, 0.8, 0.6, 0.6),
    sure(0.9, 0.9, 0.7, 0.6),
    sure(0.9, 0.9, 0.9, 0.8),
    sure(0.99, 0.99, 0.99, 0.99),
]


def answers(part: EarlyExitNetwork) -> list[NDArray[np.float64]]:
    """The logits of the exits that are left; taps are the places in `LOGITS`."""
    architecture = part.architecture
    taps = [choice.tap for choice in architecture.exits]
    return [LOGITS[tap] for tap in (*taps, 3 if architecture.head is None else architecture.head.tap)]


@pytest.mark.parametrize(
    ("rates", "used"),
    [
        ((0.5, 0.0, 0.5), UsedExits((0,), 2)),
        ((0.5, 0.5, 0.0), UsedExits((0,), 1)),
        ((1.0, 0.0, 0.0), UsedExits((), 0)),
        ((0.0, 0.0, 1.0), UsedExits((), 2)),
        ((0.2, 0.3, 0.5), UsedExits((0, 1), 2)),
    ],
)
def test_the_exits_that_samples_use(rates: tuple[float, ...], used: UsedExits) -> None:
    assert used_by_samples(rates) == used


@pytest.mark.parametrize(
    ("thresholds", "used"),
    [
        ((0.5, 2.0, 0.5), UsedExits((0, 2), 3)),
        ((0.5, 0.0, 0.5), UsedExits((0,), 1)),
        ((2.0, 2.0, 2.0), UsedExits((), 3)),
        ((-1.0, 0.5, 0.5), UsedExits((), 0)),
        ((1.0, 0.5, 0.5), UsedExits((0, 1, 2), 3)),
    ],
)
def test_the_exits_that_any_sample_could_use(thresholds: tuple[float, ...], used: UsedExits) -> None:
    assert used_by_any(ExitPolicy("max_probability", thresholds)) == used


def test_thresholds_are_chosen_again_for_the_network_that_is_left() -> None:
    """At first nobody leaves at exit 1; with the next thresholds nobody reaches the final classifier."""
    choose = Chooser((0.75, 0.95, 0.85), (0.75, 0.5), (0.75,))
    found = settle(network(), answers=answers, price=priced, choose=choose, measure=measure, max_depths=DEPTHS)
    assert choose.asked == [4, 3, 2]
    assert found.network.num_exits == len(found.cost.stages) == 2
    assert found.network.architecture.head is not None
    assert (found.network.architecture.head.tap, found.network.architecture.head.branch) == (2, "pool_mlp")
    assert found.chosen.point.policy.thresholds == (0.75,)
    assert found.chosen.point.profile.rates == (0.5, 0.5)
    # Half the samples cost 1, the others 2.
    assert found.chosen.point.expected.latency_cycles == 1.5


def test_a_network_that_uses_all_exits_stays_as_it_is() -> None:
    whole, choose = network(), Chooser((0.85, 0.85, 0.85))
    found = settle(whole, answers=answers, price=priced, choose=choose, measure=measure)
    assert found.network is whole
    assert choose.asked == [4]


def test_a_guarantee_keeps_exits_that_could_be_used_and_its_thresholds() -> None:
    """Exit 1 is closed to all, exit 2 open to all; nobody leaves at exit 0, but an unseen sample could."""
    promise = Guarantee(0.01, 0.05, "binomial", 100, 0.0)
    choose = Chooser((0.95, 2.0, -1.0), guarantee=promise)
    found = settle(network(), answers=answers, price=priced, choose=choose, measure=measure, max_depths=DEPTHS)
    assert choose.asked == [4]
    assert found.chosen.guarantee == promise
    assert found.chosen.point.policy.thresholds == (0.95,)
    assert found.chosen.point.profile.rates == (0.0, 1.0)
    assert [choice.tap for choice in found.network.architecture.exits] == [0]
    assert found.network.architecture.head is not None
    assert found.network.architecture.head.tap == 2


def test_where_nothing_could_be_promised_the_static_network_is_left() -> None:
    choose = Chooser((2.0, 2.0, 2.0), guarantee=Guarantee(0.0, 0.05, "never_exit", 100, 0.0))
    found = settle(network(), answers=answers, price=priced, choose=choose, measure=measure, max_depths=DEPTHS)
    assert found.network.architecture == network().architecture.without_exits()
    assert found.chosen.point.policy.thresholds == ()
    assert len(found.cost.stages) == 1


def priced_by_tap(part: EarlyExitNetwork) -> CostReport:
    """The exit at tap n costs n + 1, the final one 4."""
    head = part.architecture.head
    places = [*(choice.tap for choice in part.architecture.exits), 3 if head is None else head.tap]
    return report(*((float(place + 1), float(place + 1), place + 1) for place in places))


def ended(logits: list[NDArray[np.float64]], guarantee: Guarantee | None = None) -> SettledNetwork:
    """Half the samples leave at exit 0, the others at exit 1."""

    def run(part: EarlyExitNetwork) -> list[NDArray[np.float64]]:
        head = part.architecture.head
        return [logits[x] for x in (*(c.tap for c in part.architecture.exits), 3 if head is None else head.tap)]

    whole, choose = network(), Chooser((0.75, 0.5, 0.5), (), (), (), ())
    chosen = ChosenPoint(choose(run(whole), priced_by_tap(whole)).point, guarantee)
    settled = SettledNetwork(whole, priced_by_tap(whole), chosen)
    return end_at_dominating_exit(settled, answers=run, price=priced_by_tap, choose=choose, max_depths=DEPTHS)


def test_an_exit_that_alone_is_as_accurate_at_lower_costs_replaces_the_network() -> None:
    """All exits are right for all samples: what lies behind exit 0 only costs."""
    found = ended(LOGITS)
    assert found.network.num_exits == len(found.cost.stages) == 1
    assert found.network.architecture.head is not None
    assert found.network.architecture.head.tap == 0
    assert found.chosen.point.expected.latency_cycles == 1.0


def test_a_network_stays_whose_later_exits_make_it_more_accurate() -> None:
    """Exit 0 alone errs for one of the samples that it passes on; exit 1 alone costs more than the network."""
    found = ended([sure(0.9, 0.8, 0.4, 0.6), *LOGITS[1:]])
    assert found.network.num_exits == 4
    assert found.chosen.point.profile.top1 == 1.0


def test_a_network_with_a_guarantee_keeps_the_answers_that_were_tested() -> None:
    assert ended(LOGITS, Guarantee(0.01, 0.05, "binomial", 100, 0.0)).network.num_exits == 4
