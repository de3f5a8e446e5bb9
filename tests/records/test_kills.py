"""A search that is killed at random moments, in short; `python -m benchmarks.kill_test` does it at length."""

import random
from pathlib import Path

import pytest
from benchmarks.kill_test import _STUDY, Comparison, Plan, compare, disturbed, undisturbed

SHORT = _STUDY.replace("study.run(240,", "study.run(48,")


@pytest.mark.parametrize("algorithm", ["random", "nsga2"])
def test_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.kill_test._STUDY", SHORT)
    plan = Plan(algorithm, whole=False, workers=0, kills=3)
    seconds = undisturbed(tmp_path / "whole", plan)
    phases: list[str] = []
    for number in range(20):
        torn = tmp_path / f"torn-{number}"
        phases += disturbed(torn, plan, 3, seconds, random.Random(number))
        assert compare(tmp_path / "whole", torn) == Comparison(0, 0, 0, True)
        if len(phases) >= 2:
            break
    assert len(phases) >= 2


def test_the_comparison_would_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.kill_test._STUDY", SHORT)
    for name, algorithm in (("whole", "random"), ("other", "nsga2")):
        undisturbed(tmp_path / name, Plan(algorithm, whole=False, workers=0, kills=0))
    found = compare(tmp_path / "whole", tmp_path / "other")
    assert found.differing > 0
    assert not found.same_front
