"""Random changes of training samples: crops and mirror images of pictures; shifts, gain and noise of signals."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from offramp.data.labelled_data import Dataset
from offramp.data.sample_kinds import BYTE_KINDS

_MIN_SIDE_TO_CROP = 16
_SHIFTED_SHARE = 32
_SCALING, _JITTER = 0.1, 0.03


class Augmentation(ABC):
    """A random change of training samples.

    Attributes:
        on_inputs: Whether the change is made after normalisation; otherwise it is made of samples as they are stored.
    """

    on_inputs: ClassVar[bool]

    @abstractmethod
    def apply(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        """Change each sample at random.

        Random numbers are drawn on the generator's device, so a network sees the same samples on every training device.

        Args:
            samples: Samples, (batch, channels, height, width).
            generator: Source of randomness.

        Returns:
            The changed samples, of the same type and shape.
        """


@dataclass(frozen=True)
class ImageAugmentation(Augmentation):
    """Random changes of training images. Padding is 0: black in uint8 pixels, the mean in normalised ones.

    Attributes:
        crop_padding: Pixels added to each side before the image is cropped to its size at a random place, at least 0.
        horizontal_flip: Whether half of the images are mirrored.
    """

    crop_padding: int
    horizontal_flip: bool
    on_inputs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"`crop_padding` must be 0 pixels or more, got {self.crop_padding}.")

    def apply(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        """See `Augmentation.apply`."""
        batch, _, height, width = samples.shape
        padding = self.crop_padding
        if padding:
            offsets = torch.randint(2 * padding + 1, (2, batch), generator=generator, device=generator.device)
            rows, columns = offsets.to(samples.device)
            windows = F.pad(samples, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
            samples = windows[torch.arange(batch, device=samples.device), :, rows, columns]
        if self.horizontal_flip:
            flip = torch.rand(batch, generator=generator, device=generator.device) < 0.5
            samples = torch.where(flip.to(samples.device)[:, None, None, None], samples.flip(3), samples)
        return samples


@dataclass(frozen=True)
class SignalAugmentation(Augmentation):
    """Random changes of standardised signals: in time, in strength, and noise.

    Attributes:
        shift_steps: Each sample is moved along its last axis by up to so many steps, at least 0; the value at its end
            is repeated.
        scaling: Standard deviation of the factor that each sample is multiplied by, around 1; at least 0.
        jitter: Standard deviation of the noise that is added to each value, in those of its channel; at least 0.
    """

    shift_steps: int
    scaling: float
    jitter: float
    on_inputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.shift_steps, self.scaling, self.jitter) < 0:
            raise ValueError(f"`shift_steps`, `scaling` and `jitter` must be 0 or more, got {self}.")

    def apply(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        """See `Augmentation.apply`."""
        batch, length, device = samples.shape[0], samples.shape[3], generator.device
        if self.shift_steps:
            span = (-self.shift_steps, self.shift_steps + 1)
            shifts = torch.randint(*span, (batch, 1), generator=generator, device=device)
            steps = (torch.arange(length, device=device) + shifts).clamp(0, length - 1).to(samples.device)
            samples = samples.gather(3, steps[:, None, None, :].expand_as(samples))
        if self.scaling:
            factors = 1.0 + self.scaling * torch.randn((batch, 1, 1, 1), generator=generator, device=device)
            samples = samples * factors.to(samples.device)
        if self.jitter:
            noise = torch.randn(samples.shape, generator=generator, device=device)
            samples = samples + self.jitter * noise.to(samples.device)
        return samples


def default_augmentation(dataset: Dataset) -> Augmentation:
    """Choose an augmentation for a data set.

    Images of at least 16 pixels are cropped with a padding of an eighth of their size. In smaller images one pixel is a
    large part of the object: on the digits (8x8) cropping lowers the test accuracy by half a point to a point.

    Only colour images are mirrored, and only if mirroring keeps the class. It does not where all class names are
    numbers or single characters: those are digits and letters (SVHN) or signs, and a mirrored 2 is no 2.

    Series are moved by up to a 32nd of their length, and get a random strength and noise. Vectors and feature maps get
    noise alone.

    Args:
        dataset: The data set.

    Returns:
        The augmentation.
    """
    channels, height, width = dataset.input_shape
    if dataset.input_kind not in BYTE_KINDS:
        series = dataset.input_kind == "series"
        return SignalAugmentation(width // _SHIFTED_SHARE if series else 0, _SCALING if series else 0.0, _JITTER)
    signs = all(name.strip().isdigit() or len(name.strip()) <= 1 for name in dataset.class_names)
    crop_padding = round(min(height, width) / 8) if min(height, width) >= _MIN_SIDE_TO_CROP else 0
    return ImageAugmentation(crop_padding, horizontal_flip=channels == 3 and not signs)


def augment(samples: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Change each sample at random.

    Args:
        samples: Samples, uint8 or float, (batch, channels, height, width).
        augmentation: The changes.
        generator: Source of randomness.

    Returns:
        The changed samples, of the same type and shape.

    Raises:
        ValueError: The samples do not have 4 axes.
    """
    if samples.ndim != 4:
        raise ValueError(f"`samples` must have 4 axes (batch, channels, height, width), got {tuple(samples.shape)}.")
    return augmentation.apply(samples, generator)
