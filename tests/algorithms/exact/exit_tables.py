"""Exit tables of made-up exits, and the same networks judged one by one, sample by sample."""

import itertools
from collections.abc import Iterator

import numpy as np

from offramp.algorithms.exact.exit_table import ExitCosts, ExitTable
from offramp.space.architecture import Architecture, ExitChoice, StageChoice

BACKBONE = Architecture("toy", 8, (StageChoice(1, 4, (3,), (1,)),))


def toy_table(num_taps: int, num_branches: int, num_samples: int, *, shared: bool, seed: int = 0) -> ExitTable:
    """Later taps and dearer branches are right more often; scores tell a little about who is right."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=num_samples)
    options, correct, scores = [], [], []
    for tap, branch in itertools.product(range(num_taps), range(num_branches)):
        options.append(ExitChoice(tap, f"branch{branch}"))
        quality = 1.5 * ease + 0.2 * tap + 0.15 * branch + 0.7 * rng.normal(size=num_samples)
        correct.append(quality > 0.3)
        scores.append(1.0 / (1.0 + np.exp(-quality - 0.5 * rng.normal(size=num_samples))))
    correct.append(1.5 * ease + 0.2 * num_taps + 0.7 * rng.normal(size=num_samples) > 0.2)
    taps = np.asarray([*(option.tap for option in options), num_taps], dtype=np.float64)
    dear = np.asarray([*(float(option.branch[-1]) for option in options), 1.0])
    if shared:
        thresholds = tuple(np.asarray([0.3, 0.5, 0.7, 0.9]) for _ in options)
    else:
        thresholds = tuple(np.quantile(row, (0.2, 0.5, 0.8)) for row in scores)
    return ExitTable(
        backbone=BACKBONE,
        options=tuple(options),
        correct=np.asarray(correct),
        scores={"max_probability": np.asarray(scores)},
        thresholds={"max_probability": thresholds},
        costs=ExitCosts(
            np.stack([10.0 * (taps + 1), 100.0 * (taps + 1) ** 2, 1000.0 * (taps + 1)], axis=1),
            np.stack([1.0 + dear, 7.0 + taps % 2, 30.0 + 20.0 * dear], axis=1),
        ),
        shared_threshold=shared,
    )


Point = tuple[tuple[int, ...], tuple[int, ...], int, tuple[float, ...]]


def brute_force(table: ExitTable, max_exits: int) -> Iterator[Point]:
    """Options, places of thresholds, right answers and mean costs of every network, from its samples one by one."""
    lists, scores = table.thresholds["max_probability"], table.scores["max_probability"]
    for count in range(max_exits + 1):
        for chosen in itertools.combinations(range(len(table.options)), count):
            taps = [table.options[place].tap for place in chosen]
            if len(set(taps)) < len(taps):
                continue
            if table.shared_threshold:
                places = [(place,) * count for place in range(len(lists[0]))]
            else:
                places = list(itertools.product(*(range(len(lists[option])) for option in chosen)))
            for each in places:
                right, total = 0, np.zeros(4)
                for sample in range(table.num_samples):
                    spent, last = np.zeros(3), len(table.options)
                    for option, place in zip(chosen, each, strict=True):
                        spent = spent + table.costs.branch[option]
                        if scores[option, sample] >= lists[option][place]:
                            last = option
                            break
                    else:
                        spent = spent + table.costs.branch[-1]
                    spent = spent + table.costs.to_tap[last]
                    right += int(table.correct[last, sample])
                    total += [*spent, spent[0] * spent[1] * 1e-12]
                yield chosen, each, right, tuple(total / table.num_samples)
