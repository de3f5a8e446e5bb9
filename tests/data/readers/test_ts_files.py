from pathlib import Path

import numpy as np
import pytest

from offramp.data.raw_data import RawDataset, read_raw
from offramp.errors import DataError
from tests.data.samples import options, role

HEADER = """# a comment
@problemName Toy
@timeStamps false
@univariate false
@classLabel true up Down
@data
"""


def read(path: Path) -> RawDataset:
    return read_raw(str(path), options(path.parent))


def write(path: Path, lines: str, header: str = HEADER) -> Path:
    path.write_text(header + lines)
    return path


def test_channels_labels_and_short_series_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "Toy_TRAIN.ts", "1,2,3:4,5,6:up\n-1e3,7:8,9:Down\n1,1,1:2,2,2:up\n")
    found = read(path)
    assert found.name == "Toy"
    series = found.train.samples[:, :, 0]
    assert series[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert series[1, :, :2].tolist() == [[-1000, 7], [8, 9]]
    assert np.isnan(series[1, :, 2]).all()
    assert found.train.labels.tolist() == ["up", "Down", "up"]


def test_the_test_file_beside_is_the_test_part(tmp_path: Path) -> None:
    write(tmp_path / "Toy_TRAIN.ts", "1,2:up\n3,4:Down\n")
    write(tmp_path / "Toy_TEST.ts", "5,6:up\n")
    for path in (tmp_path, tmp_path / "Toy_TRAIN.ts"):
        found = read(path)
        assert role(found, "test").samples.reshape(-1).tolist() == [5, 6]
    assert "is the test part" in read(tmp_path / "Toy_TRAIN.ts").notes[0]


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ("1,2:up\n", "@problemName Toy\n", "a line @data"),
        ("(0,1),(1,2):up\n", HEADER.replace("false", "true", 1), "time stamps"),
        ("1,2:3.5\n", HEADER.replace("@classLabel true up Down", "@classLabel false"), "class labels"),
        ("", HEADER, "hold series after @data"),
        ("1,2,3\n", HEADER, "Line 7 .* values and a label"),
        ("1,x:up\n", HEADER, "Line 7 .* must hold numbers"),
        ("1,2:3,4:up\n1,2:up\n", HEADER, "Line 8 .* 2 channels of one length, got 1"),
        ("1,2:3:up\n", HEADER, "2 channels of one length, got 2 with 1 and 2 values"),
        ("1,2:left\n", HEADER, "'left' is not among"),
        ("1,?,3:up\n", HEADER, "finite numbers"),
        ("1,nan,inf:up\n", HEADER, "finite numbers"),
    ],
)
def test_broken_files_end_in_a_sentence(tmp_path: Path, lines: str, header: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path / "Toy_TRAIN.ts", lines, header))
    assert "Toy_TRAIN.ts" in str(caught.value)
