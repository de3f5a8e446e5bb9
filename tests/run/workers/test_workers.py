"""Workers give the very figures that this process gives, and leave nothing behind."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from offramp.data.labelled_data import Preprocessing
from offramp.objectives.evaluation import Evaluation, Status
from offramp.progress import SilentReporter
from offramp.run.context import Context
from offramp.run.evaluators.batch_evaluator import SequentialEvaluator
from offramp.run.evaluators.remote_evaluation import RemoteEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.run.workers.executors import open_executor, uses_workers
from offramp.run.workers.worker_folder import prepare_worker_folder, read_worker_folder
from offramp.settings.execution_config import ExecutionConfig
from offramp.space.architecture import Architecture
from tests.conftest import small_config


def context_with(**changes: object) -> Context:
    config = small_config(**changes)
    return build_context(config, build_dataset(config, SilentReporter()))


def candidates(context: Context, count: int) -> list[Architecture]:
    rng = np.random.default_rng(1)
    return [context.space.sample(rng) for _ in range(count)]


def judged_here(context: Context, asked: list[Architecture]) -> list[Evaluation]:
    found = SequentialEvaluator(context.evaluator).evaluate_all(asked, lambda: False)
    return [item.evaluation for item in found]


def test_two_workers_give_the_same_bits_as_this_process(tmp_path: Path) -> None:
    context = context_with(execution__workers=2)
    asked = candidates(context, 4)
    # Weights that no seed leads to, so that they must have travelled.
    with torch.no_grad():
        for parameter in context.supernet.parameters():
            parameter.mul_(1.01)
    here = judged_here(context, asked)
    torch.set_num_threads(2)
    assert judged_here(context, asked) == here, "figures must not depend on the threads of this process"
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    with open_executor(context, tmp_path, training=False) as workers:
        assert workers.num_workers == 2
        found = list(RemoteEvaluator(workers).evaluate_all(asked, lambda: False))
    assert [item.evaluation for item in sorted(found, key=lambda item: item.index)] == here
    assert all(evaluation.status is Status.COMPLETE for evaluation in here)
    assert list(tmp_path.iterdir()) == []


def test_no_workers_unless_asked_for() -> None:
    for changes, training, expected in (
        ({}, False, False),
        ({}, True, False),
        ({"workers": 2}, False, True),
        ({"workers": 2}, True, True),
        ({"cluster": "tcp://host:8786"}, True, True),
        ({"evaluation_timeout_s": 60.0}, False, True),
        ({"evaluation_timeout_s": 60.0}, True, False),
    ):
        assert uses_workers(ExecutionConfig(**changes), training=training) is expected


@pytest.mark.parametrize("training", [False, True])
def test_a_worker_has_the_same_data_set(tmp_path: Path, training: bool) -> None:
    """Sounds included: their features are no pixels, and their statistics are those of the whole training split."""
    config = small_config()
    sounds = replace(build_dataset(config, SilentReporter()), input_kind="mfcc")
    context = build_context(config, sounds)
    folder = prepare_worker_folder(context, tmp_path / "files", training=training, threads=1)
    dataset = read_worker_folder(folder.folder).dataset
    assert dataset.input_kind == "mfcc"
    assert dataset.preprocessing == sounds.preprocessing
    assert Preprocessing.of(context.evaluator.data.calibration.samples) != sounds.preprocessing
    assert (dataset.name, dataset.class_names, dataset.fingerprint) == (
        sounds.name,
        sounds.class_names,
        sounds.fingerprint,
    )
    used = sounds.splits if training else context.evaluator.data
    np.testing.assert_array_equal(dataset.splits.validation.samples, used.validation.samples)
    assert len(dataset.splits.test) == (len(sounds.splits.test) if training else 0)


def test_a_time_limit_is_kept_by_a_worker(tmp_path: Path) -> None:
    context = context_with(execution__evaluation_timeout_s=0.001)
    with open_executor(context, tmp_path, training=False) as workers:
        assert workers.num_workers == 1
        evaluator = RemoteEvaluator(workers, context.config.execution.evaluation_timeout_s)
        found = list(evaluator.evaluate_all(candidates(context, 1), lambda: False))
    assert found[0].evaluation.status is Status.FAILED
    assert found[0].evaluation.error == "took longer than 0.001 s"
