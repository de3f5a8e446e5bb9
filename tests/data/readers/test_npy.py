from pathlib import Path

import numpy as np
import pytest

from offramp.data.readers.npy import NpyReader
from offramp.errors import DataError
from tests.data.samples import options, role

RNG = np.random.default_rng(0)


def write(folder: Path, **arrays: np.ndarray) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def test_pairs_of_files_are_parts(tmp_path: Path) -> None:
    x, test = RNG.normal(size=(6, 2, 9)), RNG.normal(size=(4, 2, 9))
    write(tmp_path, x_train=x, y_train=np.arange(6) % 2, x_test=test, y_test=np.arange(4) % 2, notes=np.zeros(3))
    for path in (tmp_path, tmp_path / "x_train.npy"):
        assert NpyReader().claims(path)
        found = NpyReader().read(path, options(tmp_path))
        assert found.input_kind == "series"
        assert found.name == tmp_path.name
        assert (role(found, "train").samples[:, :, 0] == x.astype(np.float32)).all()
        assert (role(found, "test").labels == np.arange(4) % 2).all()


def test_a_file_without_its_partner_is_refused(tmp_path: Path) -> None:
    write(tmp_path, x=RNG.normal(size=(6, 2, 9)))
    with pytest.raises(DataError, match=r"samples and labels under names such as x and y.*it holds x\."):
        NpyReader().read(tmp_path, options(tmp_path))
