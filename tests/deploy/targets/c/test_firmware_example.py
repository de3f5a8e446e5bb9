"""The firmware of `examples/firmware`, built and run in QEMU."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from offramp.deploy.bundle.bundle_files import open_files
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.targets.c.arena_plan import plan_arena
from offramp.deploy.targets.c.c_source import c_files
from offramp.deploy.targets.c.device import DEVICES
from offramp.deploy.targets.c.host_run import find_compiler, run_on_host
from tests.deploy.targets.c import programs

EXAMPLE = Path(__file__).parents[4] / "examples" / "firmware"
MISSING = " and ".join({*DEVICES["cortex-m4"].missing, *([] if find_compiler() else ["cc"])})


@pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} not installed")
def test_the_firmware_prints_what_the_host_computes(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    program = programs.every_layer()
    manifest = load_manifest(open_files(bundles_of_kinds["int8"]))
    network, example = tmp_path / "network-c", tmp_path / "firmware"
    network.mkdir()
    for name, text in c_files(program, plan_arena(program), manifest, "network").items():
        (network / name).write_text(text)
    example.mkdir()
    for name in ("Makefile", "main.c"):
        (example / name).write_text((EXAMPLE / name).read_text())
    boards = EXAMPLE.parents[1] / "src" / "offramp" / "deploy" / "targets" / "c" / "boards"
    command = ["make", "-s", "run-cortex-m4", f"NETWORK={network}", f"BOARDS={boards}", "OPTIMISATION=-O2"]
    done = subprocess.run(command, cwd=example, capture_output=True, text=True, timeout=300, check=True)
    index = np.arange(12 * 10 * 3, dtype=np.int64)
    pixels = np.stack([index * index * pattern >> 3 & 255 for pattern in (1, 2, 3)]).astype(np.uint8)
    answers = run_on_host(network, pixels.reshape(3, 12, 10, 3), are_pixels=True, flags=("-std=c99", "-O1"))
    found = re.findall(r"class (\d+) at exit (\d+), instructions [1-9]\d+\n", done.stdout + done.stderr)
    assert found == [(str(c), str(e)) for c, e in zip(answers.classes, answers.exits, strict=True)]
