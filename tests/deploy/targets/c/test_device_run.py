"""Exports on chips in QEMU; what is not installed here is skipped."""

from pathlib import Path

import numpy as np
import pytest

from offramp.deploy.bundle.bundle_files import open_files
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.targets.c import device as device_module
from offramp.deploy.targets.c.arena_plan import plan_arena
from offramp.deploy.targets.c.c_source import c_files
from offramp.deploy.targets.c.device import DEVICES, device_named
from offramp.deploy.targets.c.device_run import run_on_device
from offramp.errors import InputError
from tests.deploy.targets.c import programs

CHIPS = ("cortex-m4", "cortex-m55", "rv32imac")


def chip(name: str) -> object:
    missing = " and ".join(DEVICES[name].missing)
    return pytest.param(name, marks=pytest.mark.skipif(bool(missing), reason=f"{missing} not installed"))


@pytest.mark.parametrize("bits", [8, 2])
@pytest.mark.parametrize("name", [chip(name) for name in CHIPS])
def test_every_layer_is_equal_to_the_bit_on_every_kind_of_chip(
    name: str, bits: int, bundles_of_kinds: dict[str, Path], tmp_path: Path
) -> None:
    program = programs.every_layer(bits=bits)
    # A table of pixels with the zero point of this image: pixels stand for their own quantised input.
    pixels = np.random.default_rng(2).integers(0, 256, (6, 12, 10, 3)).astype(np.uint8)
    manifest = load_manifest(open_files(bundles_of_kinds["int8"]))
    for file, text in c_files(program, plan_arena(program), manifest, "network").items():
        (tmp_path / file).write_text(text.replace("pixel_table[c][*pixels++]", "(int8_t)((int32_t)*pixels++ - 128)"))
    text = (tmp_path / "network.c").read_text().replace("static const int8_t pixel_table", "const int8_t pixel_table")
    (tmp_path / "network.c").write_text(text)
    answers = run_on_device(tmp_path, device_named(name), pixels, optimisation="-O2")
    for index, sums in enumerate(programs.torch_sums(program, pixels)):
        assert np.array_equal(answers.sums[:, index], sums)
    assert (answers.instructions_to_exit[:, 0] < answers.instructions_to_exit[:, 1]).all()
    taken = answers.instructions_to_exit[np.arange(6), answers.exits]
    # The timer of a Cortex-M counts every 40th instruction.
    assert (np.abs(answers.instructions.astype(np.int64) - taken.astype(np.int64)) < 200).all()
    weights = sum(layer.weight.size for stage in program.stages for layer in stage.layers if hasattr(layer, "weight"))
    assert answers.constant_bytes > weights * bits / 8
    assert 0 < answers.stack_bytes < 4096


def test_a_chip_without_its_tools_is_refused_with_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module.shutil, "which", lambda tool: None)
    with pytest.raises(InputError, match=r"arm-none-eabi-gcc and qemu-system-arm must be installed.*apt-get install"):
        device_named("cortex-m4")
    with pytest.raises(InputError, match=r"QEMU must run one of cortex-m3, .*, got 'z80'"):
        device_named("z80")
