"""Tables of numbers, as .csv and as parquet: the same table gives the same samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from offramp.data.raw_data import RawDataset, read_raw
from offramp.errors import DataError
from tests.data.samples import options, role

RNG = np.random.default_rng(0)
Writer = Callable[[Path, dict[str, Any]], Path]


def csv(path: Path, columns: dict[str, Any]) -> Path:
    pyarrow.csv.write_csv(pa.table({name: list(values) for name, values in columns.items()}), path.with_suffix(".csv"))
    return path.with_suffix(".csv")


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pyarrow.parquet.write_table(
        pa.table({name: list(values) for name, values in columns.items()}), path.with_suffix(".parquet")
    )
    return path.with_suffix(".parquet")


def read(path: Path, **changes: Any) -> RawDataset:
    return read_raw(str(path), options(path.parent, **changes))


@pytest.mark.parametrize("write", [csv, parquet])
def test_rows_with_names_of_features_are_vectors(tmp_path: Path, write: Writer) -> None:
    columns = {"width": [1.5, 2.0, -3.0], "kind": ["a", "b", "a"], "height": [4, 5, 6]}
    found = read(write(tmp_path / "iris", columns), label_column="kind")
    assert (found.name, found.input_kind) == ("iris", "vectors")
    assert found.train.samples[:, :, 0, 0].tolist() == [[1.5, 4], [2, 5], [-3, 6]]
    assert found.train.labels.tolist() == ["a", "b", "a"]
    assert "vector of 2 features" in found.notes[0]


@pytest.mark.parametrize("write", [csv, parquet])
def test_numbered_columns_are_steps_and_their_prefixes_channels(tmp_path: Path, write: Writer) -> None:
    values = RNG.normal(size=(4, 2, 8)).round(3)
    columns = {f"{axis}_{step}": values[:, channel, step] for channel, axis in enumerate("xy") for step in range(8)}
    # The order of columns does not matter, their numbers do.
    shuffled = {name: columns[name] for name in RNG.permutation(list(columns)).tolist()}
    ordered = sorted(shuffled, key=lambda name: (name[0] != "x", RNG.random()))
    path = write(tmp_path / "d", {"label": [1, 2, 1, 2]} | {name: columns[name] for name in ordered})
    found = read(path)
    assert found.input_kind == "series"
    assert (found.train.samples[:, :, 0] == values.astype(np.float32)).all()
    # Classes that are counted from 1 are names, not numbers.
    assert found.train.labels.tolist() == ["1", "2", "1", "2"]
    assert read(path, kind="vectors").train.samples.shape == (4, 16, 1, 1)


@pytest.mark.parametrize("write", [csv, parquet])
def test_rows_of_one_id_are_the_steps_of_a_series_in_the_order_of_time(tmp_path: Path, write: Writer) -> None:
    columns = {
        "id": ["s1", "s2", "s1", "s2", "s1"],
        "time": [2, 0, 0, 1, 1],
        "ax": [12.0, 20.0, 10.0, 21.0, 11.0],
        "ay": [-12.0, -20.0, -10.0, -21.0, -11.0],
        "activity": ["walk", "run", "walk", "run", "walk"],
        "person": [7, 8, 7, 8, 7],
    }
    found = read(write(tmp_path / "long", columns), group_column="person")
    series = found.train.samples[:, :, 0]
    assert series[0].tolist() == [[10, 11, 12], [-10, -11, -12]]
    assert series[1, :, :2].tolist() == [[20, 21], [-20, -21]]
    assert np.isnan(series[1, :, 2]).all()
    assert found.train.labels.tolist() == ["walk", "run"]
    assert found.train.groups is not None
    assert found.train.groups.tolist() == ["7", "8"]
    assert "ordered by 'time'; its channels are 'ax', 'ay'" in found.notes[0]


def test_tables_by_part_are_matched_by_the_names_of_their_columns(tmp_path: Path) -> None:
    csv(tmp_path / "train", {"a": [1.0, 2.0], "b": [3.0, 4.0], "y": [0, 1]})
    csv(tmp_path / "test", {"b": [7.0], "y": [1], "a": [5.0]})
    found = read(tmp_path)
    assert role(found, "test").samples[0, :, 0, 0].tolist() == [5, 7]
    csv(tmp_path / "test", {"b": [7.0], "y": [1]})
    with pytest.raises(DataError, match=r"train\.csv' differ in 'a'"):
        read(tmp_path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_quotes_and_byte_order_marks_are_read(tmp_path: Path, delimiter: str) -> None:
    lines = ["\ufeffwidth,label", '1.5,"a"', "2e3,b", ""]
    (tmp_path / "d.csv").write_text("\r\n".join(lines).replace(",", delimiter), encoding="utf-8")
    found = read(tmp_path / "d.csv", kind="vectors")
    assert found.train.samples.reshape(-1).tolist() == [1.5, 2000]
    assert found.train.labels.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a line of names and at least one row, got 0"),
        ("a,label\n", "got 1 lines"),
        ("1.5,2.5\n1,2\n", "first line .* must name the columns, but it holds numbers"),
        ("a,b,label\n1,2,x\n1,x\n", "must have 3 values.*row 3 has 2"),
        ("a,a,label\n1,2,x\n", "'a' stands there twice"),
        ("a,b\n1,2\n", "no column is called label.*data.label_column"),
        ("a,class,label\n1,2,3\n", "'class', 'label' could be"),
        ("a,b,label\n1,red,x\n2,blue,y\n", "'b' hold text such as 'red'"),
        ("a,label\n1,x\n,y\n", "finite numbers, but 1 hold NaN.*sample 1"),
        ("a,label\n1,x\ninf,y\n", "finite numbers"),
        ("label\nx\n", "columns of numbers beside the labels"),
        ('a,label\n"1,x\n', "must be a table of comma-separated values"),
        ("id,a,label\n1,2,x\n1,3,y\n", "'label' .* same in all rows of one series, but series '1.0'.*data.window"),
        ("id,a,label\n1,2,x\n1,,x\n", "Column 'a' .* row 2 is not"),
        ("id,t,time,a,label\n1,2,3,4,x\n1,3,4,5,x\n", "one column of time at most"),
    ],
)
def test_what_is_no_table_of_samples_ends_in_a_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / "d.csv")
    assert "d.csv" in str(caught.value)


def test_long_names_do_not_fill_the_message(tmp_path: Path) -> None:
    long = "[" * 50_000
    for text in (f"{long},label\nred,x\n", f"{long},{long},label\n1,2,x\n", f"{long},b\n1,2\n"):
        (tmp_path / "d.csv").write_text(text)
        with pytest.raises(DataError) as caught:
            read(tmp_path / "d.csv")
        assert len(str(caught.value)) < 2000


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(b"a,label\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="UTF-8, but byte 8 is not"):
        read(tmp_path / "d.csv")


def test_a_parquet_column_of_lists_is_refused_by_its_type(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"signal": [[1.0, 2.0]], "label": [0]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"'signal' of .*d\.parquet' must hold one number or text.*list<"):
        read(tmp_path / "d.parquet")


@pytest.mark.parametrize("write", [csv, parquet])
@pytest.mark.parametrize("name", ["id", "Unnamed: 0", "index", "sample_id"])
def test_columns_that_number_the_rows_are_no_features(tmp_path: Path, write: Writer, name: str) -> None:
    """In a table that is sorted by class they would tell the class."""
    columns = {name: [3, 1, 2, 7], "a": [1.5, 2, 3, 4], "b": [1, 1, 2, 2], "label": list("ppqq")}
    found = read(write(tmp_path / "t", columns))
    assert found.train.samples[:, :, 0, 0].tolist() == [[1.5, 1], [2, 1], [3, 2], [4, 2]]
    assert f"are left out: {name!r}" in found.notes[1]


@pytest.mark.parametrize("write", [csv, parquet])
def test_rows_without_their_series_or_time_are_refused(tmp_path: Path, write: Writer) -> None:
    columns = {"id": [1, 1, None, 2], "time": [0, 1, 2, 3], "x": [1.0, 2, 3, 4], "label": list("aabb")}
    with pytest.raises(DataError, match="must say the series of each row, but it is empty in row 3"):
        read(write(tmp_path / "t", columns))
    with pytest.raises(DataError, match="must say the time of each row, but it is empty in row 2"):
        read(write(tmp_path / "u", columns | {"id": [1, 1, 2, 2], "time": [0, None, 2, 3]}))


@pytest.mark.parametrize("write", [csv, parquet])
def test_two_recordings_with_one_id_are_not_interleaved(tmp_path: Path, write: Writer) -> None:
    columns = {"id": [1] * 4 + [2] * 2, "time": [0, 1, 0, 1, 0, 1], "x": np.arange(6.0), "label": list("aaaabb")}
    with pytest.raises(DataError, match=r"series '1(\.0)?' has 0(\.0)? several times.*several recordings alike"):
        read(write(tmp_path / "t", columns))
    # Several rows a second, in order, are no contradiction.
    found = read(write(tmp_path / "u", columns | {"time": [0, 0, 1, 1, 0, 1]}))
    assert found.train.samples[0, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("write", [csv, parquet])
def test_wide_rows_of_one_id_are_asked_about(tmp_path: Path, write: Writer) -> None:
    steps = {f"t{step}": np.arange(4.0) + step for step in range(8)}
    path = write(tmp_path / "t", {"id": [1, 1, 2, 2], **steps, "label": list("aabb")})
    with pytest.raises(DataError, match=r"data.id_column=id where .* data.group_column=id where each row is a series"):
        read(path)
    assert read(path, group_column="id").train.samples.shape == (4, 1, 1, 8)
    assert read(path, id_column="id").train.samples.shape == (2, 8, 1, 2)


def test_series_that_are_groups_of_their_own_stay_series(tmp_path: Path) -> None:
    columns = {"id": [1, 1, 2, 2], "time": [0, 1, 0, 1], "x": [1.0, 2, 3, 4], "label": list("aabb")}
    found = read(csv(tmp_path / "t", columns), group_column="id")
    assert found.input_kind == "series"
    assert found.train.groups is not None
    assert found.train.groups.tolist() == ["1", "2"]


def test_names_that_python_would_read_as_numbers_stay_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,label\n" + "1,1_2\n2,12\n" * 4)
    assert set(read(path).train.labels.tolist()) == {"1_2", "12"}


def test_long_ids_are_not_rounded_to_one(tmp_path: Path) -> None:
    """2^53 and 2^53 + 1 are one number in float64."""
    path = tmp_path / "t.csv"
    big = 2**53
    rows = [(big, 0, "a"), (big, 1, "a"), (big + 1, 0, "b"), (big + 1, 1, "b")]
    path.write_text("id,time,x,label\n" + "".join(f"{own},{step},{step}.5,{label}\n" for own, step, label in rows))
    assert read(path).train.samples.shape == (2, 1, 1, 2)


@pytest.mark.parametrize("write", [csv, parquet])
def test_rows_without_a_group_are_refused(tmp_path: Path, write: Writer) -> None:
    columns = {"a": [1.0, 2, 3], "who": ["x", None, "y"], "label": list("aba")}
    with pytest.raises(DataError, match=r"must have a group in column 'who' .*, the first is sample 1"):
        read(write(tmp_path / "t", columns), group_column="who")


@pytest.mark.parametrize("write", [csv, parquet])
def test_features_that_floats_make_equal_are_refused(tmp_path: Path, write: Writer) -> None:
    """From 2^60 to 2^61 the floats of 64 bits are 256 apart."""
    columns = {"a": [2**60 + row for row in range(4)], "b": [1.0, 2, 3, 4], "label": list("abab")}
    with pytest.raises(DataError, match=r"Column 'a' .* must keep its differences as floats"):
        read(write(tmp_path / "t", columns))


@pytest.mark.parametrize("write", [csv, parquet])
def test_rows_in_the_order_of_their_times_are_no_samples_unless_that_is_said(tmp_path: Path, write: Writer) -> None:
    columns = {"time": [0, 1, 2, 3], "a": [1.0, 2, 3, 4], "label": list("aabb")}
    path = write(tmp_path / "t", columns)
    with pytest.raises(DataError, match=r"may be the steps of one recording.*Set data\.window"):
        read(path)
    assert read(path, kind="vectors").train.samples.shape == (4, 2, 1, 1)
    assert read(path, window=2, hop=2).train.samples.shape == (2, 1, 1, 2)
    # Times that come in any order are a feature, such as the days to an event.
    assert read(write(tmp_path / "u", columns | {"time": [7, 1, 9, 3]})).train.samples.shape == (4, 2, 1, 1)


def test_parquet_columns_that_cannot_be_told_apart_or_lost_are_named(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0]), pa.array(["a"])], names=["x", "x", "label"])
    pyarrow.parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="'x' is there twice"):
        read(tmp_path / "t.parquet")
    path = parquet(tmp_path / "u", {"id": [2**60, None], "x": [1.0, 2], "label": list("ab")})
    with pytest.raises(DataError, match=r"Column 'id' .* must have no missing values"):
        read(path)
