import numpy as np
from sklearn.datasets import load_digits

from offramp.data.readers.digits import read_digits


def test_digits_are_scikit_learns_over_the_whole_grey_range() -> None:
    dataset = read_digits()
    bunch = load_digits()
    assert dataset.train.samples.shape == (1797, 1, 8, 8)
    assert (dataset.train.samples.max(), dataset.train.samples.min()) == (255, 0)
    # 17 levels stay 17 levels: nothing is lost, and the original can be worked out again.
    assert (np.rint(dataset.train.samples[:, 0] * (16 / 255)) == bunch.images).all()
    assert (dataset.train.labels == bunch.target).all()
    assert dataset.class_names == tuple("0123456789")
