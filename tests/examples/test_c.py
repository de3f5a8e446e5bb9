"""The C example, compiled and run against the library of the Python wheel: the session's answers."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from offramp.deploy.runtime.session import EarlyExitSession
from offramp.exits.exit_policy import ExitPolicy
from tests.deploy import toys
from tests.deploy.conftest import export

EXAMPLE = Path(__file__).parents[2] / "examples" / "c"
STAND_IN = Path(__file__).parent / "stand_in"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not shutil.which("make") or not shutil.which("cc") or not libraries:
        pytest.skip("needs make, a C compiler, and a wheel of onnxruntime that holds its library")
    folder = Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("c") / "c"))
    (folder / "libonnxruntime.so.1").symlink_to(libraries[0])
    include = os.environ.get("ONNXRUNTIME_INCLUDE", str(STAND_IN))
    command = ["make", "-s", f"ORT_INCLUDE={include}", "ORT_LIB=libonnxruntime.so.1"]
    command.append("CFLAGS=-O2 -Wall -Wextra -Werror")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "early_exit"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = ExitPolicy("max_probability", (0.85, 0.95))
    return export(toys.network(), tmp_path_factory.mktemp("bundle") / "toy", policy=policy).path


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.99)])
def test_it_answers_as_the_session(program: Path, bundle: Path, tmp_path: Path, thresholds: tuple[float, ...]) -> None:
    inputs = toys.samples(100, seed=31)
    inputs.tofile(tmp_path / "samples.f32")
    rule = ExitPolicy("max_probability", thresholds) if thresholds else None
    session = EarlyExitSession(bundle, rule=rule)
    wanted = session.predict(inputs, batch_size=1)
    assert {answer.exit for answer in wanted} == {0, 1, 2}
    done = run(program, bundle / "model_early_exit.onnx", tmp_path / "samples.f32", *thresholds)
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    assert [(int(row[0]), int(row[1])) for row in found] == [(answer.exit, answer.label) for answer in wanted]
    assert [float(row[2]) for row in found] == pytest.approx([answer.confidence for answer in wanted], abs=1e-5)
    logits = session.all_logits(inputs)
    for index, row in enumerate(found):
        assert np.abs(np.array(row[3:], dtype=float) - logits[int(row[0])][index]).max() < 1e-4


def test_it_ends_with_a_sentence_where_something_is_wrong(program: Path, bundle: Path, tmp_path: Path) -> None:
    model = bundle / "model_early_exit.onnx"
    samples = tmp_path / "samples.f32"
    toys.samples(1).ravel()[:-1].tofile(samples)
    cases = [
        ([], "usage"),
        ([model, tmp_path / "missing"], "cannot be read"),
        ([tmp_path / "missing.onnx", samples], "missing.onnx"),
        ([model, samples], "cut off"),
        ([bundle / "model.onnx", samples], "fixed shape"),
        ([model, samples, "0.5"], ""),
    ]
    for arguments, words in cases:
        done = run(program, *arguments)
        assert done.returncode in (1, 2), arguments
        assert done.stderr.startswith("early_exit: ")
        assert words in done.stderr
