"""timm models by name; needs timm and torchvision."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from offramp.errors import AdoptError, ConfigError, UnknownNameError
from offramp.nn.adoption.timm_models import TimmSettings, adopt_timm, check_timm
from offramp.nn.lowering.lower import lower
from offramp.nn.supernet.supernet import Supernet
from offramp.space.early_exit_space import EarlyExitSpace
from tests.nn.adoption.timm_here import require_timm

SHAPE, CLASSES = (1, 32, 32), 6


@pytest.fixture
def timm() -> ModuleType:
    return require_timm()


@pytest.mark.parametrize(
    "name", ["resnet10t", "mobilenetv3_small_050", "efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"]
)
def test_five_kinds_of_backbones_are_exact_and_have_a_price(name: str, timm: ModuleType) -> None:
    adopted = adopt_timm(TimmSettings(name, max_taps=2), SHAPE, CLASSES)
    assert adopted.name == f"timm:{name}"
    space = EarlyExitSpace(adopted.space(SHAPE), ("global_pool",), final_branch="own_head")
    largest = space.max_architecture()
    supernet = Supernet(adopted.space(SHAPE), ("global_pool",), SHAPE, CLASSES, seed=0, family=adopted)
    network = supernet.extract(space.with_spread_exits(largest, 2, "global_pool", largest.policy)).eval()
    torch.manual_seed(0)
    sized = {"img_size": 32} if name.startswith("vit") else {}
    model = timm.create_model(name, num_classes=CLASSES, in_chans=1, **sized).eval()
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        assert torch.equal(network(images)[-1], model(images))
    macs = lower(network).macs_to_exit()
    assert len(macs) == 3
    assert list(macs) == sorted(macs)


def test_weights_come_from_the_file_and_a_classifier_for_other_classes_stays_out(
    timm: ModuleType, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = timm.create_model("resnet10t", num_classes=9, in_chans=1).eval()
    path = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), path)
    loaded = adopt_timm(TimmSettings("resnet10t", str(path)), SHAPE, CLASSES)
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        features = images
        for piece in loaded.pieces[:-1]:
            features = piece.eval()(features)
        assert torch.equal(features, model.forward_features(images))
    assert loaded.num_classes == CLASSES
    assert loaded.fingerprint != adopt_timm(TimmSettings("resnet10t"), SHAPE, CLASSES).fingerprint


def test_files_that_do_not_fit_are_refused(timm: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"something": torch.zeros(2)}, path)
    with pytest.raises(ConfigError, match="tensors differ in name or shape"):
        adopt_timm(TimmSettings("resnet10t", str(path)), SHAPE, CLASSES)
    path.write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(ConfigError, match="must be a safetensors file"):
        adopt_timm(TimmSettings("resnet10t", str(path)), SHAPE, CLASSES)
    with pytest.raises(ConfigError, match="must be a safetensors file"):
        adopt_timm(TimmSettings("resnet10t", str(tmp_path / "absent")), SHAPE, CLASSES)


def test_the_same_seed_gives_the_same_weights(timm: ModuleType) -> None:
    first, again, other = (adopt_timm(TimmSettings("resnet10t", seed=s), SHAPE, CLASSES) for s in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_unknown_names_and_impossible_sizes_are_named(timm: ModuleType) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'resnet10t'\?|resnet"):
        check_timm("resnet10")
    with pytest.raises(AdoptError, match="Kernel size can't be greater than actual input size"):
        adopt_timm(TimmSettings("vit_tiny_patch16_224"), (3, 10, 10), CLASSES)


def test_without_timm_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r'pip install "offramp\[timm\]"'):
        check_timm("resnet18")
