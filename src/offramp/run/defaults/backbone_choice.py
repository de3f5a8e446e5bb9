"""The default backbone: what suits the kind, the size and the number of the samples."""

from dataclasses import dataclass

from offramp.data.labelled_data import Dataset

AUTO = "auto"
"""Value of ``space.backbone`` that leaves the choice to the data."""

_MANY_IMAGES = 100_000
_MANY_SERIES = 5_000
"""Numbers of training samples from which the larger family of a kind is the default."""

_LONG_MAP = 1.5
"""Ratio of the sides from which a map of features has a long axis, usually time, which the DS-CNN is made for."""


@dataclass(frozen=True)
class BackboneChoice:
    """A backbone, and why it is the default.

    Attributes:
        name: Registered name of the family.
        reason: One sentence.
    """

    name: str
    reason: str


def default_backbone(dataset: Dataset) -> BackboneChoice:
    """Choose the backbone family for a data set.

    Args:
        dataset: The data set.

    Returns:
        The choice and its reason.
    """
    count = len(dataset.splits.train.labels)
    is_sound = dataset.sound is not None or dataset.input_kind == "mfcc"
    is_image = dataset.input_kind == "pixels" and not is_sound
    return choose_backbone(dataset.input_shape, count, is_image=is_image, is_sound=is_sound)


def choose_backbone(
    input_shape: tuple[int, int, int], num_samples: int, *, is_image: bool, is_sound: bool = False
) -> BackboneChoice:
    """Choose the backbone family for samples of one shape.

    Args:
        input_shape: Shape of the samples: channels, height, width; series and vectors have height 1.
        num_samples: Number of training samples.
        is_image: Whether the samples are images.
        is_sound: Whether the samples are features of sounds.

    Returns:
        The choice and its reason.
    """
    channels, height, width = input_shape
    given = f"{num_samples:,} training samples"
    if height == 1:
        what = "vectors" if width == 1 else "series"
        size = f"{what} of {channels} features" if width == 1 else f"{what} of {channels} x {width} values"
        if num_samples < _MANY_SERIES:
            return _choice("tc-resnet", f"{size}, with {given}")
        return _choice("tc-resnet-large", f"{size}, with {given} ({_MANY_SERIES:,} or more)")
    size = f"{channels} x {height} x {width}"
    if is_sound:
        return _choice("ds-cnn", f"features of sounds, {size}")
    if not is_image and max(height, width) >= _LONG_MAP * min(height, width):
        return _choice("ds-cnn", f"maps of features with a long axis, {size}")
    what = "images" if is_image else "maps of features"
    if num_samples < _MANY_IMAGES:
        return _choice("resnet", f"{what} of {size}, with {given}")
    return _choice("resnet-large", f"{what} of {size}, with {given} ({_MANY_IMAGES:,} or more)")


def _choice(name: str, data: str) -> BackboneChoice:
    return BackboneChoice(name, f"Backbone {name} is the default for {data}.")
