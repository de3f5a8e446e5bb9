"""The error of adding up layers is fitted, and stated for stages that the fit has not seen."""

import pytest

from offramp.cost.engines.measured.summing_fit import SummingFit, fit_sums


def test_stages_on_a_line_are_fitted_exactly() -> None:
    fit = fit_sums([1e-5, 2e-5, 4e-5, 8e-5], [7e-6 + 0.5 * s for s in (1e-5, 2e-5, 4e-5, 8e-5)])
    assert fit.call_s == pytest.approx(7e-6)
    assert fit.scale == pytest.approx(0.5)
    assert fit.mean_error == pytest.approx(0.0, abs=1e-9)
    assert fit.seconds(6e-5) == pytest.approx(7e-6 + 3e-5)


def test_the_error_is_that_of_a_stage_left_out() -> None:
    # Through the first two, the third is predicted as 3 and measured as 4: off by a quarter.
    fit = fit_sums([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    assert fit.largest_error >= 0.25
    assert fit.stages == 3


def test_a_negative_call_is_no_call() -> None:
    fit = fit_sums([1.0, 2.0, 3.0], [0.5, 2.0, 3.5])
    assert fit.call_s == 0.0
    assert fit.scale == pytest.approx(1.0)  # the median of 0.5, 1 and 7/6


def test_two_stages_make_no_fit_and_broken_fits_are_refused() -> None:
    with pytest.raises(ValueError, match="at least three stages"):
        fit_sums([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="scale above 0"):
        SummingFit(0.0, 0.0, 0.0, 0.0, 3)
