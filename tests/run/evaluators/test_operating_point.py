"""Operating points worked out by hand for two exits and four samples."""

from dataclasses import replace

import numpy as np
import pytest

from offramp.cost.capacity import MemoryNeed
from offramp.cost.report import CostReport, StageCost
from offramp.exits.accuracy_guarantee import Guarantee, GuaranteeTarget
from offramp.exits.calibration.class_offsets import fit_class_offsets
from offramp.exits.calibration.temperatures import fit_temperatures
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.quality.quality_measures import ConfusionMatrix, QualityMeasures, confusion_matrix
from offramp.objectives.evaluation import Constraint
from offramp.run.evaluators.operating_point import choose_certified_point, choose_operating_point, measure_point
from offramp.space.architecture import PolicyChoice
from tests.exits.synthetic import outputs


def stage(name: str, latency: float, energy: float, macs: int) -> StageCost:
    return StageCost(name, latency, 0.0, 0.0, latency, energy, latency, energy, macs)


# Exit 0 costs 10 cycles and 1e12 pJ (1 J), the final exit 40 cycles and 3e12 pJ (3 J).
COST = CostReport("toy", "hand", "1", "offramp", (stage("0", 10.0, 1e12, 100), stage("1", 40.0, 3e12, 500)), ())

COST_OF_ONE = CostReport("toy", "hand", "1", "offramp", (COST.stages[1],), ())


def logits_of(probabilities: list[float]) -> np.ndarray:
    """Two classes; the given probability is that of class 0."""
    p = np.asarray(probabilities)
    return np.log(np.stack([p, 1 - p], axis=1))


# Exit 0 is right and sure about samples 0 and 1, unsure and right about 2, unsure and wrong about 3.
LABELS = np.array([0, 0, 0, 1])
FIRST = logits_of([0.95, 0.92, 0.62, 0.71])
FINAL = logits_of([0.99, 0.99, 0.99, 0.01])
LOGITS = (FIRST, FINAL)


def test_without_a_drop_only_the_wrong_sample_goes_on() -> None:
    # No threshold separates sample 2 (0.62, right) from sample 3 (0.71, wrong): both go on.
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.0))
    assert point.profile.rates == (0.5, 0.5)
    assert point.profile.top1 == 1.0
    assert point.expected.latency_cycles == pytest.approx(25.0)
    assert point.expected.macs == pytest.approx(300.0)
    assert point.expected.energy_delay_product_j_cycles == pytest.approx(0.5 * 10 + 0.5 * 120)
    assert point.expected.product_of_means_j_cycles == pytest.approx(2.0 * 25.0)


def test_a_drop_buys_a_cheaper_point() -> None:
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.25))
    assert point.profile.rates == (1.0, 0.0)
    assert point.profile.top1 == 0.75
    assert point.values()["latency_cycles"] == pytest.approx(10.0)


def test_constraints_move_the_point() -> None:
    tight = Constraint("latency_cycles", "<=", 12.0)
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.0), [tight])
    assert point.profile.rates == (1.0, 0.0)
    assert point.violations([tight]) == (0.0,)
    accurate = Constraint("accuracy", ">=", 1.0)
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.25), [accurate])
    assert point.profile.top1 == 1.0


def test_an_impossible_constraint_is_violated_as_little_as_can_be() -> None:
    impossible = Constraint("latency_cycles", "<=", 5.0)
    point = choose_operating_point(LOGITS, LABELS, COST, PolicyChoice("max_probability", 0.0), [impossible])
    assert point.expected.latency_cycles == pytest.approx(10.0)
    assert point.violations([impossible]) == (pytest.approx(1.0),)


def test_a_network_without_early_exits() -> None:
    point = choose_operating_point((FINAL,), LABELS, COST_OF_ONE, PolicyChoice())
    assert point.policy == ExitPolicy("max_probability", ())
    assert point.profile.rates == (1.0,)
    assert point.expected.macs == 500


def test_a_fixed_policy_is_measured_as_it_is() -> None:
    point = measure_point(LOGITS, LABELS, ExitPolicy("max_probability", (0.7,)), COST)
    assert point.profile.rates == (0.75, 0.25)
    assert point.profile.accuracies == (pytest.approx(2 / 3), 1.0)
    assert point.profile.full_accuracies == (0.75, 1.0)
    assert point.profile.top1 == 0.75


def test_calibrated_thresholds_come_with_their_temperatures() -> None:
    made = outputs(400, np.random.default_rng(0), strengths=(1.5, 2.5))
    logits = [3 * item for item in made.logits]
    choice = PolicyChoice("entropy", 0.01)
    plain = choose_operating_point(logits, made.labels, COST, choice)
    calibrated = choose_operating_point(logits, made.labels, COST, choice, calibrate=True)
    assert plain.policy.temperatures == ()
    assert calibrated.policy.temperatures == fit_temperatures(logits, made.labels)
    assert min(calibrated.policy.temperatures) > 2.0
    # The stated rates are what the policy, applied to the logits as they are, does.
    assert measure_point(logits, made.labels, calibrated.policy, COST) == calibrated
    constrained = choose_operating_point(
        logits, made.labels, COST, choice, [Constraint("latency_cycles", "<=", 15.0)], calibrate=True
    )
    assert constrained.policy.temperatures == calibrated.policy.temperatures
    assert constrained.expected.latency_cycles <= 15.0
    alone = choose_operating_point(logits[1:], made.labels, COST_OF_ONE, choice, calibrate=True)
    assert alone.policy == ExitPolicy("entropy", ())


def test_thresholds_by_class_come_with_their_offsets() -> None:
    """Fitted on the calibrated logits, which the policy makes of the logits as they are."""
    made = outputs(400, np.random.default_rng(0), strengths=(1.5, 2.5))
    # The first exit is too unsure of class 0.
    unsure = np.where(made.logits[0].argmax(axis=1) == 0, 0.3, 1.0)[:, None]
    logits = [made.logits[0] * unsure, made.logits[1]]
    choice = PolicyChoice("max_probability", 0.01)
    for calibrate in (False, True):
        point = choose_operating_point(logits, made.labels, COST, choice, calibrate=calibrate, by_class=True)
        temperatures = fit_temperatures(logits, made.labels) if calibrate else (1.0, 1.0)
        scaled = [item / value for item, value in zip(logits, temperatures, strict=True)]
        assert point.policy.class_offsets == fit_class_offsets(scaled, made.labels, "max_probability")
        assert point.policy.class_offsets[0][0] == max(point.policy.class_offsets[0]) > 0.0
        assert measure_point(logits, made.labels, point.policy, COST) == point
    assert choose_operating_point(logits, made.labels, COST, choice).policy.class_offsets == ()


def certified(target: GuaranteeTarget, *constraints: Constraint, num_samples: int = 2000, calibrate: bool = False):  # type: ignore[no-untyped-def]
    made = outputs(num_samples, np.random.default_rng(1), strengths=(2.0, 3.0))
    return choose_certified_point(
        made.logits,
        made.labels,
        COST,
        PolicyChoice("margin", 0.5),
        target,
        constraints,
        seed=4,
        calibrate=calibrate,
    )


@pytest.mark.parametrize("calibrate", [False, True])
def test_a_certified_point_is_cheap_and_keeps_its_promise(calibrate: bool) -> None:
    found = certified(GuaranteeTarget(0.02, 0.1), calibrate=calibrate)
    assert found.guarantee.leaves_early
    assert found.guarantee.num_calibration_samples == 1000
    assert found.point.expected.latency_cycles < 30.0
    # The accuracy drop that the architecture asks for (0.5) has no say.
    assert found.point.profile.full_accuracies[-1] - found.point.profile.top1 <= 0.02
    assert bool(found.point.policy.temperatures) is calibrate


def test_constraints_choose_among_what_is_certified() -> None:
    target = GuaranteeTarget(0.05, 0.1)
    cheapest = certified(target)
    full = cheapest.point.profile.full_accuracies[-1]
    strict = Constraint("accuracy", ">=", full)
    found = certified(target, strict)
    assert cheapest.point.violations([strict])[0] > 0.0
    assert found.point.violations([strict]) == (0.0,)
    assert found.point.expected.latency_cycles > cheapest.point.expected.latency_cycles
    assert found.guarantee.epsilon == 0.05


def test_what_cannot_be_certified_never_leaves_early() -> None:
    found = certified(GuaranteeTarget(0.001, 0.01), num_samples=200)
    assert found.guarantee == Guarantee(0.001, 0.01, "never_exit", 100, 0.0)
    assert found.point.profile.rates == (0.0, 1.0)
    made = outputs(50, np.random.default_rng(1))
    alone = choose_certified_point(
        made.logits[-1:], made.labels, COST_OF_ONE, PolicyChoice(), GuaranteeTarget(0.1, 0.1), seed=0, calibrate=True
    )
    assert alone.point.policy == ExitPolicy("max_probability", ())


def test_a_limit_on_the_product_goes_before_accuracy() -> None:
    # Everybody at exit 0 costs 10 J x cycles, half of them 65, nobody 120.
    choice = PolicyChoice("max_probability", 0.0)
    assert choose_operating_point(LOGITS, LABELS, COST, choice, most_product=70.0).profile.rates == (0.5, 0.5)
    limited = choose_operating_point(LOGITS, LABELS, COST, choice, most_product=40.0)
    assert limited.expected.energy_delay_product_j_cycles <= 40.0
    assert limited.profile.top1 == 0.75
    # Where nothing keeps the limit the cheapest point is all there is.
    assert choose_operating_point(LOGITS, LABELS, COST, choice, most_product=1.0).profile.rates == (1.0, 0.0)


# Class 1 is rare. Exit 0 is sure that everything is class 0, and the final exit is always right.
RARE = np.array([0] * 18 + [1] * 2)
SURE = logits_of([*np.linspace(0.9, 0.99, 18), 0.7, 0.75])
RARE_LOGITS = (SURE, logits_of([0.99] * 18 + [0.01] * 2))
NAMES = ("common", "rare")


def test_accuracy_alone_lets_a_class_be_lost_and_other_measures_do_not() -> None:
    choice = PolicyChoice("max_probability", 0.1)
    by_accuracy = choose_operating_point(RARE_LOGITS, RARE, COST, choice)
    assert by_accuracy.profile.rates == (1.0, 0.0)
    assert by_accuracy.values()["accuracy"] == pytest.approx(0.9)
    assert by_accuracy.values()["balanced_accuracy"] == pytest.approx(0.5)
    # F1 of the common class 2 * 18 / (18 + 20), of the rare one 0.
    assert by_accuracy.values()["macro_f1"] == pytest.approx(36 / 38 / 2)
    for measure in ("balanced_accuracy", "macro_f1", "recall:rare"):
        measures = QualityMeasures(measure, class_names=NAMES)
        point = choose_operating_point(RARE_LOGITS, RARE, COST, choice, measures=measures)
        assert point.values()[measure] == 1.0
        # The two rare samples go on, all others leave.
        assert point.profile.rates == pytest.approx((0.9, 0.1))


def test_a_bound_on_the_recall_of_a_class_moves_the_thresholds() -> None:
    bound = Constraint("recall:rare", ">=", 0.5)
    measures = QualityMeasures(bounded=("recall:rare",), class_names=NAMES)
    choice = PolicyChoice("max_probability", 0.1)
    point = choose_operating_point(RARE_LOGITS, RARE, COST, choice, [bound], measures=measures)
    assert point.values()["recall:rare"] >= 0.5
    assert point.violations([bound]) == (0.0,)


def test_a_guarantee_for_a_class_is_tested_on_its_samples() -> None:
    labels = np.array([0] * 1000 + [1] * 200)
    rng = np.random.default_rng(0)
    # Exit 0 answers class 0 for all; its confidence tells the classes apart.
    first = logits_of([*rng.uniform(0.9, 0.99, 1000), *rng.uniform(0.6, 0.75, 200)])
    logits = (first, logits_of([0.99] * 1000 + [0.01] * 200))
    target, choice = GuaranteeTarget(0.05, 0.1), PolicyChoice("max_probability", 0.0)
    measures = QualityMeasures(class_names=NAMES)
    lenient = choose_certified_point(logits, labels, COST, choice, GuaranteeTarget(0.2, 0.1), seed=0)
    assert lenient.point.values()["balanced_accuracy"] < 0.95
    certified = choose_certified_point(
        logits, labels, COST, choice, target, seed=0, guaranteed="recall:rare", measures=measures
    )
    assert certified.guarantee.measure == "recall:rare"
    assert certified.guarantee.num_calibration_samples == 100  # half of the samples of that class
    assert confusion_of(certified.point.policy, logits, labels).recalls[1] >= 0.95


def confusion_of(policy: ExitPolicy, logits: tuple[np.ndarray, ...], labels: np.ndarray) -> ConfusionMatrix:
    answers = np.stack([item.argmax(1) for item in logits])[policy.decide(logits), np.arange(len(labels))]
    return confusion_matrix(labels, answers, 2)


def test_what_a_network_needs_of_a_memory_is_the_same_at_all_points() -> None:
    fits = Constraint("memory_use", "<=", 1.0)
    need = MemoryNeed("weights", "memory 'flash' of core 'flash'", 300, 200)
    choice = PolicyChoice("max_probability", 0.25)
    point = choose_operating_point(LOGITS, LABELS, replace(COST, memory=(need,)), choice, [fits])
    assert point.policy == choose_operating_point(LOGITS, LABELS, COST, choice).policy
    assert point.values()["memory_use"] == 1.5
    assert point.violations([fits]) == (0.5,)
