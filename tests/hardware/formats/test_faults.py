"""Faults are collected and listed in one error."""

import pytest

from offramp.errors import AcceleratorError
from offramp.hardware.formats.faults import Faults


def test_all_faults_come_in_one_sentence() -> None:
    faults = Faults()
    faults.raise_if_any("x.yaml")
    faults.add("core 'a'", "is odd")
    faults.add("core 'a'", "is odd")
    with pytest.raises(AcceleratorError, match=r"Accelerator 'x.yaml' has 1 fault: core 'a': is odd\.$"):
        faults.raise_if_any("x.yaml")
    faults.add("", "and more")
    with pytest.raises(AcceleratorError, match=r"has 2 faults: core 'a': is odd; and more\.$"):
        faults.raise_if_any("x.yaml")
