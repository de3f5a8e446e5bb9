"""Random changes of training sounds, made of their features: time shifts, noise and masks of times and bands."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from offramp.data.augmentation import Augmentation, SignalAugmentation
from offramp.data.sound.feature_settings import SoundFeatures

_DB_PER_FACTOR = 20.0
_QUIETEST_NOISE_DB = 40.0
"""Noise is drawn from the given level down to this many dB below it."""


@dataclass(frozen=True)
class SoundAugmentationSettings:
    """Settings of the random changes of sounds.

    Attributes:
        shift: Share of a window by which it is moved in time at most, from 0 to below 1.
        masks: Share of the frames, and of the bands, that are hidden at most, from 0 to below 1.
        noise_db: Strongest noise in dB, relative to the loudest value of a sound; None: no noise.
        gain_db: Standard deviation of the change of strength of raw sounds in dB, at least 0.
    """

    shift: float = 0.1
    masks: float = 0.15
    noise_db: float | None = -30.0
    gain_db: float = 1.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.shift < 1.0 and 0.0 <= self.masks < 1.0 and self.gain_db >= 0.0):
            raise ValueError(
                f"`shift` and `masks` must lie in 0..1, 1 excluded, and `gain_db` be 0 or more, got {self}."
            )
        if self.noise_db is not None and not math.isfinite(self.noise_db):
            raise ValueError(f"`noise_db` must be finite, got {self.noise_db}.")


@dataclass(frozen=True)
class SpectrumAugmentation(Augmentation):
    """Random changes of log-mel bands or cepstral coefficients.

    A shift by whole hops is that of the sound itself. Noise is added to the power in each band, which is what noise in
    the sound does on average. Masks are those of SpecAugment: one range of times and one of bands are replaced by the
    mean of the sample (Park et al. 2019, section 2, without warping).

    Attributes:
        shift_frames: Each sample is moved by up to so many frames; the value at its end is repeated.
        masked_frames: So many neighbouring frames are hidden at most.
        masked_bands: So many neighbouring bands are hidden at most.
        noise_db: Strongest noise in dB, relative to the loudest band of a sample; None: no noise. It is used for
            logarithms of mel bands alone.
    """

    shift_frames: int
    masked_frames: int
    masked_bands: int
    noise_db: float | None
    on_inputs: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if min(self.shift_frames, self.masked_frames, self.masked_bands) < 0:
            raise ValueError(f"counts of frames and bands must be 0 or more, got {self}.")

    def apply(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        """See `Augmentation.apply`."""
        if self.shift_frames:
            samples = _shifted(samples, self.shift_frames, generator)
        if self.noise_db is not None:
            samples = _with_noise(samples, self.noise_db, generator)
        mean = samples.mean(dim=(1, 2, 3), keepdim=True)
        for axis, most in ((2, self.masked_frames), (3, self.masked_bands)):
            if most:
                hidden = _ranges(len(samples), samples.shape[axis], most, generator).to(samples.device)
                shape = (len(samples), 1, -1, 1) if axis == 2 else (len(samples), 1, 1, -1)
                samples = torch.where(hidden.view(shape), mean, samples)
        return samples


def sound_augmentation(features: SoundFeatures, settings: SoundAugmentationSettings) -> Augmentation:
    """Make the random changes that suit the features of a data set.

    Args:
        features: How windows of sound become samples.
        settings: How strong the changes are.

    Returns:
        Shifts, noise and masks of features; shifts, noise and gain of raw sounds.
    """
    _, height, width = features.shape
    if features.kind == "raw":
        jitter = 0.0 if settings.noise_db is None else _factor(settings.noise_db)
        return SignalAugmentation(round(settings.shift * width), _factor(settings.gain_db) - 1.0, jitter)
    return SpectrumAugmentation(
        shift_frames=round(settings.shift * height),
        masked_frames=round(settings.masks * height),
        masked_bands=round(settings.masks * width) if features.kind == "log-mel" else 0,
        noise_db=settings.noise_db if features.kind == "log-mel" else None,
    )


def _factor(decibel: float) -> float:
    return float(10.0 ** (decibel / _DB_PER_FACTOR))


def _shifted(samples: Tensor, most: int, generator: torch.Generator) -> Tensor:
    frames, device = samples.shape[2], generator.device
    shifts = torch.randint(-most, most + 1, (len(samples), 1), generator=generator, device=device)
    steps = (torch.arange(frames, device=device) + shifts).clamp(0, frames - 1).to(samples.device)
    return samples.gather(2, steps[:, None, :, None].expand_as(samples))


def _with_noise(log_bands: Tensor, strongest_db: float, generator: torch.Generator) -> Tensor:
    """ln sqrt(band^2 + noise^2), with a level of the noise for each sample."""
    draws = torch.rand((len(log_bands), 1, 1, 1), generator=generator, device=generator.device).to(log_bands.device)
    below_loudest_db = strongest_db - _QUIETEST_NOISE_DB * draws
    noise = log_bands.amax(dim=(1, 2, 3), keepdim=True) + below_loudest_db * (math.log(10.0) / _DB_PER_FACTOR)
    return 0.5 * torch.logaddexp(2.0 * log_bands, 2.0 * noise)


def _ranges(count: int, length: int, most: int, generator: torch.Generator) -> Tensor:
    """A range of up to ``most`` neighbours for each sample, (count, length)."""
    draws = torch.rand((2, count, 1), generator=generator, device=generator.device)
    widths = (draws[0] * (min(most, length) + 1)).floor()
    starts = (draws[1] * (length - widths + 1)).floor()
    at = torch.arange(length, device=generator.device)
    return (at >= starts) & (at < starts + widths)
