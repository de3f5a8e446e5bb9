"""Fine-tuning: which losses train which exits, in which order."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from offramp.progress import SilentReporter
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.fine_tuning import fine_tune
from offramp.train.loss import LossSettings
from tests.conftest import small_config


def test_exits_are_trained_after_the_backbone_where_the_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first epochs train the final exit alone, the others the early exits; each way of training has its losses."""
    config = small_config(
        fine_tune__epochs=5,
        fine_tune__teacher="later_exits",
        train__exit_training="after_backbone",
        train__backbone_share=0.4,
        train__sample_weighting="reaching",
        train__gradient_equilibrium=True,
    )
    context = build_context(config, build_dataset(config, SilentReporter()))
    trained: list[LossSettings] = []

    def recorded(network: Any, losses: LossSettings, *others: Any) -> Any:
        def step(images: Any, labels: Any, rng: Any) -> torch.Tensor:
            trained.append(losses)
            return torch.zeros(())

        return step

    monkeypatch.setattr("offramp.run.finishing.fine_tuning.plain_step", recorded)
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    network = context.supernet.extract(architecture)
    with SilentReporter().task("finishing") as task:
        fine_tune(context, network, tmp_path / "weights.safetensors", task, None, resume=False)
    steps = len(trained) // 5
    assert [item.trained_exits for item in trained] == ["final"] * 2 * steps + ["early"] * 3 * steps
    assert all(item.later_exits_teach and item.gradient_equilibrium for item in trained)
    assert {item.sample_weighting for item in trained} == {"reaching"}
