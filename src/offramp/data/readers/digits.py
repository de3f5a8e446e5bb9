"""The digits that come with scikit-learn: 1,797 grey images of 8x8 pixels, 10 classes."""

import numpy as np

from offramp.data.raw_data import DATA_SETS, RawDataset, RawPart

_HIGHEST_LEVEL = 16


@DATA_SETS.register("digits")
def read_digits() -> RawDataset:
    """Load scikit-learn's 8x8 handwritten digits, with their 17 grey levels scaled to 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255.0 / _HIGHEST_LEVEL)).astype(np.uint8)[:, None]
    part = RawPart("train", "digits", np.ascontiguousarray(images), bunch.target.astype(np.int64))
    return RawDataset("digits", (part,), tuple(str(name) for name in bunch.target_names))
