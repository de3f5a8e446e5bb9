"""The training loop learns, stops in time, and goes on from a checkpoint as if it had never stopped."""

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from offramp.data.augmentation import ImageAugmentation
from offramp.data.labelled_data import Preprocessing, Split
from offramp.deadline import Deadline
from offramp.errors import InputError, Interrupted, RunError
from offramp.train.checkpoint import LoopState, load_checkpoint, save_checkpoint
from offramp.train.compute import Compute, build_compute, set_threads
from offramp.train.loss import LossSettings
from offramp.train.supernet_training import plain_step
from offramp.train.trainer import Schedule, Step, TrainingData, TrainingLoop, WarmUp, collect_logits

PREPROCESSING = Preprocessing((0.5,), (0.25,))
COMPUTE = Compute()


class Note:
    def __init__(self) -> None:
        self.fractions: list[float] = []

    def update(self, fraction: float, note: str = "") -> None:
        self.fractions.append(fraction)


class TwoExits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Linear(4 * 16, 2)
        self.second = nn.Linear(4 * 16, 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.relu(self.norm(self.body(images))).flatten(1)
        return self.first(features), self.second(features)


def bright_or_dark(count: int = 64) -> Split:
    """Class 1 is bright, class 0 dark: any network learns it."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    images = rng.integers(0, 100, (count, 1, 4, 4)) + 150 * labels[:, None, None, None]
    return Split(images.astype(np.uint8), labels.astype(np.int64))


def make_loop(
    module: nn.Module, epochs: int | None, checkpoint: Path | None = None, deadline: Deadline | None = None
) -> TrainingLoop:
    data = TrainingData(bright_or_dark(), PREPROCESSING, 16, ImageAugmentation(1, False))
    schedule = Schedule(0.05, epochs, deadline)
    return TrainingLoop(module, data, schedule, COMPUTE, momentum=0.9, weight_decay=1e-3, seed=5, checkpoint=checkpoint)


def train(loop: TrainingLoop, *, resume: bool = False) -> tuple[float, ...]:
    return loop.run(plain_step(loop.module, LossSettings(), COMPUTE), Note(), resume=resume).loss


def test_the_learning_rate_takes_its_whole_course_in_each_phase() -> None:
    """A first phase of a fifth of the training: halfway in it, at its end, and halfway in the rest."""
    phase = WarmUp(0.2, lambda images, labels, rng: images.sum(), lambda: None, restarts_rate=True)
    assert [phase.course(share) for share in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0.0, 0.5, 0.0, 0.5, 1.0])
    assert WarmUp(0.2, phase.step, phase.finish).course(0.6) == 0.6


def test_it_learns() -> None:
    network = TwoExits()
    losses = train(make_loop(network, 8))
    assert len(losses) == 8
    assert losses[-1] < 0.2 * losses[0]
    for logits in collect_logits(network, bright_or_dark(), PREPROCESSING, COMPUTE, batch_size=10):
        assert (logits.argmax(axis=1) == bright_or_dark().labels).mean() == 1.0


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    schedule = Schedule(0.2, 10)
    rates = [schedule.rate(p) for p in (0.0, 0.05, 0.5, 1.0)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[1] == pytest.approx(0.2)
    assert rates[2] == pytest.approx(0.1 * (1 + math.cos(math.pi * 0.45 / 0.95)))
    assert rates[3] == pytest.approx(0.0, abs=1e-12)
    assert schedule.progress(5) == 0.5
    assert schedule.progress(99) == 1.0


def test_a_schedule_needs_an_end() -> None:
    with pytest.raises(ValueError, match="deadline"):
        Schedule(0.1, None)


def test_a_resumed_training_equals_an_undisturbed_one(tmp_path: Path) -> None:
    whole = TwoExits()
    train(make_loop(whole, 4))
    part = TwoExits()
    loop = make_loop(part, 4, tmp_path / "c.safetensors")
    calls = {"count": 0}
    step = plain_step(part, LossSettings(), COMPUTE)

    def interrupted(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        calls["count"] += 1
        if calls["count"] > 10:  # 4 batches an epoch: in the middle of the third
            raise KeyboardInterrupt
        return step(images, labels, rng)

    with pytest.raises(Interrupted):
        loop.run(interrupted, Note())
    fresh = TwoExits()
    losses = train(make_loop(fresh, 4, tmp_path / "c.safetensors"), resume=True)
    assert len(losses) == 4
    for name, value in whole.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name


def test_a_deadline_ends_the_training() -> None:
    now = time.monotonic()
    start = time.monotonic()
    train(make_loop(TwoExits(), None, deadline=Deadline(now, now + 0.3)))
    assert time.monotonic() - start < 3.0


def test_a_loss_that_is_no_number_is_an_error() -> None:
    def broken(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
        return torch.tensor(float("nan"))

    with pytest.raises(InputError, match="learning rate"):
        make_loop(TwoExits(), 1).run(broken, Note())


def test_progress_only_grows() -> None:
    note = Note()
    loop = make_loop(TwoExits(), 3)
    loop.run(plain_step(loop.module, LossSettings(), COMPUTE), note)
    assert note.fractions == sorted(note.fractions)
    assert note.fractions[-1] > 0.8


def test_norms_and_biases_are_not_decayed() -> None:
    groups = make_loop(TwoExits(), 1).optimizer.param_groups
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert all(p.ndim == 1 for p in groups[1]["params"])
    assert (groups[0]["weight_decay"], groups[1]["weight_decay"]) == (1e-3, 0.0)


def test_a_checkpoint_of_another_network_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, nn.Linear(3, 2), None, LoopState(1, 0.5, (1.0,)))
    network = TwoExits()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(RunError, match="does not belong"):
        load_checkpoint(path, network)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    other = nn.Linear(3, 2)
    assert load_checkpoint(path, other) == LoopState(1, 0.5, (1.0,))


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 64])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match="cannot be read"):
        load_checkpoint(path, nn.Linear(1, 1))


def test_small_images_stay_in_fp32_and_wrong_devices_are_refused() -> None:
    assert build_compute("cpu", "auto", True, 8).dtype == "fp32"
    assert build_compute("cpu", "bf16", True, 8).dtype == "bf16"
    with pytest.raises(InputError, match=r"train\.device"):
        build_compute("abacus", "auto", True, 8)


def test_threads_follow_the_setting_the_environment_and_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        set_threads(3, 32)
        assert torch.get_num_threads() == 3
        set_threads(None, 8)
        assert torch.get_num_threads() == 1
        set_threads(2, 8)
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        set_threads(None, 8)
        assert torch.get_num_threads() == 2, "what the environment said at the start stays"
    finally:
        torch.set_num_threads(before)


def test_a_warm_up_ends_once_and_is_not_gone_through_again(tmp_path: Path) -> None:
    """Epochs 1 and 2 of 4 are warm-up; a run that was stopped in them, or behind them, goes on where it was."""
    calls: list[str] = []

    def recording(name: str, loop: TrainingLoop) -> Step:
        usual = plain_step(loop.module, LossSettings(), COMPUTE)

        def step(images: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
            if not calls or calls[-1] != name:
                calls.append(name)
            return usual(images, labels, rng)

        return step

    def run(epochs: int, *, resume: bool = False) -> list[str]:
        loop = make_loop(TwoExits(), epochs, tmp_path / "loop.safetensors")

        def finish() -> None:
            calls.append(f"finish with {len(loop.optimizer.state)} states")

        calls.clear()
        warm_up = WarmUp(0.5, recording("warm", loop), finish)
        loop.run(recording("usual", loop), Note(), resume=resume, warm_up=warm_up)
        return list(calls)

    whole = run(4)
    assert [call.split()[0] for call in whole] == ["warm", "finish", "usual"]
    assert run(4, resume=True) == []
    # A run of 2 epochs is in its second half for the last one of them.
    run(2)
    assert [call.split()[0] for call in run(8, resume=True)] in (["usual"], [])
