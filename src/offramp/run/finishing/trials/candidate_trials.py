"""Trials of candidates before picks are made: members of the front are trained, and the better half goes on."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from offramp.jsonio import dumps, loads
from offramp.numerics.rank_correlation import RankCorrelation, rank_correlation
from offramp.objectives.evaluation import Details, Evaluation, Status
from offramp.objectives.pareto import ParetoFront, pareto_front
from offramp.objectives.picking import PRODUCT
from offramp.progress import Reporter, Task
from offramp.run.context import Context
from offramp.run.evaluators.operating_point import choose_operating_point
from offramp.run.finishing.fine_tuning import fine_tune
from offramp.run.finishing.trials.successive_halving import (
    HalvingRound,
    contenders,
    round_epochs,
    successive_halving,
    survivors,
)
from offramp.train.trainer import collect_logits

TRIALS = "trials"
"""Where a record holds the rounds of a run."""


class Notes(Protocol):
    """What keeps values of a run by name."""

    def get(self, key: str) -> str | None:
        """Read a value.

        Args:
            key: The name.

        Returns:
            The value; None = there is none.
        """
        ...

    def set(self, key: str, value: str) -> None:
        """Keep a value; an earlier one is replaced.

        Args:
            key: The name.
            value: The value.
        """
        ...


@dataclass(frozen=True)
class Trials:
    """The rounds of successive halving.

    Attributes:
        front: The front that the trials began with, without details.
        rounds: The rounds; none where the settings ask for no trials, or the front has too few members.
    """

    front: tuple[Evaluation, ...]
    rounds: tuple[HalvingRound, ...]

    @property
    def correlation(self) -> RankCorrelation | None:
        """How the supernet's accuracies order the candidates of the first round, against those after its training."""
        if not self.rounds:
            return None
        before = {item.architecture: item.values["accuracy"] for item in self.front}
        trained = [item for item in self.rounds[0].evaluations if item.status is Status.COMPLETE]
        return rank_correlation(
            [before[item.architecture] for item in trained], [item.values["accuracy"] for item in trained]
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report."""
        if not self.rounds:
            return ()
        lengths = ", then ".join(f"{len(item.evaluations)} for {item.epochs} epoch(s)" for item in self.rounds)
        sentence = f"Before networks were picked, candidates of the front were trained for a short time: {lengths}."
        found = self.correlation
        if found is None:
            return (sentence,)
        return (
            f"{sentence} The accuracies of {found.count} candidates in the supernet and after the first of these "
            f"trainings have a rank correlation of {found.spearman:.2f} (Spearman) and {found.kendall:.2f} (Kendall).",
        )


def try_candidates(context: Context, front: ParetoFront, notes: Notes, reporter: Reporter) -> Trials:
    """Train members of the front for a short time, the better half of them longer, and so on.

    The rounds are kept in the record. A resumed run reads them where they are of the same front and settings.

    Args:
        context: The parts of the run, with a trained supernet.
        front: The front of the search.
        notes: The record of the run.
        reporter: Shows the progress.

    Returns:
        The rounds.

    Raises:
        Interrupted: The user pressed Ctrl-C; nothing is kept of the trials.
    """
    settings = context.config.fine_tune
    known_front = tuple(replace(item, details=None, statics=()) for item in front)
    chosen = contenders(front, settings.contenders) if settings.contenders else ()
    num_kept, epochs = len(settings.picks), context.fine_tune_epochs
    lengths = round_epochs(len(chosen), num_kept, epochs) if chosen and epochs else ()
    if not lengths:
        return Trials(known_front, ())
    kept = notes.get(TRIALS)
    if kept is not None:
        known = loads(Trials, kept, what="The record of the trials")
        if known.front == known_front and tuple(item.epochs for item in known.rounds) == lengths:
            return known
    with reporter.task(f"Training {len(chosen)} candidates for a short time") as task:
        train = partial(after_training, context, task)
        rounds = successive_halving(chosen, front.objectives, train, num_kept=num_kept, epochs=epochs)
    trials = Trials(known_front, rounds)
    notes.set(TRIALS, dumps(trials))
    return trials


def remaining_front(trials: Trials, front: ParetoFront, num_kept: int) -> ParetoFront:
    """The front of the candidates that are left after all rounds, with their values after training.

    Args:
        trials: The rounds.
        front: The front of the search.
        num_kept: How many candidates are left.

    Returns:
        Their front; that of the search where there were no trials, or nobody that is left keeps the constraints.
    """
    left = pareto_front(survivors(trials.rounds, front.objectives, num_kept), front.objectives)
    return left if len(left) else front


def after_training(context: Context, task: Task, evaluation: Evaluation, epochs: int) -> Evaluation:
    """Judge a candidate as the search does, but after a training of its own; no file is written.

    Args:
        context: The parts of the run, with a trained supernet.
        task: Receives the progress.
        evaluation: The candidate as the search found it; its product of energy and latency is the limit.
        epochs: How many epochs it is trained for.

    Returns:
        Its evaluation on the validation samples of the search; a failed one where the training diverged.

    Raises:
        Interrupted: The user pressed Ctrl-C.
    """
    network = context.supernet.extract(evaluation.architecture)
    short, judge = replace(context, fine_tune_epochs=epochs), context.evaluator
    fine_tune(short, network, None, task, None, resume=False)
    logits = collect_logits(network, judge.data.validation, judge.data.preprocessing, context.compute)
    if not all(np.isfinite(item).all() for item in logits):
        return Evaluation(evaluation.architecture, Status.FAILED, {}, error="its training diverged")
    cost = judge.cost_model.estimate(judge.workload(network), context.accelerator)
    point = choose_operating_point(
        logits,
        judge.data.validation.labels,
        cost,
        evaluation.architecture.policy,
        context.constraints,
        calibrate=judge.calibrate_confidences,
        by_class=judge.class_thresholds,
        most_product=evaluation.values[PRODUCT],
        measures=context.measures,
    )
    return Evaluation(
        architecture=evaluation.architecture,
        status=Status.COMPLETE,
        values=point.values(),
        violations=point.violations(context.constraints),
        details=Details(point.policy, point.profile, point.expected, cost.per_exit()),
    )
