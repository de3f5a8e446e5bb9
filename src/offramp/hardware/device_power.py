"""What a device takes beside the work of its cores: while it waits, and to start."""

from dataclasses import dataclass, field

from pydantic import ValidationInfo

from offramp.hardware.block import Block, Fault, raise_faults
from offramp.hardware.field_types import Figure, Text


@dataclass(frozen=True)
class DevicePower(Block):
    """Static power and energy of a start, as far as they are known.

    Attributes:
        static_w: Power in W while the device is on, whether it computes or waits; None where it is not known.
        start_up_j: Energy in J from power-off until the first inference; None where it is not known.
        source: Where the figures were published.
    """

    static_w: Figure | None = None
    start_up_j: Figure | None = None
    source: Text = field(kw_only=True)


def with_clock(value: DevicePower | None, info: ValidationInfo) -> DevicePower | None:
    """Check that power can be turned into energy, which takes a clock.

    Args:
        value: The block of a file.
        info: What the file holds besides.

    Returns:
        The block.

    Raises:
        ValueError: It says nothing, or there is a static power and no clock.
    """
    if value is None:
        return None
    if value.static_w is None and value.start_up_j is None:
        raise_faults([Fault("must have `static_w`, `start_up_j` or both", ("device_power",))])
    if value.static_w is not None and info.data.get("clock_hz") is None:
        raise_faults([Fault("`static_w` needs `clock_hz`, to know how long an inference takes", ("device_power",))])
    return value
