"""Targets from words, and guarantees that check themselves."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from offramp.errors import ConfigError
from offramp.exits.accuracy_guarantee import Guarantee, GuaranteeTarget, parse_target


@pytest.mark.parametrize(
    ("text", "epsilon", "delta"),
    [("0.01@0.95", 0.01, 0.05), (" .02 @ 0.9 ", 0.02, 0.1), ("0@0.5", 0.0, 0.5), ("1e-3@0.99", 0.001, 0.01)],
)
def test_targets(text: str, epsilon: float, delta: float) -> None:
    assert parse_target(text) == GuaranteeTarget(epsilon, delta)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.01",
        "@",
        "0.01@",
        "@0.9",
        "1@0.9",
        "0.01@95",
        "0.01@1",
        "0.01@0",
        "-0.01@0.9",
        "1%@95%",
        "a@b",
        "0.1@0.99999999999999",
    ],
)
def test_wrong_targets_are_explained(text: str) -> None:
    with pytest.raises(ConfigError, match=r"such as 0\.01@0\.95, got"):
        parse_target(text)


@given(
    st.text(max_size=12)
    | st.text("0123456789.e-@", max_size=12)
    | st.from_regex(r"0?\.\d{1,4}@0?\.\d{1,4}", fullmatch=True)
)
@example("0.25@0.5")
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        target = parse_target(text)
    except ConfigError:
        return
    assert text.count("@") == 1
    assert 0.0 <= target.epsilon < 1.0
    assert 0.0 < target.delta < 1.0


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"epsilon": 1.0}, "`epsilon` must be"),
        ({"delta": 0.0}, "`epsilon` must be"),
        ({"num_seen": 11}, "`num_seen`"),
        ({"num_seen": -1}, "`num_seen`"),
        ({"bound": 0.2}, "`bound`"),
        ({"bound": float("nan")}, "`bound`"),
    ],
)
def test_a_guarantee_checks_itself(changes: dict[str, float], fault: str) -> None:
    good = {"epsilon": 0.1, "delta": 0.1, "method": "binomial", "num_calibration_samples": 10, "bound": 0.05}
    assert Guarantee(**good).leaves_early  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=fault):
        Guarantee(**{**good, **changes})  # type: ignore[arg-type]
