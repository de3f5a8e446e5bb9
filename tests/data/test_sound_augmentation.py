import math

import pytest
import torch

from offramp.data.augmentation import SignalAugmentation, augment
from offramp.data.sound.feature_settings import SoundFeatures
from offramp.data.sound_augmentation import SoundAugmentationSettings, SpectrumAugmentation, sound_augmentation

LOG_MEL = SoundFeatures("log-mel", rate_hz=8000, window=4000, frame=240, hop=100, bands=32, coefficients=13)
MFCC = SoundFeatures("mfcc", rate_hz=8000, window=4000, frame=240, hop=100, bands=32, coefficients=13)
RAW = SoundFeatures("raw", rate_hz=8000, window=4000, frame=240, hop=100, bands=32, coefficients=13)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_what_is_changed_follows_from_the_features() -> None:
    settings = SoundAugmentationSettings(shift=0.1, masks=0.25, noise_db=-20.0, gain_db=20.0)
    # 38 frames of 32 bands.
    assert sound_augmentation(LOG_MEL, settings) == SpectrumAugmentation(4, 10, 8, -20.0)
    assert sound_augmentation(MFCC, settings) == SpectrumAugmentation(4, 10, 0, None)
    assert sound_augmentation(RAW, settings) == SignalAugmentation(400, 9.0, 0.1)


def test_a_shift_moves_frames_and_repeats_the_end() -> None:
    frames = torch.arange(10.0).view(1, 1, 10, 1).expand(200, 1, 10, 3)
    moved = augment(frames, SpectrumAugmentation(2, 0, 0, None), seeded())
    found = {tuple(sample[0, :, 0].tolist()) for sample in moved}
    assert found == {tuple(min(max(step + at, 0), 9) for at in range(10)) for step in range(-2, 3)}


def test_masks_hide_one_range_of_frames_and_one_of_bands_behind_the_mean() -> None:
    samples = torch.randn(300, 1, 12, 8, generator=seeded(1))
    masked = augment(samples, SpectrumAugmentation(0, 4, 3, None), seeded())
    widths = set()
    for before, after in zip(samples, masked, strict=True):
        changed = before[0] != after[0]
        rows, columns = changed.all(dim=1), changed.all(dim=0)
        assert torch.equal(changed, rows[:, None] | columns[None])
        assert torch.allclose(after[0][changed], before.mean())
        for mask in (rows, columns):
            where = mask.nonzero().flatten()
            assert len(where) == 0 or where[-1] - where[0] + 1 == len(where)
        widths.add((int(rows.sum()), int(columns.sum())))
    assert widths == {(rows, columns) for rows in range(5) for columns in range(4)}


def test_noise_adds_its_power_to_every_band() -> None:
    samples = torch.full((500, 1, 2, 2), -20.0)
    samples[:, 0, 0, 0] = 1.0
    noisy = augment(samples, SpectrumAugmentation(0, 0, 0, -20.0), seeded())
    # The loudest band rises by at most ln sqrt(1 + 0.01); the quiet ones get the level of the noise.
    assert noisy[:, 0, 0, 0].max() <= 1.0 + 0.5 * math.log(1.01) + 1e-5
    levels_db = (noisy[:, 0, 1, 1] - 1.0) * 20.0 / math.log(10.0)
    assert levels_db.max() == pytest.approx(-20.0, abs=0.5)
    assert levels_db.min() == pytest.approx(-60.0, abs=0.5)


def test_the_same_seed_gives_the_same_sounds() -> None:
    samples = torch.randn(4, 1, 38, 32)
    change = sound_augmentation(LOG_MEL, SoundAugmentationSettings())
    assert torch.equal(augment(samples, change, seeded(5)), augment(samples, change, seeded(5)))
    assert not torch.equal(augment(samples, change, seeded(5)), augment(samples, change, seeded(6)))


@pytest.mark.parametrize("change", [{"shift": 1.0}, {"masks": -0.1}, {"gain_db": -1.0}, {"noise_db": math.inf}])
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        SoundAugmentationSettings(**change)
