"""Small data sets of sound in the published layouts, made of tones and noise."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile

from offramp.data.readers.speech_commands import WORDS

RATE_HZ = 16_000


def tone(frequency_hz: float, seconds: float, rng: np.random.Generator, noise: float = 0.05) -> NDArray[np.float64]:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return 0.5 * np.sin(2 * np.pi * frequency_hz * time_s) + rng.normal(0.0, noise, len(time_s))


def write_sound(path: Path, samples: NDArray[np.floating], rate_hz: int = RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate_hz, np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16))


def write_speech_commands(root: Path, per_word: int = 3, seed: int = 0) -> Path:
    """Each word a pitch of its own; one speaker in three for validation, one in three for test."""
    rng = np.random.default_rng(seed)
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for number, word in enumerate((*WORDS, "bed", "cat")):
        for index in range(per_word):
            name = f"{word}/{index:08x}_nohash_0.wav"
            write_sound(root / name, tone(200.0 * 1.3**number, 0.9 + 0.05 * (index % 3), rng))
            if index % 3:
                lists["validation_list.txt" if index % 3 == 1 else "testing_list.txt"].append(name)
    for name in ("pink_noise", "white_noise"):
        write_sound(root / "_background_noise_" / f"{name}.wav", rng.normal(0.0, 0.1, 11 * RATE_HZ))
    (root / "_background_noise_" / "README.md").write_text("about the noises")
    (root / "README.md").write_text("about the words")
    (root / "LICENSE").write_text("terms")
    for file, names in lists.items():
        (root / file).write_text("\n".join(names) + "\n")
    return root


def write_machine_sounds(root: Path, num_train: int = 12, num_labelled: int = 6, seed: int = 0) -> Path:
    """Two machines that hum; an anomalous one hums a third higher, with a rattle."""
    rng = np.random.default_rng(seed)

    def sound(machine: int, anomalous: bool) -> NDArray[np.float64]:
        pitch = (300.0 + 200.0 * machine) * (1.25 if anomalous else 1.0) * rng.uniform(0.98, 1.02)
        loudness = rng.uniform(0.3, 0.5)
        return loudness * tone(pitch, 8.1, rng, noise=0.08 if anomalous else 0.05)

    for machine in (1, 2):
        for index in range(num_train):
            write_sound(root / "train" / f"normal_id_{machine:02}_{index:08}.wav", sound(machine, False))
        for index in range(num_labelled):
            write_sound(root / "test" / f"normal_id_{machine:02}_{index:08}.wav", sound(machine, False))
            write_sound(root / "test" / f"anomaly_id_{machine:02}_{index:08}.wav", sound(machine, True))
    return root
