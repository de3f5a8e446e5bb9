"""How a run divides its time."""

from pathlib import Path

import pytest

from offramp.clock import Deadline
from offramp.errors import ConfigError
from offramp.pipeline import _part, _usable_seconds
from offramp.result import search
from tests.conftest import small_config


@pytest.mark.parametrize(("budget", "usable"), [(None, None), (2400.0, 2232.0), (60.0, 40.0), (10.0, 0.0)])
def test_time_is_kept_for_export_and_report(budget: float | None, usable: float | None) -> None:
    assert _usable_seconds(budget) == (None if usable is None else pytest.approx(usable))


def test_parts_of_a_phase_end_in_order() -> None:
    whole = Deadline(100.0, 200.0)
    ends = [_part(whole, share) for share in (0.4, 0.6, 1.0)]
    assert [deadline.end for deadline in ends if deadline] == [140.0, 160.0, 200.0]
    assert _part(None, 0.5) is None


def test_a_budget_that_is_too_short_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"budget \(1 s\).*--budget"):
        search(small_config(budget__seconds=1.0), run=tmp_path / "run")
