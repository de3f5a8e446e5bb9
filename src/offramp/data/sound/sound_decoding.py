"""From a sound file to samples: the one function behind training data, sessions and `offramp predict`.

WAV is decoded by SciPy; FLAC, OGG, MP3, AIFF and unusual kinds of WAV by soundfile. soxr changes the sample rate.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError
from offramp.files.safe_files import read_file

SOUND_SUFFIXES = frozenset((".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"))
MAX_FILE_BYTES = 256 * 2**20
MAX_VALUES = 2**28
"""Most values (samples times channels) of one sound."""

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 768_000
# Mixing may lead above full scale, but not to several times that: such floats are unscaled integers.
_LOUDEST_FLOAT = 8.0
_FORMATS = frozenset(("AIFF", "FLAC", "MP3", "OGG", "WAV", "WAVEX", "RF64"))
# First bytes of FLAC, Ogg, AIFF, WAV and MP3.
_OTHER_FORMATS = (b"fLaC", b"OggS", b"FORM", b"RIFF", b"RIFX", b"RF64", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
_INSTALL = 'pip install "offramp[sound]"'


@dataclass(frozen=True)
class EncodedSound:
    """A sound as it is stored.

    Attributes:
        where: Name of the sound in messages, in quotes.
        content: The file, or its bytes.
    """

    where: str
    content: Path | bytes

    @classmethod
    def of_file(cls, path: Path) -> "EncodedSound":
        """Name a sound by its path.

        Args:
            path: The file.

        Returns:
            The sound.
        """
        return cls(repr(str(path)), path)


@dataclass(frozen=True, eq=False)
class Clip:
    """A decoded sound.

    Attributes:
        samples: Samples from -1 to 1, (count,): the mean of all channels.
        rate_hz: Samples per second.
        channels: Channels in the file.
    """

    samples: NDArray[np.float32]
    rate_hz: int
    channels: int = 1

    def at_rate(self, rate_hz: int, where: str) -> NDArray[np.float32]:
        """Change the sample rate.

        Args:
            rate_hz: Samples per second of the result.
            where: Name of the sound in messages, in quotes.

        Returns:
            The samples at that rate.

        Raises:
            DataError: The rates differ, and soxr is not installed.
        """
        if self.rate_hz == rate_hz:
            return self.samples
        try:
            import soxr
        except ImportError as exc:
            raise DataError(
                f"Sound {where} has {self.rate_hz} samples a second, where {rate_hz} are needed, and changing that "
                f"needs soxr: {_INSTALL}."
            ) from exc
        result = np.zeros(resampled_count(len(self.samples), self.rate_hz, rate_hz), dtype=np.float32)
        found = soxr.resample(self.samples, self.rate_hz, rate_hz)[: len(result)]
        result[: len(found)] = found
        return result


def resampled_count(count: int, rate_hz: int, wanted_hz: int) -> int:
    """Count the samples of a sound whose rate is changed.

    Args:
        count: Its samples.
        rate_hz: Its samples per second.
        wanted_hz: Samples per second of the result.

    Returns:
        The samples of the same duration, rounded; at least 1.
    """
    return max(1, round(count * wanted_hz / rate_hz))


def is_encoded_sound(data: bytes) -> bool:
    """Check by the first bytes whether a file is a sound.

    Args:
        data: The content of the file.

    Returns:
        True for WAV, FLAC, Ogg, AIFF and MP3.
    """
    if data[:4] == b"RIFF":  # pictures (WEBP) and films are such files too
        return data[8:12] == b"WAVE"
    return data.startswith(_OTHER_FORMATS)


def decode_sound(sound: EncodedSound) -> Clip:
    """Decode a sound.

    Args:
        sound: The sound.

    Returns:
        Its samples, with all channels mixed down to their mean.

    Raises:
        DataError: The sound is missing, damaged, too large, empty or of an unknown format, or a library is missing.
    """
    data = _bytes_of(sound)
    if data[:4] in (b"RIFF", b"RIFX", b"RF64"):
        rate_hz, values = _decode_wav(sound.where, data)
    else:
        rate_hz, values = _decode_with_soundfile(sound.where, data)
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise DataError(
            f"Sound {sound.where} must have {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} samples a second, got {rate_hz}. "
            "Its header is wrong, or it is no sound."
        )
    if values.size == 0:
        raise DataError(f"Sound {sound.where} must have samples, but it is empty. Replace or remove it.")
    scaled = _scaled(sound.where, values)
    channels = 1 if scaled.ndim == 1 else scaled.shape[1]
    mono = scaled.reshape(len(scaled), -1).mean(axis=1, dtype=np.float32) if scaled.ndim > 1 else scaled
    return Clip(mono, int(rate_hz), channels)


def _bytes_of(sound: EncodedSound) -> bytes:
    if isinstance(sound.content, bytes):
        return sound.content
    try:
        size = sound.content.stat().st_size
        if size > MAX_FILE_BYTES:
            raise DataError(f"Sound {sound.where} must have at most {MAX_FILE_BYTES} bytes. Cut it into pieces.")
        return read_file(sound.content)
    except FileNotFoundError as exc:
        raise DataError(f"Sound {sound.where} does not exist.") from exc
    except PermissionError:
        raise
    except OSError as exc:
        raise DataError(f"Sound {sound.where} cannot be read: {exc.strerror or exc}.") from exc


def _decode_wav(where: str, data: bytes) -> tuple[int, NDArray[Any]]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            # Other chunks (titles, tools) are ignored; a chunk that ends too early means that sound is missing.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            warnings.filterwarnings("error", "Reached EOF prematurely", wavfile.WavFileWarning)
            rate_hz, values = wavfile.read(io.BytesIO(data))
    # The parser raises many types of errors on damaged files.
    except Exception as exc:
        if "Unknown wave file format" in str(exc):
            return _decode_with_soundfile(where, data)
        raise _damaged(where, str(exc) or type(exc).__name__) from exc
    return rate_hz, values


def _decode_with_soundfile(where: str, data: bytes) -> tuple[int, NDArray[Any]]:
    try:
        import soundfile
    except (ImportError, OSError) as exc:  # OSError: the library that it wraps is missing
        if not data.startswith(_OTHER_FORMATS):
            raise _damaged(where, "no known format of sound") from exc
        raise DataError(f"Sound {where} is no plain WAV file, and reading it needs soundfile: {_INSTALL}.") from exc
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in _FORMATS:
                raise ValueError(f"format {file.format}")
            if file.frames * file.channels > MAX_VALUES:
                raise DataError(
                    f"Sound {where} must have at most {MAX_VALUES} values, got {file.frames} of {file.channels} "
                    "channels. Cut it into pieces."
                )
            values = file.read(dtype="float32")
            if len(values) < file.frames:
                raise ValueError(f"{len(values)} of {file.frames} samples are there")
            if file.format == "OGG" and not _ends_ogg(data):
                raise ValueError("its last page is missing")
            return file.samplerate, values
    except DataError:
        raise
    # libsndfile's errors and Python's own, of many types on damaged files.
    except Exception as exc:
        raise _damaged(where, str(exc) or type(exc).__name__) from exc


def _ends_ogg(data: bytes) -> bool:
    """Whether the last page says that it is the last (RFC 3533, section 6), and is whole."""
    at = data.rfind(b"OggS")
    header = data[at : at + 27]
    if len(header) < 27:
        return False
    segments = data[at + 27 : at + 27 + header[26]]
    return bool(header[5] & 4) and len(segments) == header[26] and len(data) >= at + 27 + header[26] + sum(segments)


def _damaged(where: str, reason: str) -> DataError:
    plain = " ".join(reason.split()).rstrip(".")
    return DataError(
        f"Sound {where} cannot be read ({plain}): it is damaged, cut short or no sound file. Replace or remove it."
    )


def _scaled(where: str, values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise DataError(f"Sound {where} must be made of finite numbers, but some are not. Replace it.")
        loudest = float(np.abs(values).max())
        if loudest > _LOUDEST_FLOAT:
            raise DataError(
                f"Sound {where} must have floats from -1 to 1, got {loudest:g}: it is not scaled. Divide it by "
                "its full scale (32768 for 16 bits)."
            )
        return values.astype(np.float32)
    if values.dtype == np.uint8:
        return ((values.astype(np.float32) - 128.0) / 128.0).astype(np.float32)
    return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
