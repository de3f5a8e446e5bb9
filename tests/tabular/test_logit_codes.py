"""Logits as codes: answers are exact, and errors are small where a class is likely."""

import numpy as np
import pytest

from offramp.exits.confidence_measures import MEASURES, confidence
from offramp.tabular.logit_codes import DEPTH, decode_logits, encode_logits


def test_codes_by_hand() -> None:
    """The root of the distance in 255 steps: 4 of 16 is half, 127.5, which rounds to the even 128."""
    codes = encode_logits(np.asarray([[3.0, -1.0, 3.0, -40.0]]), 8)
    assert codes.dtype == np.uint8
    # The third logit ties with the first, which is the answer, and gets the next code.
    assert codes.tolist() == [[0, 128, 1, 255]]
    values = decode_logits(codes)[0].tolist()
    assert values == pytest.approx([0.0, -DEPTH * (128 / 255) ** 2, -DEPTH / 255**2, -DEPTH])


@pytest.mark.parametrize(("bits", "limit"), [(8, 0.008), (16, 3e-5)])
def test_answers_are_exact_and_confidences_nearly(bits: int, limit: float) -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4000, 10)).astype(np.float32) * 4
    logits[0, :5] = 0.0
    decoded = decode_logits(encode_logits(logits, bits))
    assert (decoded.argmax(axis=-1) == logits.argmax(axis=-1)).all()
    for measure in MEASURES:
        assert np.abs(confidence(logits, measure) - confidence(decoded, measure)).max() < limit
