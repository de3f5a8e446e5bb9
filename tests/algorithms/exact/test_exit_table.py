"""Words of flags: packed, and counted with every numpy that is supported."""

import numpy as np
import pytest

from offramp.algorithms.exact.exit_table import bits_of_words, count_bits, pack_bits

WORDS = np.array([0, 1, 0b1011, 2**63, 2**64 - 1], dtype=np.uint64)


def test_set_bits_are_counted() -> None:
    assert bits_of_words(WORDS).tolist() == [0, 1, 3, 1, 64]
    random = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64, endpoint=False)
    assert bits_of_words(random).tolist() == [int(word).bit_count() for word in random]


def test_flags_are_counted_without_the_function_of_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = np.random.default_rng(1).random((3, 150)) < 0.3
    assert count_bits(pack_bits(flags)).tolist() == flags.sum(axis=1).tolist()
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert count_bits(pack_bits(flags)).tolist() == flags.sum(axis=1).tolist()
