"""What every exit rule must do, as a check that raises AssertionError with a sentence."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from offramp.deploy.bundle.manifest import EARLY_EXIT_FILE
from offramp.deploy.onnx.value_names import EXIT, IMAGES
from offramp.deploy.runtime.graph_sessions import start_content
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_rule import EXIT_RULES, CachedOutputs, ExitRule, RuleNotation
from offramp.exits.rule_arithmetic import Arithmetic, State, Value
from offramp.exits.rule_curve import rule_curve
from offramp.exits.rule_text import parse_rule
from offramp.exits.score_thresholds import ThresholdGrid
from offramp.testing.pass_through import export_pass_through

_NUM_SAMPLES, _NUM_CLASSES = 120, 4
_GRID = ThresholdGrid(step=0.25, num_quantiles=4, max_combinations=1_000)
# Forms differ by rounding alone: decisions that hang on less may differ.
_ROUNDING = 1e-6

Logits = tuple[NDArray[np.float32], ...]


def check_exit_rule(name: str) -> None:
    """Try a registered exit rule on random logits.

    It must decide alike on cached logits, exit by exit, in torch, in the ONNX file that leaves early and in a session;
    its notation and its text must lead back to it; its bounds must hold; and thresholds must be found for it.

    Args:
        name: The registered name of the rule.

    Raises:
        AssertionError: If the rule does not do what it must; the message says what.
    """
    kind = EXIT_RULES.get(name)
    _require(kind.name == name, f"rule and registered name must agree, got {kind.name!r} and {name!r}")
    _require(bool(kind.description), f"rule {name!r} must have a description of one line")
    like = RuleNotation("threshold", "max_probability", (0.9, 0.8))
    _require(type(parse_rule(kind.example, like)) is kind, f"`example` {kind.example!r} must be text for {name!r}")
    for num_exits in (1, 2, 4):
        outputs = _outputs(num_exits, seed=num_exits)
        rules = list(kind.choices(outputs, _GRID))
        _require(bool(rules), f"`choices` must give a rule for {num_exits} exits")
        for rule in _some(rules):
            check_decisions(rule, outputs.logits)
    _check_curve(name)
    rules = list(kind.choices(_outputs(3, seed=5), _GRID))
    _check_deployed(rules[len(rules) // 2])


def check_decisions(rule: ExitRule, logits: Logits) -> None:
    """Compare the decisions that need no exported file.

    Args:
        rule: A rule for these exits.
        logits: Logits (samples, classes) per exit, the final one last.

    Raises:
        AssertionError: If two ways to decide differ, or a bound is exceeded.
    """
    count = len(logits)
    wanted = rule.decide(logits)
    _require(rule.num_exits in (None, count), f"`num_exits` of {rule} must be {count} or None, got {rule.num_exits}")
    _require(int(wanted.min()) >= 0 and int(wanted.max()) < count, f"{rule} must decide for exits 0 to {count - 1}")
    stepwise = [_stepwise(rule, [item[row : row + 1] for item in logits]) for row in range(len(wanted))]
    _require(stepwise == wanted.tolist(), f"{rule} must decide alike at once and exit by exit, one sample alone")
    notation = rule.notation(count)
    faults = list(type(rule).faults(notation, count))
    _require(not faults, f"the notation of {rule} must be without faults, got {faults}")
    finite = len(notation.thresholds) == count - 1 and all(math.isfinite(value) for value in notation.thresholds)
    _require(finite, f"the notation of {rule} must have {count - 1} finite thresholds, got {notation.thresholds}")
    _require(notation.rule.decide(logits).tolist() == wanted.tolist(), f"the notation of {rule} must lead back to it")
    certain = ~rule.undecided(logits, np.full(len(wanted), _ROUNDING))
    _require(float(certain.mean()) > 0.5, f"`undecided` must not doubt most decisions of {rule} over 1e-6")
    _agree(_torch_decisions(rule, logits), wanted, certain, f"{rule} in torch")
    rng = np.random.default_rng(0)
    for error in (0.01, 0.3):
        moved = [item + rng.uniform(-error, error, item.shape) for item in logits]
        certain = ~rule.undecided(logits, np.full(len(wanted), error))
        _agree(rule.decide(moved), wanted, certain, f"{rule} with logits that are off by {error}")


def _check_curve(name: str) -> None:
    curve = rule_curve(name, _outputs(4, seed=9), _GRID)
    _require(len(curve) > 1, f"`choices` of {name!r} must give rules that trade accuracy for cost, got {len(curve)}")


def _check_deployed(rule: ExitRule) -> None:
    """Write a bundle whose network passes given logits on, and run its forms."""
    logits = _outputs(3, seed=5).logits
    inputs = np.concatenate(logits, axis=1)[:, :, None, None]
    wanted = rule.decide(logits)
    certain = ~rule.undecided(logits, np.full(len(wanted), _ROUNDING))
    with tempfile.TemporaryDirectory() as folder:
        path = export_pass_through(Path(folder) / "bundle", rule, inputs, _NUM_CLASSES)
        session = EarlyExitSession(path)
        _require(type(session.rule) is type(rule), f"a session must find {rule} in the manifest")
        predicted = np.asarray([item.exit for item in session.predict(inputs, normalised=True)])
        _agree(predicted, wanted, certain, f"{rule} in a session")
        model = start_content((path / EARLY_EXIT_FILE).read_bytes(), EARLY_EXIT_FILE, 1, branches=True)
        taken = [int(model.run([EXIT], {IMAGES: inputs[row : row + 1]})[0][0]) for row in range(len(inputs))]
        _agree(np.asarray(taken), wanted, certain, f"{rule} in {EARLY_EXIT_FILE}")


class TorchArithmetic:
    """`offramp.exits.rule_arithmetic.Arithmetic` on torch tensors, in float64."""

    def confidence(self, logits: Value, measure: Measure, temperature: float) -> Value:
        """See `Arithmetic.confidence`."""
        p = self.probabilities(logits, temperature)
        if measure == "max_probability" or p.shape[1] == 1:
            return p.amax(dim=1)
        if measure == "entropy":
            return (1.0 - torch.special.entr(p).sum(dim=1) / math.log(p.shape[1])).clamp(0.0, 1.0)
        best = p.topk(2, dim=1).values
        return best[:, 0] - best[:, 1]

    def probabilities(self, logits: Value, temperature: float) -> Value:
        """See `Arithmetic.probabilities`."""
        return torch.softmax(logits.double() / temperature, dim=1)

    def largest(self, values: Value) -> Value:
        """See `Arithmetic.largest`."""
        return values.amax(dim=1)

    def of_class(self, numbers: Sequence[float], classes: Value) -> Value:
        return torch.tensor(numbers, dtype=torch.float64)[classes]

    def predicted_class(self, logits: Value) -> Value:
        """See `Arithmetic.predicted_class`."""
        return logits.argmax(dim=1)

    def equal(self, first: Value, second: Value) -> Value:
        """See `Arithmetic.equal`."""
        return first == second

    def where(self, condition: Value, if_true: Value | float, if_false: Value | float) -> Value:
        """See `Arithmetic.where`."""
        return torch.where(condition, if_true, if_false)

    def constant(self, number: float, like: Value) -> Value:
        """See `Arithmetic.constant`."""
        return torch.full((len(like),), number, dtype=torch.float64)


def _torch_decisions(rule: ExitRule, logits: Logits) -> NDArray[np.intp]:
    arithmetic: Arithmetic = TorchArithmetic()
    final = len(logits) - 1
    chosen = np.full(len(logits[0]), final, dtype=np.intp)
    state: State = ()
    for index, item in enumerate(logits[:-1]):
        score = rule.score(arithmetic, torch.from_numpy(item), index, state)
        state = score.state
        leaves = (score.value >= rule.threshold(index)).numpy()
        chosen[(chosen == final) & leaves] = index
    return chosen


def _stepwise(rule: ExitRule, logits: Sequence[NDArray[np.float32]]) -> int:
    final = len(logits) - 1
    return next((index for index in range(final) if rule.leaves(logits[: index + 1])[0]), final)


def _outputs(num_exits: int, seed: int) -> CachedOutputs:
    """Logits of ever better exits, in float32 as a network gives them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, _NUM_CLASSES, _NUM_SAMPLES)
    logits = []
    for strength in np.linspace(1.0, 3.0, num_exits):
        values = rng.normal(scale=1.5, size=(_NUM_SAMPLES, _NUM_CLASSES))
        values[np.arange(_NUM_SAMPLES), labels] += strength
        logits.append(values.astype(np.float32))
    return CachedOutputs(tuple(logits), labels, tuple(float(index + 1) for index in range(num_exits)))


def _some(rules: Sequence[ExitRule], count: int = 5) -> list[ExitRule]:
    places = np.unique(np.linspace(0, len(rules) - 1, count).round().astype(int))
    # The ends of a curve send all samples to one exit: those between say more.
    middle = [place for place in places if 0 < place < len(rules) - 1]
    return [rules[place] for place in (middle or places)]


def _agree(found: NDArray[np.intp], wanted: NDArray[np.intp], certain: NDArray[np.bool_], what: str) -> None:
    wrong = np.flatnonzero((found != wanted) & certain)
    if len(wrong):
        first = int(wrong[0])
        raise AssertionError(
            f"{what} must decide as on cached logits, but sample {first} leaves at exit {found[first]} instead of "
            f"{wanted[first]}, and {len(wrong)} of {len(wanted)} samples differ."
        )


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(f"{sentence}.")
