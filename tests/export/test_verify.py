"""How far a file may be from the network: for all samples, or for all but a few."""

import numpy as np
import pytest

from offramp.errors import ExportError
from offramp.export.verify import _Comparison

ROWS = np.arange(20)
OURS = np.zeros((20, 3), dtype=np.float32)


def off_by(*differences: float) -> np.ndarray:
    """Logits whose first samples are off by so much."""
    theirs = OURS.copy()
    theirs[: len(differences), 1] = differences
    return theirs


def test_differences_within_the_tolerance_are_remembered() -> None:
    comparison = _Comparison(20, num_allowed=0)
    comparison.add("file", 0, ROWS, OURS, off_by(0.1, -0.05), 0.11)
    comparison.add("file", 1, ROWS[1:], OURS[1:], off_by(0.08)[:-1], 0.11)
    assert comparison.largest[:3].tolist() == pytest.approx([0.1, 0.08, 0.0])
    # Any sample may be off as far as another was.
    assert comparison.slack().tolist() == pytest.approx([0.1] * 20)


def test_without_strays_one_sample_is_one_too_many() -> None:
    with pytest.raises(ExportError, match=r"at exit 2 logits differ by up to 0\.3, allowed are 0\.1, which 1 of 20"):
        _Comparison(20, num_allowed=0).add("file", 2, ROWS, OURS, off_by(0.3), 0.1)


def test_strays_are_counted_once_over_all_forms_and_exits() -> None:
    comparison = _Comparison(20, num_allowed=2)
    for exit_index in range(3):
        comparison.add("file", exit_index, ROWS, OURS, off_by(0.3, 0.02, 0.5), 0.1)
    assert np.flatnonzero(comparison.strays).tolist() == [0, 2]
    # A stray may go elsewhere, the others only by as much as those that are no strays differ.
    assert comparison.slack()[:4].tolist() == pytest.approx([0.3, 0.02, 0.5, 0.02])
    with pytest.raises(ExportError, match="does not reproduce"):
        comparison.add("other", 0, ROWS, OURS, off_by(0.0, 0.2), 0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_never_a_stray(value: float) -> None:
    with pytest.raises(ExportError, match="does not reproduce"):
        _Comparison(20, num_allowed=5).add("file", 0, ROWS, OURS, off_by(value), 0.1)
