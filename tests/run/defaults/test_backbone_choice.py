"""The default backbone follows from the kind, the size and the number of the samples."""

import pytest

from offramp.nn.backbone import BACKBONES
from offramp.run.defaults.backbone_choice import choose_backbone


@pytest.mark.parametrize(
    ("shape", "count", "is_image", "name"),
    [
        ((1, 8, 8), 1079, True, "resnet"),
        ((3, 32, 32), 50_000, True, "resnet"),
        ((3, 32, 32), 100_000, True, "resnet-large"),
        ((1, 49, 10), 2_000, False, "ds-cnn"),
        ((1, 49, 28), 2_000, False, "ds-cnn"),
        ((4, 12, 12), 500, False, "resnet"),
        ((1, 49, 10), 2_000, True, "resnet"),  # an image that happens to have this size
        ((1, 1, 150), 40, False, "tc-resnet"),
        ((12, 1, 29), 4_999, False, "tc-resnet"),
        ((12, 1, 29), 5_000, False, "tc-resnet-large"),
        ((30, 1, 1), 300, False, "tc-resnet"),
    ],
)
def test_each_kind_and_size_has_its_default(shape: tuple[int, int, int], count: int, is_image: bool, name: str) -> None:
    choice = choose_backbone(shape, count, is_image=is_image)
    assert choice.name == name
    assert BACKBONES.get(name).space(shape).name == name  # the family takes such samples
    assert choice.reason.startswith(f"Backbone {name} is the default for ")


def test_features_of_sounds_have_the_ds_cnn_whatever_their_shape() -> None:
    for shape in ((1, 49, 10), (1, 40, 32)):
        assert choose_backbone(shape, 2_000, is_image=False, is_sound=True).name == "ds-cnn"
    assert choose_backbone((1, 1, 8000), 2_000, is_image=False, is_sound=True).name == "tc-resnet"  # raw samples


def test_the_reason_names_what_decided() -> None:
    assert choose_backbone((12, 1, 29), 6_000, is_image=False).reason == (
        "Backbone tc-resnet-large is the default for series of 12 x 29 values, with 6,000 training samples "
        "(5,000 or more)."
    )
    assert choose_backbone((30, 1, 1), 300, is_image=False).reason == (
        "Backbone tc-resnet is the default for vectors of 30 features, with 300 training samples."
    )
