"""Features of the free spoken digits as one .npz file: 49x10 pictures, split by speakers.

    python -m benchmarks.spoken_digits_features ../shared/data/spoken_digits runs/spoken_digits.npz --most 10
    python -m benchmarks.spoken_digits_features ../shared/data/spoken_digits runs/fold.npz --fold 0 --speeds 1,0.88,1.14

The folder holds one folder of recordings per digit, named ``<digit>_<speaker>_<number>.wav``. Without --fold, the last
two speakers by name are the test. With it, no speaker is in two parts: two of them are the test (each of the six in one
of the folds 0 to 2), the next one by name is the validation, and training recordings are there at each speed, which
also shifts the voice (Ko et al. 2015, "Audio augmentation for speech recognition"). Then all recordings stand in the
middle of the second, with noise 40 dB below them, so that silence is the same in all. The pictures are those that
offramp makes of speech commands.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from offramp.data.sound.sound_features import keyword_features

WINDOW = 16_000
"""Samples of a second; the recordings have 8 kHz and are doubled."""
NUM_TEST_SPEAKERS = 2
NOISE = 0.01
"""Amplitude of the noise, relative to the root mean square of a recording."""
FULL_SCALE = 32768.0


def picture(path: Path, speed: float | None = None) -> NDArray[np.uint8]:
    """The features of a recording: as it is, from its start on, or in the middle of the second at some speed."""
    _, recorded = wavfile.read(path)
    # Between two samples of 8 kHz lies their mean.
    if speed is None:
        samples = np.interp(np.arange(2 * len(recorded)) / 2, np.arange(len(recorded)), recorded / FULL_SCALE)
        return keyword_features(np.pad(samples, (0, WINDOW))[:WINDOW].astype(np.float32))
    places = np.arange(round(2 * len(recorded) / speed)) * speed / 2
    samples = np.interp(places, np.arange(len(recorded)), recorded / FULL_SCALE)[:WINDOW]
    before = (WINDOW - len(samples)) // 2
    level = max(float(np.sqrt(np.square(samples).mean())), 1e-6)
    second = np.random.default_rng(len(recorded)).normal(0.0, NOISE * level, WINDOW)
    second[before : before + len(samples)] += samples
    return keyword_features(second.astype(np.float32))


def speaker_of(file: Path) -> str:
    return file.stem.split("_")[1]


def of_speakers(files: Sequence[Path], speakers: Sequence[str]) -> list[Path]:
    return [file for file in files if speaker_of(file) in speakers]


def labelled(files: Sequence[Path], name: str, speeds: Sequence[float | None]) -> dict[str, NDArray[np.generic]]:
    """Pictures and labels of one part, under the names that offramp reads."""
    return {
        f"x_{name}": np.stack([picture(file, speed) for speed in speeds for file in files]),
        f"y_{name}": np.asarray([int(file.parent.name) for _ in speeds for file in files]),
    }


def fold_parts(files: Sequence[Path], fold: int, speeds: Sequence[float]) -> dict[str, NDArray[np.generic]]:
    """Training, validation and test without a common speaker."""
    speakers = sorted({speaker_of(file) for file in files})
    first = NUM_TEST_SPEAKERS * fold
    test, validation = (
        speakers[first : first + NUM_TEST_SPEAKERS],
        speakers[(first + NUM_TEST_SPEAKERS) % len(speakers)],
    )
    train = [item for item in speakers if item not in (*test, validation)]
    print(f"training on {', '.join(train)}; validation on {validation}; test on {', '.join(test)}")
    return {
        **labelled(of_speakers(files, train), "train", speeds),
        **labelled(of_speakers(files, [validation]), "validation", [1.0]),
        **labelled(of_speakers(files, test), "test", [1.0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--most", type=int, default=50, help="recordings of a digit by a speaker")
    parser.add_argument("--fold", type=int, default=None, choices=(0, 1, 2), help="which two speakers are the test")
    parser.add_argument("--speeds", default="1", help="speeds of training recordings in a fold, with commas")
    arguments = parser.parse_args()
    write_features(
        arguments.folder,
        arguments.target,
        most=arguments.most,
        fold=arguments.fold,
        speeds=tuple(float(item) for item in arguments.speeds.split(",")),
    )


def write_features(
    folder: Path, target: Path, *, most: int = 50, fold: int | None = None, speeds: Sequence[float] = (1.0,)
) -> None:
    files = [file for file in sorted(folder.glob("*/*.wav")) if int(file.stem.split("_")[2]) < most]
    if fold is not None:
        values = fold_parts(files, fold, speeds)
    else:
        test = sorted({speaker_of(file) for file in files})[-NUM_TEST_SPEAKERS:]
        others = [file for file in files if speaker_of(file) not in test]
        values = {**labelled(others, "train", [None]), **labelled(of_speakers(files, test), "test", [None])}
        print(f"tested on {test}")
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, **values)  # type: ignore[arg-type]
    counts = {name: len(item) for name, item in values.items() if name.startswith("y_")}
    print(f"{target}: {counts} recordings")


if __name__ == "__main__":
    main()
