import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.data.sound.windows import Heard, heard_at, num_windows, window_starts


def sound(*loudness: float, part: int = 4) -> np.ndarray:
    """Parts of four samples with one amplitude each."""
    return np.repeat(np.array(loudness, dtype=np.float32), part)


@pytest.mark.parametrize("how", ["loudest", "start", "windows"])
def test_a_sound_that_fits_is_taken_whole(how: str) -> None:
    assert window_starts(sound(1, 1), 8, how) == (0,)
    assert window_starts(sound(1), 8, how) == (0,)
    assert heard_at(0, 8, 8, 16_000) is None


def test_the_loudest_window_has_the_most_energy() -> None:
    assert window_starts(sound(0, 0, 0.1, 0.5, 0.4, 0, 0), 8, "loudest") == (12,)
    # By hand: one click of 0.9 (0.81) against four samples of 0.4 (0.64).
    click = np.zeros(40, dtype=np.float32)
    click[2], click[20:24] = 0.9, 0.4
    assert window_starts(click, 4, "loudest") == (0,)
    click[24:26] = 0.4
    assert window_starts(click, 8, "loudest")[0] in range(18, 21)
    assert window_starts(np.zeros(40, dtype=np.float32), 8, "loudest") == (0,)


def test_windows_overlap_by_half_and_the_last_ends_with_the_sound() -> None:
    assert window_starts(sound(1, 1, 1, 1), 8, "windows") == (0, 4, 8)
    assert window_starts(np.ones(19, dtype=np.float32), 8, "windows") == (0, 4, 8, 11)
    assert window_starts(sound(1, 1, 1, 1), 8, "start") == (0,)


@given(st.integers(1, 200), st.integers(2, 50), st.sampled_from(["loudest", "start", "windows"]))
def test_windows_lie_in_the_sound_and_all_of_them_cover_it(count: int, window: int, how: str) -> None:
    starts = window_starts(np.random.default_rng(count).normal(size=count).astype(np.float32), window, how)
    assert all(0 <= start <= max(0, count - window) for start in starts)
    assert len(starts) == num_windows(count, window, how)  # type: ignore[arg-type]
    if how == "windows":
        heard = {at for start in starts for at in range(start, start + window)}
        assert set(range(count)) <= heard


def test_what_was_heard_is_told_in_seconds() -> None:
    found = heard_at(30_960, 16_000, 48_000, 16_000)
    assert found == Heard(1.935, 2.935, 3.0)
    assert str(found) == "heard 1.94 to 2.94 s of 3.00 s" or str(found) == "heard 1.93 to 2.94 s of 3.00 s"
