"""Instructions of a bundle on a chip in QEMU."""

from pathlib import Path

import numpy as np
import pytest

from offramp.cli.main import app
from offramp.deploy.bench.device_bench import bench_on_device
from offramp.deploy.targets.c.device import DEVICES
from offramp.errors import InputError
from offramp.report.terminal.device_bench_table import device_bench_notes, device_bench_table

MISSING = " and ".join(DEVICES["cortex-m4"].missing)


@pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} not installed")
def test_instructions_at_the_exit_rates_lie_between_those_of_the_exits(bundles_of_kinds: dict[str, Path]) -> None:
    images = np.random.default_rng(1).integers(0, 256, (40, 3, 12, 10)).astype(np.uint8)
    result = bench_on_device(bundles_of_kinds["int8"], "cortex-m4", images=images, source="noise", num_samples=2)
    assert result.rates_from == "40 of noise"
    assert sum(result.exit_rates) == pytest.approx(1)
    first, last = result.to_exit
    assert result.expected == pytest.approx(first * result.exit_rates[0] + last * result.exit_rates[1])
    # The static network has no branch at the first exit, and decides once.
    assert first < result.static < last
    assert result.relative == result.expected / result.static
    assert result.static_flash_bytes < result.code_bytes + result.constant_bytes
    assert device_bench_table(result).row_count == 4
    assert "noise" in device_bench_notes(result)[0]


@pytest.mark.parametrize("target", ["qemu:", "qemu", "board", "qemu:z80"])
def test_a_target_that_is_no_chip_is_refused(target: str, bundles_of_kinds: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"`--target` must be host or qemu:CHIP|QEMU must run one of"):
        app(["bench", str(bundles_of_kinds["int8"]), "--target", target], standalone_mode=False)
