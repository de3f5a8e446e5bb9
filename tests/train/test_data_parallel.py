"""Tests of training by several processes: they follow one process that has the whole mini-batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from offramp.train.data_parallel import DataParallel, mean_over_processes
from offramp.train.synchronised_norm import SynchronisedNorms
from tests.train.parallel_program import STEPS, train


def _run_two(store: Path, *arguments: str) -> list[int]:
    """Run the program in two processes; their exit codes."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "tests.train.parallel_program", str(store)]
    processes = [subprocess.Popen([*command, str(rank), "2", *arguments], env=environment) for rank in range(2)]
    return [process.wait(240) for process in processes]


def test_a_lost_process_ends_the_training_with_a_sentence(tmp_path: Path) -> None:
    store = tmp_path / "store"
    _run_two(store, "lose")
    said = json.loads(Path(f"{store}.0.json").read_text())
    assert said.startswith("One of the processes that train together was lost (")
    assert said.endswith("All whole epochs are kept: resume the run, also with another number of devices.")


def test_the_losses_of_two_processes_follow_those_of_one(tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert _run_two(store) == [0, 0]
    results = [json.loads(Path(f"{store}.{rank}.json").read_text()) for rank in range(2)]
    alone = train(None)

    assert len(results[0]["losses"]) == STEPS
    assert results[0] == results[1], "both processes hold the same network"
    np.testing.assert_allclose(results[0]["losses"], alone["losses"], rtol=1e-6)
    for name, values in alone["state"].items():  # type: ignore[attr-defined]
        np.testing.assert_allclose(results[0]["state"][name], values, rtol=1e-4, atol=1e-5, err_msg=name)


class _TwoParts:
    """Stands for two processes: both parts are computed here, one after the other, until all sums are known."""

    def __init__(self) -> None:
        self.sums: list[torch.Tensor] = []
        self.known: list[torch.Tensor] | None = None

    def total(self, values: torch.Tensor) -> torch.Tensor:
        self.sums.append(values.detach().clone())
        return values if self.known is None else self.known[len(self.sums) - 1]


def test_batch_norm_has_the_statistics_and_gradients_of_both_parts() -> None:
    torch.manual_seed(0)
    inputs, slopes = torch.randn(8, 3, 4, 4) * 3 + 50, torch.randn(8, 3, 4, 4)
    weight, bias = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.1, -1.0, 0.0])

    def run(part: torch.Tensor, slope: torch.Tensor, norms: SynchronisedNorms | None) -> list[torch.Tensor]:
        values = part.clone().requires_grad_()
        factors = weight.clone().requires_grad_()
        mean, var = torch.zeros(3), torch.ones(3)
        if norms is None:
            result = F.batch_norm(values, mean, var, factors, bias, True, 0.1, 1e-5)
        else:
            with norms:
                result = F.batch_norm(values, mean, var, factors, bias, training=True, momentum=0.1, eps=1e-5)
        (result * slope).sum().backward()
        assert values.grad is not None
        assert factors.grad is not None
        return [result.detach(), values.grad, factors.grad, mean, var]

    parts, known = _TwoParts(), []
    for step in range(3):
        # Each pass knows the sums of one exchange more: first that of the forward pass, then that of the backward pass.
        collected, results = [], []
        for half in (slice(0, 4), slice(4, 8)):
            parts.sums, parts.known = [], [*known, *[torch.zeros(7 if not known else 6).double()] * 2]
            if step == 0:
                parts.known = None
            results.append(run(inputs[half], slopes[half], SynchronisedNorms(parts.total)))
            collected.append(parts.sums)
        known = [first + second for first, second in zip(*collected, strict=True)][: step + 1]
    whole = run(inputs, slopes, None)

    joined = [torch.cat([results[0][place], results[1][place]]) for place in (0, 1)]
    torch.testing.assert_close(joined[0], whole[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(joined[1], whole[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(results[0][2] + results[1][2], whole[2], rtol=1e-4, atol=1e-3)
    for place in (3, 4):
        torch.testing.assert_close(results[0][place], whole[place], rtol=1e-5, atol=1e-5)


def test_a_batch_norm_in_evaluation_is_left_alone() -> None:
    def refuse(values: torch.Tensor) -> torch.Tensor:
        raise AssertionError("no exchange in evaluation")

    inputs = torch.randn(2, 3, 4, 4)
    with SynchronisedNorms(refuse):
        result = F.batch_norm(inputs, torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(result, inputs / (1 + 1e-5) ** 0.5)


def test_a_mini_batch_is_shared_without_overlap() -> None:
    rows = torch.arange(12)
    shares = [DataParallel(rank, 3).share(rows) for rank in range(3)]
    assert torch.cat(shares).tolist() == list(range(12))
    assert [len(item) for item in shares] == [4, 4, 4]


@pytest.mark.parametrize(("wanted", "size"), [(128, 126), (3, 3), (1, 3), (5, 3)])
def test_a_mini_batch_is_a_multiple_of_the_processes(wanted: int, size: int) -> None:
    assert DataParallel(0, 3).batch_size(wanted) == size


@pytest.mark.parametrize(("rank", "size"), [(0, 1), (2, 2), (-1, 2)])
def test_a_rank_outside_the_processes_is_refused(rank: int, size: int) -> None:
    with pytest.raises(ValueError, match="rank"):
        DataParallel(rank, size)


def test_a_statistic_outside_a_shared_step_is_that_of_the_mini_batch() -> None:
    assert float(mean_over_processes(torch.tensor(2.5))) == 2.5
