"""The algorithm of docs/how-to/add-a-search-algorithm.md works as it stands."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.testing.algorithm_conformance import CHECKS, check_same_seed

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-search-algorithm.md"


@pytest.fixture
def code() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    return str(block)


# The registration of this process does not reach the fresh one that `check_same_seed` starts; it has a test below.
@pytest.mark.parametrize("check", [c for c in CHECKS if c is not check_same_seed], ids=lambda check: check.__name__)
def test_the_worked_example_passes_the_checks(
    code: str, check: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    list(ALGORITHMS)
    monkeypatch.setattr(ALGORITHMS, "_items", dict(ALGORITHMS._items))
    exec(code, {"__name__": "neighbours"})
    check("neighbours")


def test_the_worked_example_is_the_same_in_fresh_processes(code: str, tmp_path: Path) -> None:
    (tmp_path / "neighbours.py").write_text(code)
    program = (
        "import neighbours; from offramp.testing.algorithm_conformance import proposals; "
        "print(proposals('neighbours', 3))"
    )
    shown = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)},
        ).stdout
        for seed in ("1", "2")
    ]
    assert shown[0] == shown[1]
    assert shown[0].count('"resolution"') == 10
