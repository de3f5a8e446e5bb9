"""Reader of WAV files, with an error message for every kind of invalid file."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError

SAMPLE_RATE_HZ = 16_000
_MAX_FILE_BYTES = 256 * 2**20
# Mixing may lead above full scale, but not to several times that: such floats are unscaled integers.
_LOUDEST_FLOAT = 8.0


def read_wav(path: Path) -> NDArray[np.float32]:
    """Read a mono WAV file of 16,000 samples per second.

    Args:
        path: The file.

    Returns:
        Samples from -1 to 1, (count,).

    Raises:
        DataError: The file does not exist, is damaged, or has another format.
    """
    from scipy.io import wavfile

    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise DataError(f"Sound {str(path)!r} must have at most {_MAX_FILE_BYTES} bytes. Cut it into pieces.")
        with warnings.catch_warnings():
            # Other chunks (titles, tools) are ignored; a chunk that ends too early means that sound is missing.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            warnings.filterwarnings("error", "Reached EOF prematurely", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except (DataError, PermissionError):
        raise
    except FileNotFoundError as exc:
        raise DataError(f"Sound {str(path)!r} does not exist.") from exc
    # The parser raises many types of errors on damaged files.
    except Exception as exc:
        reason = " ".join(str(exc).split()).rstrip(".") or type(exc).__name__
        raise DataError(
            f"Sound {str(path)!r} cannot be read ({reason}): it is damaged, cut short or no WAV file. "
            "Replace or remove it."
        ) from exc
    if rate != SAMPLE_RATE_HZ:
        raise DataError(
            f"Sound {str(path)!r} must have {SAMPLE_RATE_HZ} samples a second, got {rate}. Resample it first."
        )
    return _mono(path, samples)


def _mono(path: Path, samples: NDArray[Any]) -> NDArray[np.float32]:
    if samples.ndim != 1:
        raise DataError(f"Sound {str(path)!r} must have one channel, got {samples.shape[1]}. Mix it down to mono.")
    if samples.size == 0:
        raise DataError(f"Sound {str(path)!r} must have samples, but it is empty. Replace or remove it.")
    if samples.dtype.kind == "f":
        if not np.isfinite(samples).all():
            raise DataError(f"Sound {str(path)!r} must be made of finite numbers, but some are not. Replace it.")
        loudest = float(np.abs(samples).max())
        if loudest > _LOUDEST_FLOAT:
            raise DataError(
                f"Sound {str(path)!r} must have floats from -1 to 1, got {loudest:g}: it is not scaled. Divide it by "
                "its full scale (32768 for 16 bits)."
            )
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return ((samples.astype(np.float32) - 128.0) / 128.0).astype(np.float32)
    return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
