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


def test_a_file_with_many_faults_is_answered_in_a_readable_length() -> None:
    faults = Faults()
    for number in range(300):
        faults.add(f"link {number}", "names unknown core 'edge'; there are none")
    with pytest.raises(AcceleratorError, match=r"has 300 faults: link 0: .*; link 19: .*; and 280 more") as caught:
        faults.raise_if_any("chip")
    assert "link 20:" not in str(caught.value)
    long = Faults()
    for number in range(20):
        long.add(f"core {number}", "x" * 1000)
    with pytest.raises(AcceleratorError, match="has 20 faults") as caught:
        long.raise_if_any("chip")
    assert len(str(caught.value)) < 3200
