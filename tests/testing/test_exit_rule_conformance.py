"""Every registered exit rule conforms, and rules that do not are found out."""

import copy
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from offramp.deploy.bundle import export_bundle as bundle_module
from offramp.deploy.onnx.stage_graphs import stage_models
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import EXIT_RULES, RuleNotation, Score
from offramp.exits.per_exit_thresholds import PerExitThresholds
from offramp.exits.rule_arithmetic import Arithmetic, State, Value
from offramp.exits.rules.cumulative import CumulativeConfidence
from offramp.testing.exit_rule_conformance import check_decisions, check_exit_rule

LIKE = RuleNotation("threshold", "max_probability", (0.9, 0.8))
LOGITS = tuple(np.random.default_rng(index).normal(scale=2.0, size=(40, 3)).astype(np.float32) for index in range(3))


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "add-an-exit-rule.md").read_text()


_STAGE_GRAPHS: list[Any] = []


def kept_stage_models(network: Any) -> list[Any]:
    """A stand-in for ``stage_models``: all checks export the same network, whose stage graphs take seconds to make."""
    if not _STAGE_GRAPHS:
        _STAGE_GRAPHS.extend(stage_models(network))
    return copy.deepcopy(_STAGE_GRAPHS)


@pytest.fixture(autouse=True)
def quick_stage_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "stage_models", kept_stage_models)


def test_the_rule_of_the_how_to_page_conforms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a file outside the package: its module registers the rule, the page checks it and chooses thresholds."""
    code = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.S | re.M)
    assert len(code) == 3
    list(EXIT_RULES)
    module = types.ModuleType("mean_probability")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(EXIT_RULES, "_items", dict(EXIT_RULES._items))
    for block in code:
        exec(compile(block, "add-an-exit-rule.md", "exec"), module.__dict__)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert printed[0].startswith("MeanProbability(thresholds=(")
    # Two exits that give the first class 0.5 and 0.9: 0.7 on average.
    logits = [np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]]), np.zeros((1, 2))]
    rule = EXIT_RULES.get("mean_probability")
    for threshold, exit_index in ((0.69, 1), (0.71, 2)):
        assert rule.from_numbers((0.6, threshold), LIKE).decide(logits).tolist() == [exit_index]


@pytest.mark.parametrize("name", EXIT_RULES)
def test_every_exit_rule_conforms(name: str) -> None:
    check_exit_rule(name)


@dataclass(frozen=True)
class Forgetful(CumulativeConfidence):
    """Says that it does not look back, and does."""

    looks_back: ClassVar[bool] = False


@dataclass(frozen=True)
class NumpyOnly(PerExitThresholds):
    """Reads numbers out of the values, which a graph or a tensor does not allow alike."""

    name: ClassVar[str] = "threshold"
    thresholds: tuple[float, ...]
    measure: Measure = "max_probability"

    def score(self, arithmetic: Arithmetic, logits: Value, exit_index: int, state: State) -> Score:
        sure = arithmetic.confidence(logits, self.measure, 1.0)
        return Score(sure if isinstance(sure, np.ndarray) else 1.0 - sure)


@dataclass(frozen=True)
class OtherNotation(ExitPolicy):
    """Its notation is that of another rule."""

    def threshold(self, exit_index: int) -> float:
        return self.thresholds[exit_index] / 2


def test_a_rule_that_hides_that_it_looks_back_is_found_out() -> None:
    with pytest.raises(AssertionError, match="alike at once and exit by exit"):
        check_decisions(Forgetful((0.7, 0.9)), LOGITS)


def test_a_rule_that_differs_in_another_arithmetic_is_found_out() -> None:
    with pytest.raises(AssertionError, match=r"must (decide as on cached logits|not doubt)"):
        check_decisions(NumpyOnly((0.7, 0.9)), LOGITS)


def test_a_notation_that_leads_elsewhere_is_found_out() -> None:
    with pytest.raises(AssertionError, match="must lead back to it"):
        check_decisions(OtherNotation("max_probability", (1.2, 1.4)), LOGITS)
