"""Features of the free spoken digits as one .npz file: 49x10 pictures, split by speakers.

    python -m benchmarks.spoken_digits_features ../shared/data/spoken_digits runs/spoken_digits.npz --most 10

The folder holds one folder of recordings per digit, named ``<digit>_<speaker>_<number>.wav``. The last two speakers by
name are the test. The pictures are those that offramp makes of speech commands.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from offramp.data.sound.sound_features import keyword_features

WINDOW = 16_000
"""Samples of a second; the recordings have 8 kHz and are doubled."""
NUM_TEST_SPEAKERS = 2


def picture(path: Path) -> NDArray[np.uint8]:
    _, recorded = wavfile.read(path)
    # Between two samples of 8 kHz lies their mean.
    samples = np.interp(np.arange(2 * len(recorded)) / 2, np.arange(len(recorded)), recorded / 32768.0)
    return keyword_features(np.pad(samples, (0, WINDOW))[:WINDOW].astype(np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--most", type=int, default=50, help="recordings of a digit by a speaker")
    arguments = parser.parse_args()
    files = [f for f in sorted(arguments.folder.glob("*/*.wav")) if int(f.stem.split("_")[2]) < arguments.most]
    speakers = sorted({file.stem.split("_")[1] for file in files})
    test = set(speakers[-NUM_TEST_SPEAKERS:])
    values: dict[str, NDArray[np.generic]] = {}
    for name, chosen in (("train", [f for f in files if f.stem.split("_")[1] not in test]), ("test", files)):
        part = chosen if name == "train" else [f for f in files if f.stem.split("_")[1] in test]
        values[f"x_{name}"] = np.stack([picture(file) for file in part])
        values[f"y_{name}"] = np.asarray([int(file.parent.name) for file in part])
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.target, **values)  # type: ignore[arg-type]
    print(
        f"{arguments.target}: {len(values['y_train'])} and {len(values['y_test'])} recordings, tested on {sorted(test)}"
    )


if __name__ == "__main__":
    main()
