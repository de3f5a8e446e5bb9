"""Whether a time budget is enough for any result, estimated from steps that are tried before the search."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from offramp.errors import ConfigError
from offramp.run.checks.dry_run import train_step, training_samples
from offramp.run.context import Context
from offramp.settings.budget_config import CLOSING_S, CLOSING_SHARE
from offramp.train.compute import one_thread

_SAMPLES = 64
_TRIES = 3
_MARGIN = 1.5
"""Times by which the rest may take longer than it was measured, on a machine that is busy with other things."""


@dataclass(frozen=True)
class LeastTime:
    """The shortest time in which a search has a result.

    Attributes:
        prepared_s: Seconds that were used so far, for data, networks and checks.
        work_s: Seconds for one training step, one candidate, and one step for each network to finish.
        closing_s: Seconds for tests, export and report.
    """

    prepared_s: float
    work_s: float
    closing_s: float

    @property
    def seconds(self) -> int:
        """All of it, in whole seconds."""
        return math.ceil(self.prepared_s + self.work_s + self.closing_s)


def least_time(prepared_s: float, work_s: float) -> LeastTime:
    """Add the time that is kept for tests, export and report.

    Args:
        prepared_s: Seconds that were used so far.
        work_s: Seconds of everything up to the last finished network.

    Returns:
        The shortest time, at whose end `BudgetConfig.usable_seconds` are just enough.
    """
    used = prepared_s + work_s
    return LeastTime(prepared_s, work_s, max(CLOSING_S, used * CLOSING_SHARE / (1 - CLOSING_SHARE)))


def check_time_budget(context: Context, began: float) -> None:
    """Refuse a time budget within which this machine cannot have a result.

    Args:
        context: The parts of a run.
        began: When the budget began, in seconds of the monotonic clock.

    Raises:
        ConfigError: The budget is too short; the message states the least that can.
    """
    budget = context.config.budget.seconds
    if budget is None:
        return
    work = _MARGIN * _work_seconds(context)
    least = least_time(time.monotonic() - began, work)
    if budget < least.seconds:
        raise ConfigError(
            f"A budget of {budget:g} s cannot be met: on this machine a result takes at least {least.seconds} s "
            f"({least.prepared_s:.0f} s to read data and build networks, {math.ceil(least.work_s)} s for one training "
            f"step, one candidate and one step of each network to finish, {least.closing_s:.0f} s for tests, export "
            f"and report). Networks that have learned something take more: give at least {2 * least.seconds} s "
            f"(--budget {2 * least.seconds}s), or leave the budget out."
        )


def _shortest(action: Callable[[], object]) -> float:
    """Seconds of the shortest of a few tries: on a busy machine one alone may have waited for most of its time."""
    seconds = []
    for _ in range(_TRIES):
        began = time.monotonic()
        action()
        seconds.append(time.monotonic() - began)
    return min(seconds)


def _work_seconds(context: Context) -> float:
    """Seconds of one training step, one candidate, and one step for each network to finish, as measured."""
    search, train, fine_tune = context.config.search, context.config.train, context.config.fine_tune
    splits = context.dataset.splits
    largest = context.space.max_architecture()
    with torch.random.fork_rng(devices=[]):
        network = context.supernet.extract(
            context.space.with_spread_exits(
                largest, context.space.max_exits, context.config.space.branches[0], largest.policy
            )
        )
        context.compute.place(network)
        images, labels = training_samples(context, _SAMPLES)
        count = len(labels)
        step = _shortest(lambda: train_step(context, network, images, labels))
        step *= min(context.batch_size, len(splits.train)) / count
        network.eval()
        with torch.no_grad(), one_thread(), context.compute.autocast():
            answer = _shortest(lambda: network(images)) / count
    workload = context.evaluator.workload(network.cpu())
    price = _shortest(lambda: context.search_cost.estimate(workload, context.accelerator))
    calibration = min(search.calibration_samples, len(splits.train))
    candidate = answer * (calibration + min(search.validation_samples, len(splits.validation))) + price
    # Each picked network has a static one beside it.
    networks = 2 * len(fine_tune.picks) + fine_tune.reference
    finish = networks * (step + answer * (calibration + len(splits.validation)) + price)
    return step * (2 + train.random_subnets) + candidate + finish
