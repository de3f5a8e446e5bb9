from typing import Any

import numpy as np
import pytest

from offramp.data.signals.value_names import as_groups, as_labels, as_names
from offramp.errors import DataError


def test_equal_groups_have_equal_names_whatever_their_type() -> None:
    kinds: list[Any] = [[1, 2], [1.0, 2.0], ["1", " 2 "], [b"1", b"2"]]
    assert {tuple(as_groups(np.array(values), "g").tolist()) for values in kinds} == {("1", "2")}
    composed, decomposed = "Ren\u00e9", "Rene\u0301"
    assert as_groups(np.array([composed, decomposed]), "g").tolist() == [composed] * 2


@pytest.mark.parametrize("values", [[1.0, np.nan], ["a", ""], ["a", "  "]])
def test_samples_without_a_group_are_refused(values: list[Any]) -> None:
    with pytest.raises(DataError, match="must have a group in column 'p', but 1 of 2 have none, the first is sample 1"):
        as_groups(np.array(values), "column 'p'")


def test_whole_numbers_are_class_names_and_bytes_are_text() -> None:
    assert as_labels(np.array([-1.0, 1.0])).tolist() == ["-1", "1"]
    assert as_labels(np.array([0.5, 1.0])).dtype == np.float64
    assert as_names(np.array([b"caf\xc3\xa9"])).tolist() == ["caf\u00e9"]
