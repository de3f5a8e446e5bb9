"""Files and arrays of samples to network inputs, as the manifest says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.data.sample_kinds import Samples, axes_of, pipeline_layout
from offramp.data.sound.sound_decoding import EncodedSound, decode_sound
from offramp.data.sound.sound_features import KEYWORD_SAMPLES, KEYWORD_SHAPE, keyword_features
from offramp.data.sound.sound_samples import sound_samples
from offramp.data.sound.wav import SAMPLE_RATE_HZ
from offramp.data.sound.windows import Heard, heard_at, window_starts
from offramp.deploy.bundle.manifest_records import Preprocessing
from offramp.deploy.runtime.array_files import ARRAY_SUFFIXES, read_samples
from offramp.errors import InputError

# Normalised pixels have this many times their usual range only where they are not normalised at all.
_MOST_TIMES_REACH = 20.0


def normalise(samples: Samples, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Convert samples to network inputs, to the bit as `offramp.data.mini_batches.to_tensor` does in training.

    Args:
        samples: Samples of the type that the manifest states, (samples, channels, height, width).
        preprocessing: The preprocessing that the manifest states.

    Returns:
        Network inputs in float32, of the same shape.
    """
    scale = np.float32(preprocessing.scale)
    mean = scale * np.asarray(preprocessing.mean, dtype=np.float32)[:, None, None]
    std = scale * np.asarray(preprocessing.std, dtype=np.float32)[:, None, None]
    result: NDArray[np.float32] = (samples.astype(np.float32) - mean) / std
    return result


def float_samples(samples: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Check a user's array of floats, and give it the layout of the network.

    Args:
        samples: Samples of the shape that the manifest states, (samples, ...), not normalised. A padded network also
            takes shorter series, and series with NaN at their end.
        preprocessing: The preprocessing that the manifest states.

    Returns:
        The samples, (samples, channels, height, width); what is missing at the end of a series is the mean.

    Raises:
        InputError: The array has another shape, or values that are no finite numbers.
    """
    shape, kind = preprocessing.shape, preprocessing.input_kind
    short = preprocessing.padded and samples.ndim == 3 and samples.shape[1] == shape[0]
    if samples.shape[1:] != shape and not (short and 1 <= samples.shape[2] <= shape[1]):
        up_to = " or fewer steps" if preprocessing.padded else ""
        raise InputError(
            f"`samples` must have shape (N, {', '.join(map(str, shape))}{up_to}), {axes_of(kind)}, got {samples.shape}."
        )
    if samples.dtype.kind not in "iuf":
        raise InputError(f"`samples` must hold numbers, got {samples.dtype}.")
    with np.errstate(over="ignore", invalid="ignore"):
        values = pipeline_layout(kind, np.ascontiguousarray(samples, dtype=np.float32))
    missing = _missing_steps(values) if preprocessing.padded else np.zeros(values.shape, dtype=bool)
    nothing = np.flatnonzero(missing.all(axis=(1, 2, 3)))
    if nothing.size:
        raise InputError(f"Each series must have a step that is a number, but sample {nothing[0]} is NaN alone.")
    if not np.isfinite(values[~missing]).all():
        raise InputError(
            "`samples` must hold finite numbers, got NaN or infinity"
            f"{' before the end of a series' if preprocessing.padded else ''}."
        )
    means = np.asarray(preprocessing.mean, dtype=np.float32)[:, None, None]
    whole = np.where(missing, means, values)
    if not preprocessing.padded:
        return whole
    _check_end(values, missing)
    added = np.broadcast_to(means, (len(whole), *means.shape[:2], shape[1] - whole.shape[3]))
    return np.concatenate([whole, added], axis=3)


def _missing_steps(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Steps at the end of series that are NaN in all channels."""
    there = ~np.isnan(values).all(axis=(1, 2))
    last = (np.arange(1, values.shape[3] + 1) * there).max(axis=1)
    return np.broadcast_to((np.arange(values.shape[3]) >= last[:, None])[:, None, None], values.shape)


def _check_end(values: NDArray[np.float32], missing: NDArray[np.bool_]) -> None:
    """Refuse zeros that are probably padding: the network was trained with another one."""
    ends = np.where(missing, np.nan, values)[..., -2:]
    zeros = (ends == 0).all(axis=(1, 2, 3)) & (values.shape[1] > 1 or values.shape[3] > 2)
    if zeros.any():
        raise InputError(
            f"Sample {int(np.flatnonzero(zeros)[0])} ends in zeros in all channels, which look like padding. This "
            "network read shorter series padded otherwise: cut the zeros off, or put NaN in their place."
        )


def check_normalised(inputs: NDArray[np.float32], preprocessing: Preprocessing) -> None:
    """Refuse floats that are pixels 0..255, not normalised inputs.

    Args:
        inputs: Network inputs, (samples, channels, height, width).
        preprocessing: The preprocessing that the manifest states.

    Raises:
        InputError: A value is far outside of what any pixel becomes. Noise somewhat beyond that is accepted.
    """
    reach = max(max(mean, 1.0 - mean) / std for mean, std in zip(preprocessing.mean, preprocessing.std, strict=True))
    largest = float(np.abs(inputs).max(initial=0.0))
    if largest > _MOST_TIMES_REACH * reach:
        raise InputError(
            f"Floats in `samples` must be normalised, with values up to about {reach:.3g}, got {largest:.6g}. Give "
            "uint8 pixels, which are normalised for you, or compute (pixel / 255 - mean) / std first."
        )


@dataclass(frozen=True, eq=False)
class LoadedSample:
    """A sample as it was read from a file.

    Attributes:
        values: Pixels or bytes of features, (channels, height, width), or floats of the shape of a sample.
        heard: The part of a longer sound that it is; None for a whole file.
    """

    values: Samples
    heard: Heard | None = None


def load_samples(path: Path, preprocessing: Preprocessing) -> tuple[LoadedSample, ...]:
    """Read the samples of a file: one of an image, one for each window of a sound, and all of an array.

    Args:
        path: An image, a sound for a network of sounds, or an array (``.npy``, ``.npz``) for a network of floats.
        preprocessing: The preprocessing that the manifest states.

    Returns:
        The samples: several where `Preprocessing.long_sounds` is ``windows`` and the sound is long, and of arrays.

    Raises:
        DataError: If the file cannot be read; the message names it.
        InputError: If the network takes no such file.
    """
    if preprocessing.input_kind == "pixels":
        return (LoadedSample(load_image(path, preprocessing)),)
    if preprocessing.sound is not None and path.suffix.lower() not in ARRAY_SUFFIXES:
        found = sound_samples(EncodedSound.of_file(path), preprocessing.sound, preprocessing.long_sounds)
        series = preprocessing.input_kind == "series"
        return tuple(LoadedSample(item.values[:, 0] if series else item.values, item.heard) for item in found)
    if preprocessing.dtype != "uint8":
        return tuple(LoadedSample(values) for values in read_samples(path, preprocessing))
    if (preprocessing.height, preprocessing.width) != KEYWORD_SHAPE or preprocessing.color_mode != "L":
        raise InputError(
            f"Features of speech are {KEYWORD_SHAPE[0]}x{KEYWORD_SHAPE[1]}, but this network reads "
            f"{len(preprocessing.mean)} channels of {preprocessing.height}x{preprocessing.width}; "
            "give normalised arrays to EarlyExitSession.predict instead."
        )
    encoded = EncodedSound.of_file(path)
    sound = decode_sound(encoded).at_rate(SAMPLE_RATE_HZ, encoded.where)
    starts = window_starts(sound, KEYWORD_SAMPLES, preprocessing.long_sounds)
    return tuple(
        LoadedSample(
            keyword_features(sound[start : start + KEYWORD_SAMPLES])[None],
            heard_at(start, KEYWORD_SAMPLES, len(sound), SAMPLE_RATE_HZ),
        )
        for start in starts
    )


def load_sample(path: Path, preprocessing: Preprocessing) -> LoadedSample:
    """Read the one sample of a file.

    Args:
        path: An image, or a sound for a network of speech.
        preprocessing: The preprocessing that the manifest states.

    Returns:
        The sample.

    Raises:
        DataError: If the file cannot be read; the message names it.
        InputError: If the network takes no such file, or several windows of it.
    """
    samples = load_samples(path, preprocessing)
    if len(samples) > 1:
        raise InputError(
            f"File {str(path)!r} has {len(samples)} samples, for each of which this network gives an answer. Use "
            "`EarlyExitSession.samples_of`, which gives all of them to `stream`."
        )
    return samples[0]


def load_image(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Pixels (channels, height, width) of an image file, turned upright and resized as the network expects.

    Raises DataError, naming the file, for anything that is not a whole image.

    Args:
        path: An image file.
        preprocessing: The preprocessing that the manifest states.

    Returns:
        Pixels, (channels, height, width).

    Raises:
        DataError: If the file cannot be read.
        InputError: If the network takes no image files.
    """
    if preprocessing.color_mode is None:
        raise InputError(
            f"This network reads {len(preprocessing.mean)} channels, which no image file has; "
            "give normalised arrays to EarlyExitSession.predict instead."
        )
    # Not before it is needed: a session that is given arrays does without Pillow.
    from offramp.data.images.image_decoding import ImageForm, decode_image, read_image_file

    form = ImageForm((preprocessing.height, preprocessing.width), preprocessing.color_mode)
    return decode_image(read_image_file(path), form).pixels.transpose(2, 0, 1)
