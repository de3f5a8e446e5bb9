"""Words to objectives and constraints; everything else is one clear error."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import ConstraintError
from offramp.objectives.evaluation import Constraint, Objective
from offramp.objectives.parse import (
    DEFAULT_OBJECTIVES,
    parse_constraint,
    parse_constraints,
    parse_objective,
    parse_objectives,
)
from tests.objectives.cases import metric_names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy", Objective("accuracy", "maximize")),
        (" max: accuracy ", Objective("accuracy", "maximize")),
        ("macs", Objective("macs", "minimize")),
        ("MIN:energy_pj", Objective("energy_pj", "minimize")),
        ("minimize:latency_cycles", Objective("latency_cycles", "minimize")),
        ("balanced_accuracy", Objective("balanced_accuracy", "maximize")),
        ("max:macro_f1", Objective("macro_f1", "maximize")),
        ("recall:cat", Objective("recall:cat", "maximize")),
        ("max:recall:a: b", Objective("recall:a: b", "maximize")),
    ],
)
def test_objectives(text: str, expected: Objective) -> None:
    assert parse_objective(text) == expected


def test_lists_of_objectives() -> None:
    assert parse_objectives("accuracy,energy_pj, latency_cycles") == DEFAULT_OBJECTIVES
    assert parse_objectives(["accuracy", "min:energy_pj,latency_cycles"]) == DEFAULT_OBJECTIVES
    assert parse_objectives("macs") == (Objective("macs", "minimize"),)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("acuracy", "Unknown objective 'acuracy'. Did you mean 'accuracy'?"),
        (
            "latency",
            "Available: accuracy, balanced_accuracy, energy_delay_product_j_cycles, energy_pj, latency_cycles",
        ),
        ("energy_delay_product", "Did you mean 'energy_delay_product_j_cycles'?"),
        ("energy_latency_product_j_cycles", "Did you mean 'energy_delay_product_j_cycles'?"),
        ("min:accuracy", "accuracy can only be maximized, got 'min:accuracy'. Write max:accuracy or accuracy."),
        ("max:macs", "macs can only be minimized"),
        ("low:macs", "may begin with 'min:' or 'max:', got 'low:macs'"),
        ("", "Unknown objective ''"),
        ("min:", "Unknown objective ''"),
    ],
)
def test_wrong_objectives(text: str, fault: str) -> None:
    with pytest.raises(ConstraintError) as caught:
        parse_objective(text)
    assert fault in str(caught.value)


@pytest.mark.parametrize("texts", [[], "macs,macs", ["macs", "min:macs"]])
def test_objectives_are_at_least_one_and_none_twice(texts: str | list[str]) -> None:
    with pytest.raises(ConstraintError, match="at least one metric and none twice"):
        parse_objectives(texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latency_cycles<=200000", Constraint("latency_cycles", "<=", 200_000.0)),
        ("macs<=2.4M", Constraint("macs", "<=", 2.4e6)),
        (" macs <= 2.4 M ", Constraint("macs", "<=", 2.4e6)),
        ("macs<=1_000k", Constraint("macs", "<=", 1e6)),
        ("macs>=1e3", Constraint("macs", ">=", 1e3)),
        ("macs≤2G", Constraint("macs", "<=", 2e9)),
        ("accuracy>=0.9", Constraint("accuracy", ">=", 0.9)),
        ("accuracy>=1", Constraint("accuracy", ">=", 1.0)),
        ("accuracy≥.5", Constraint("accuracy", ">=", 0.5)),
        ("accuracy>=0", Constraint("accuracy", ">=", 0.0)),
        ("energy_pj<=0.002J", Constraint("energy_pj", "<=", 2e9)),
        ("energy_pj<=3mJ", Constraint("energy_pj", "<=", 3e9)),
        ("energy_pj<=3 uJ", Constraint("energy_pj", "<=", 3e6)),
        ("energy_pj<=3µJ", Constraint("energy_pj", "<=", 3e6)),
        ("energy_pj<=2nJ", Constraint("energy_pj", "<=", 2e3)),
        ("energy_pj<=7pJ", Constraint("energy_pj", "<=", 7.0)),
        ("energy_pj<=2M", Constraint("energy_pj", "<=", 2e6)),
        ("energy_delay_product_j_cycles<=0.5", Constraint("energy_delay_product_j_cycles", "<=", 0.5)),
    ],
)
def test_constraints(text: str, expected: Constraint) -> None:
    parsed = parse_constraint(text)
    assert (parsed.metric, parsed.relation) == (expected.metric, expected.relation)
    assert parsed.bound == pytest.approx(expected.bound, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "must be a metric, '<=' or '>=', and a number, such as 'macs<=2.4M', got ''"),
        ("macs", "'<=' or '>='"),
        ("macs<5", "'<=' or '>='"),
        ("macs=5", "'<=' or '>='"),
        ("macs<=", "'<=' or '>='"),
        ("<=5", "'<=' or '>='"),
        ("mac<=5", "Unknown constraint metric 'mac'. Did you mean 'macs'?"),
        ("Accuracy>=0.5", "Did you mean 'accuracy'?"),
        ("macs<=five", "must be a number, optionally followed by one of k, M, G; got 'five'"),
        ("macs<=2.4m", "k, M, G; got '2.4m'"),
        ("macs<=200,000", "got '200,000'"),
        ("macs<=3mJ", "got '3mJ'"),
        ("latency_cycles<=3mJ", "got '3mJ'"),
        ("energy_pj<=3kWh", "k, M, G, pJ, nJ, uJ, mJ, J; got '3kWh'"),
        ("macs<=nan", "must be a finite number, got 'nan'"),
        ("macs<=inf", "finite"),
        ("macs<=1e999", "finite"),
        ("energy_pj<=1e300J", "finite"),
        ("macs<=-3", "must be above 0, got 'macs<=-3'"),
        ("macs<=0", "must be above 0"),
        ("macs>=-1", "must be above 0"),
        ("accuracy>=1.5", "accuracy is a share from 0 to 1, so no network can keep 'accuracy>=1.5'"),
        ("accuracy>=90", "Did you mean 0.9?"),
        ("accuracy>=90%", "without a suffix, a share from 0 to 1; got '90%'"),
        ("accuracy>=1k", "without a suffix"),
        ("accuracy<=-0.1", "share from 0 to 1"),
        ("accuracy>=nan", "finite"),
        ("accuracy>=0.5>=0.3", "got '0.5>=0.3'"),
        ("macs<=5\nmacs<=6", "'<=' or '>='"),
    ],
)
def test_wrong_constraints(text: str, fault: str) -> None:
    with pytest.raises(ConstraintError) as caught:
        parse_constraint(text)
    assert fault in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused_by_a_constraint_error(text: str) -> None:
    for parse in (parse_constraint, parse_objective):
        with contextlib.suppress(ConstraintError):
            parse(text)


@given(
    st.sampled_from(metric_names()),
    st.sampled_from(["<=", ">="]),
    st.text(alphabet="0123456789.eE+-_kMGmJpunaif ", max_size=12),
)
def test_what_looks_like_a_bound_is_finite_or_refused(metric: str, relation: str, number: str) -> None:
    try:
        constraint = parse_constraint(f"{metric}{relation}{number}")
    except ConstraintError:
        return
    assert math.isfinite(constraint.bound)
    assert constraint.bound >= 0


@given(st.sampled_from(metric_names()), st.sampled_from(["<=", ">="]), st.floats(1e-9, 1.0))
def test_a_written_constraint_is_read_back(metric: str, relation: str, bound: float) -> None:
    constraint = Constraint(metric, relation, bound)  # type: ignore[arg-type]
    assert parse_constraint(f"{metric}{relation}{bound!r}") == constraint


def test_constraints_that_exclude_each_other() -> None:
    assert len(parse_constraints(["macs<=2M", "macs>=1M", "accuracy>=0.5"])) == 3
    assert len(parse_constraints(["macs<=2M", "macs>=2M"])) == 2
    assert len(parse_constraints(["macs<=2M", "accuracy>=0.5"])) == 2
    with pytest.raises(ConstraintError, match="macs exclude each other: at least 3e"):
        parse_constraints(["macs<=5M", "macs<=2M", "accuracy>=0.5", "macs>=3M"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recall:cat>=0.8", Constraint("recall:cat", ">=", 0.8)),
        ("recall:no cat >= 0.8", Constraint("recall:no cat", ">=", 0.8)),
        ("balanced_accuracy>=.9", Constraint("balanced_accuracy", ">=", 0.9)),
        ("macro_f1 >= 0.5", Constraint("macro_f1", ">=", 0.5)),
    ],
)
def test_constraints_on_measures_of_classes(text: str, expected: Constraint) -> None:
    assert parse_constraint(text) == expected


@pytest.mark.parametrize(
    "text", ["recall:>=0.5", "recall:cat>=80", "macro_f1>=1.5", "balanced_accuracy>=2M", "min:recall:cat"]
)
def test_wrong_bounds_on_measures_of_classes(text: str) -> None:
    with pytest.raises(ConstraintError):
        parse_constraint(text)


def test_bounds_on_one_class_that_exclude_each_other() -> None:
    assert len(parse_constraints(["recall:a>=0.9", "recall:b<=0.5"])) == 2
    with pytest.raises(ConstraintError, match="recall:a exclude each other"):
        parse_constraints(["recall:a>=0.9", "recall:a<=0.5"])
