"""A network with exits of its own goes from images to a bundle without training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import offramp
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import InputError

SHAPE = (1, 8, 8)


class Two(nn.Module):
    """The mean brightness decides: exit 0 leans to bright, the final exit is always right."""

    def __init__(self, lean: float = 0.5) -> None:
        super().__init__()
        self.lean = nn.Parameter(torch.tensor([lean, 0.0]))
        self.first, self.second = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)
        with torch.no_grad():
            self.first.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
            self.first.bias[:] = 0.0
            self.second.weight[:] = torch.eye(2).view(2, 2, 1, 1) * 9
            self.second.bias[:] = 0.0

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.first(images)
        return [features.mean((2, 3)) + self.lean, self.second(features).mean((2, 3))]


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Dark images of class 1 and bright ones of class 0, some of them nearly grey."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    level = np.where(labels == 0, 1, -1) * rng.uniform(2, 100, 200) + 127.5
    images = np.repeat(level.round().astype(np.uint8)[:, None], 64, axis=1).reshape(200, *SHAPE)
    images[:, 0, 0, 0] = np.arange(200)  # no two are equal
    np.savez(tmp_path / "grey.npz", x=images, y=labels)
    return str(tmp_path / "grey.npz")


def test_thresholds_costs_and_a_bundle_without_training(data: str, tmp_path: Path) -> None:
    adopted = offramp.adopt_exits(Two(), torch.zeros(1, *SHAPE))
    deployed = offramp.deploy_exits(
        adopted, tmp_path / "bundle", data__source=data, cost__accelerator="mcu", mean=(0.5,), std=(0.25,)
    )
    assert deployed.test.profile.num_samples == 40
    assert len(deployed.validation.policy.thresholds) == 1
    # One pixel of each image is not its brightness, but never turns the mean.
    assert deployed.test.values()["accuracy"] > 0.9
    assert deployed.cost.stages[0].macs_to_exit == 64 * 2
    assert deployed.cost.stages[1].macs_to_exit == 64 * 2 + 64 * 4
    session = EarlyExitSession(deployed.folder)
    images = np.random.default_rng(1).normal(size=(5, *SHAPE)).astype(np.float32)
    with torch.no_grad():
        logits = [item.numpy() for item in adopted.network(torch.from_numpy(images))]
    left = deployed.validation.policy.decide(logits)
    answers = session.predict(images)
    assert [answer.exit for answer in answers] == list(left)
    assert [answer.label for answer in answers] == [int(logits[e][i].argmax()) for i, e in enumerate(left)]


def test_what_lies_behind_an_exit_that_everybody_takes_is_not_deployed(data: str, tmp_path: Path) -> None:
    """Without its lean, exit 0 is always right, so that no sample needs the rest."""
    adopted = offramp.adopt_exits(Two(lean=0.0), torch.zeros(1, *SHAPE))
    deployed = offramp.deploy_exits(
        adopted, tmp_path / "bundle", data__source=data, cost__accelerator="mcu", mean=(0.5,), std=(0.25,)
    )
    assert deployed.validation.policy.thresholds == ()
    assert [stage.macs_to_exit for stage in deployed.cost.stages] == [64 * 2]
    session = EarlyExitSession(deployed.folder)
    assert len(session.manifest.exits) == 1
    assert session.manifest.architecture.head is not None
    assert session.manifest.architecture.head.tap == 0
    images = np.random.default_rng(1).normal(size=(5, *SHAPE)).astype(np.float32)
    with torch.no_grad():
        logits = adopted.network(torch.from_numpy(images))[0]
    assert [answer.label for answer in session.predict(images)] == logits.argmax(dim=1).tolist()
    assert not (deployed.folder / "stage_1.onnx").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data__source": "digits"}, "has 2 classes, the data have 10"),
        (
            {"data__source": "digits", "data__image_size": 16},
            r"images of shape \(1, 8, 8\), the data have \(1, 16, 16\)",
        ),
        ({"data__source": "digits", "std": (0.0,)}, "std` > 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    adopted = offramp.adopt_exits(Two(), torch.zeros(1, *SHAPE))
    with pytest.raises(InputError, match=message):
        offramp.deploy_exits(adopted, tmp_path / "bundle", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "bundle").exists()
