import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.data.signals.array_file import load_array
from offramp.errors import DataError


@pytest.mark.parametrize("dtype", ["<f4", ">i2", "<U3", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were_saved(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.asarray(np.arange(6).reshape(2, 3).astype(dtype), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", array)
    assert (load_array(tmp_path / "a.npy") == array).all()


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy' cannot be read \(Python objects\)"):
        load_array(tmp_path / "a.npy")


def test_a_header_that_says_more_than_the_file_holds_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(4))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"(4,), }           ", b"(900000000000,), }"))
    with pytest.raises(DataError, match="says more than the file holds"):
        load_array(tmp_path / "a.npy")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 200), st.integers(0, 255))
def test_damaged_files_end_in_a_sentence(tmp_path: Path, place: int, byte: int) -> None:
    np.save(tmp_path / "a.npy", np.arange(10.0))
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[place] = byte
    (tmp_path / "a.npy").write_bytes(bytes(content))
    with contextlib.suppress(DataError):
        load_array(tmp_path / "a.npy")
