import numpy as np
import pytest

from offramp.data.splits.group_names import group_hint, groups_of_names
from offramp.errors import ConfigError, DataError

SPEAKERS = ("george", "jackson", "theo")
SPOKEN = [f"{digit}_{speaker}_{take}.wav" for digit in range(4) for speaker in SPEAKERS for take in range(5)]
DIGITS = np.repeat(np.arange(4), 15)


def test_the_parentheses_of_the_pattern_name_the_group() -> None:
    assert groups_of_names(["0_jackson_12.wav", "a/7_theo_3.wav"], "_(.*)_", "d").tolist() == ["jackson", "theo"]
    assert groups_of_names(["p1-s2-x.png"], r"^(p\d)-(s\d)", "d").tolist() == ["p1/s2"]


def test_patterns_and_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"Every file name of 'd' must contain .*'_\(\.\*\)_', but 'x\.wav' does not"):
        groups_of_names(["0_a_1.wav", "x.wav"], "_(.*)_", "d")
    with pytest.raises(ConfigError, match="regular expression"):
        groups_of_names(["x"], "(", "d")
    with pytest.raises(ConfigError, match="parentheses"):
        groups_of_names(["x"], "_.*_", "d")


def test_speakers_in_names_are_hinted_at_with_a_pattern_that_finds_them() -> None:
    hint = group_hint(SPOKEN, DIGITS)
    assert hint is not None
    assert "'george', 'jackson', 'theo'; 3 in all" in hint
    pattern = hint.split("data.group_pattern='")[1].removesuffix("'.")
    assert set(groups_of_names(SPOKEN, pattern, "d").tolist()) == set(SPEAKERS)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ([f"{number:04}.png" for number in range(20)], np.arange(20) % 2),
        ([f"img_{number}.png" for number in range(20)], np.arange(20) % 2),
        ([f"{name}_{number}.png" for number in range(10) for name in ("cat", "dog")], np.arange(20) % 2),
        ([f"a_{number}.png" for number in range(3)] + ["b.png"], np.arange(4) % 2),
        ([], np.arange(0)),
    ],
)
def test_counters_and_class_names_are_no_groups(names: list[str], labels: np.ndarray) -> None:
    assert group_hint(names, labels) is None


def test_empty_parentheses_are_no_group() -> None:
    with pytest.raises(DataError, match=r"parentheses are empty for 'a_x.wav'"):
        groups_of_names(["a_p1.wav", "a_x.wav"], "_(p1)?", "d")
