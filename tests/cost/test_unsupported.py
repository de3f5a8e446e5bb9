from dataclasses import replace

import pytest

from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError, describe
from offramp.errors import UnsupportedLayerError
from tests.cost.toys import conv, dense


def test_message_names_every_layer() -> None:
    error = UnpricedJobsError("zigzag", [UnpricedJob(conv(), "npu", "no room"), UnpricedJob(dense(16), "dsp", "odd")])
    for part in ("'zigzag' cannot price 2 layer(s)", "conv 3x3", "dense", "'npu': no room", "'dsp': odd"):
        assert part in str(error)
    with pytest.raises(UnsupportedLayerError):
        raise error


def test_description_has_channels_groups_and_bits() -> None:
    depthwise = replace(conv(1, 1), g=32, weight_bits=4)
    assert "32 -> 32 channels in 32 groups" in describe(depthwise)
    assert "4-bit weights, 8-bit activations" in describe(depthwise)
