"""Files of tables come from others: what is damaged, too large or of another kind is refused in words."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offramp.errors import TableError
from offramp.tabular.table_file import TableFile, write_table
from tests.tabular.toy_tables import toy_entries, toy_header, write_toy_table


def read_all(path: Path) -> None:
    """What evaluating every network and showing every layer reads."""
    file = TableFile(path)
    try:
        from offramp.tabular.table_space import every_backbone

        for split in ("validation", "test"):
            file.labels(split)
        for number, backbone in enumerate(every_backbone(file.header.space)):
            count = len(file.header.space.exit_options(backbone))
            file.costs(number, count)
            for split in ("validation", "test"):
                file.codes(number, count, split)
            file.layer_costs(number, len(file.layers(number, count)))
    finally:
        file.close()


def npy(array: np.ndarray[Any, Any], *, pickled: bool = False) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=pickled)
    return content.getvalue()


def changed(path: Path, name: str, change: Callable[[bytes], bytes | None]) -> Path:
    """A copy of a table in which one member is another; None leaves it out."""
    target = path.with_name("changed.npz")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for member in source.namelist():
            content: bytes | None = source.read(member)
            assert content is not None
            if member == f"{name}.npy":
                content = change(content)
            if content is not None:
                copy.writestr(member, content)
    return target


def with_header(**changes: object) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        data = json.loads(np.load(io.BytesIO(content)).tobytes())
        return npy(np.frombuffer(json.dumps({**data, **changes}).encode(), np.uint8))

    return change


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_toy_table(tmp_path / "table.npz")


def test_a_table_is_read_back_as_it_was_written(table: Path) -> None:
    labels, entries = toy_entries()
    file = TableFile(table)
    assert file.header == toy_header()
    assert file.labels("test").tolist() == labels["test"].tolist()
    for number, entry in enumerate(entries):
        count = entry.to_tap.shape[1] - 1
        to_tap, branch = file.costs(number, count)
        np.testing.assert_array_equal(to_tap, entry.to_tap)
        np.testing.assert_array_equal(branch, entry.branch)
        np.testing.assert_array_equal(file.codes(number, count, "test"), entry.codes["test"])
        assert file.layers(number, count) == entry.layers
        np.testing.assert_array_equal(file.layer_costs(number, len(entry.layers)), entry.layer_costs)
    file.close()
    read_all(table)


def test_the_same_table_is_the_same_file(table: Path, tmp_path: Path) -> None:
    assert write_toy_table(tmp_path / "again.npz").read_bytes() == table.read_bytes()


def test_entries_must_be_those_of_the_space(tmp_path: Path) -> None:
    labels, entries = toy_entries()
    with pytest.raises(TableError, match="one entry per backbone of its space, got 7"):
        write_table(tmp_path / "table.npz", toy_header(), labels, entries[:-1])
    assert not (tmp_path / "table.npz").exists()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("header", lambda _: None, "must have an array 'header', but it is missing"),
        ("header", lambda _: npy(np.zeros(8, np.uint8)), "header of .* must be JSON text"),
        ("header", lambda c: c[:-30], "got uint8 and "),
        (
            "header",
            with_header(schema="offramp-table-9"),
            "schema offramp-table-1, got 'offramp-table-9'",
        ),
        ("header", with_header(licence=" "), "must state its licence"),
        ("header", with_header(code_bits=7), "8 or 16 bits, got 7"),
        ("header", with_header(validation_samples=10**9), "from 1 to 1,000,000 validation samples, got 1,000,000,000"),
        ("header", with_header(accelerators=[]), "from 1 to 100 accelerators, got 0"),
        ("header", with_header(space={}), "has .* fault"),
        ("labels/test", lambda _: npy(np.full(50, 4)), "labels of .* must be from 0 to 3"),
        ("labels/test", lambda _: npy(np.zeros(51, np.int64)), r"shape \(50,\), got int64 and \(51,\)"),
        ("labels/test", lambda _: npy(np.asarray([{}] * 50, object), pickled=True), "cannot be read|must unpack"),
        ("0/validation", lambda c: c[:-1] + b"\x00", "one largest logit; backbone 0 has others"),
        ("0/to_tap", lambda _: npy(np.full((2, 3, 3), np.nan)), "finite and not negative; backbone 0"),
        ("0/to_tap", lambda _: npy(np.full((2, 3, 3), -1.0)), "finite and not negative; backbone 0"),
        ("0/to_tap", lambda _: npy(np.zeros((2, 3, 3), np.float32)), "must be of type float64"),
        ("0/branch", lambda _: npy(np.zeros((200, 300, 300))), "must unpack to at most"),
        ("0/branch", lambda _: npy(np.asfortranarray(np.zeros((2, 3, 3)))), "stored in Fortran order"),
        ("0/layers", lambda _: npy(np.frombuffer(b"[[]]", np.uint8)), "fault"),
        ("0/layer_costs", lambda _: npy(np.full((2, 3, 2), np.inf, np.float32)), "finite costs"),
    ],
)
def test_what_is_damaged_is_refused_in_words(
    table: Path, name: str, change: Callable[[bytes], bytes | None], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        read_all(changed(table, name, change))


def test_a_space_without_end_is_refused_before_it_is_enumerated(table: Path) -> None:
    stage = {"depths": [64], "widths": [8], "kernel_sizes": list(range(1, 9)), "expansions": list(range(1, 9))}
    data = json.loads(np.load(io.BytesIO(zipfile.ZipFile(table).read("header.npy"))).tobytes())
    backbone = {**data["space"]["backbone"], "stages": [stage] * 60}
    space = {**data["space"], "branches": ["conv"], "backbone": backbone}
    with pytest.raises(TableError, match=r"at most 1,000 exits|at most 10,000 backbones"):
        read_all(changed(table, "header", with_header(space=space)))


def test_other_files_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    with pytest.raises(TableError, match="cannot be read"):
        TableFile(other)
    other.write_bytes(b"no archive")
    with pytest.raises(TableError, match=r"must be an .npz archive of `offramp table make`"):
        TableFile(other)
    with pytest.raises(TableError, match="cannot be read: Is a directory"):
        TableFile(tmp_path)
