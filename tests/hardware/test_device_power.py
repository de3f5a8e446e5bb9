"""Static power and energy of a start in an accelerator file, and their faults."""

from pathlib import Path
from typing import Any

import pytest

from offramp.errors import AcceleratorError
from offramp.hardware.device_power import DevicePower
from offramp.hardware.loader import load_accelerator
from tests.hardware.samples import chip, write


def described(folder: Path, power: Any, clock_hz: float | None = 1e8) -> DevicePower | None:
    data = chip() | {"device_power": power} | ({} if clock_hz is None else {"clock_hz": clock_hz})
    return load_accelerator(write(folder, data)).device_power


def test_what_a_device_takes_besides_is_read(tmp_path: Path) -> None:
    both = described(tmp_path, {"static_w": 0.5, "start_up_j": 0, "source": "data sheet"})
    assert both == DevicePower(static_w=0.5, start_up_j=0.0, source="data sheet")
    start = described(tmp_path, {"start_up_j": 0.25, "source": "measured"}, clock_hz=None)
    assert start == DevicePower(start_up_j=0.25, source="measured")
    assert load_accelerator(write(tmp_path, chip())).device_power is None


@pytest.mark.parametrize(
    ("power", "clock_hz", "says"),
    [
        ({"source": "data sheet"}, 1e8, "must have `static_w`, `start_up_j` or both"),
        ({"static_w": 0.5, "source": "data sheet"}, None, "`static_w` needs `clock_hz`"),
        ({"static_w": 0.5}, 1e8, "source"),
        ({"static_w": -0.5, "source": "data sheet"}, 1e8, "static_w"),
        ({"static_mw": 0.5, "source": "data sheet"}, 1e8, "static_mw"),
        (0.5, 1e8, "device_power"),
    ],
)
def test_power_that_says_too_little_is_refused(tmp_path: Path, power: Any, clock_hz: float | None, says: str) -> None:
    with pytest.raises(AcceleratorError) as caught:
        described(tmp_path, power, clock_hz)
    assert says in str(caught.value)
