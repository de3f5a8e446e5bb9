import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.data.raw_data import RawDataset
from offramp.data.readers import parquet as reader_file
from offramp.data.readers.parquet import ParquetReader
from offramp.errors import DataError
from tests.data.samples import encoded, options, random_images, role

LABELS = [0, 1, 0, 2, 1, 2]


def structs(images: Any) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": encoded(pixels), "path": "x.png"} for pixels in images], kind)


def save(path: Path, *, rows: int = 6, seed: int = 0, shape: tuple[int, ...] = (4, 5, 3), **columns: Any) -> Path:
    columns = columns or {"img": structs(random_images(rows, shape, seed)), "label": LABELS[:rows]}
    pq.write_table(pa.table(columns), path)
    return path


def read(path: Path, **settings: Any) -> RawDataset:
    assert ParquetReader().claims(path)
    return ParquetReader().read(path, options(path.parent / ".cache", **settings))


def test_one_file_is_the_training_part(tmp_path: Path) -> None:
    dataset = read(save(tmp_path / "birds.parquet"))
    assert dataset.name == "birds"
    assert (dataset.train.samples == random_images(6).transpose(0, 3, 1, 2)).all()
    assert dataset.train.labels.tolist() == LABELS


def test_plain_bytes_and_names_as_labels(tmp_path: Path) -> None:
    images = [encoded(pixels) for pixels in random_images(3, (4, 5))]
    labels = pa.array(["cat", "dog", "cat"]).dictionary_encode()
    dataset = read(save(tmp_path / "x.parquet", picture=images, kind=labels))
    assert dataset.train.samples.shape == (3, 1, 4, 5)
    assert dataset.train.labels.tolist() == ["cat", "dog", "cat"]


@pytest.mark.parametrize("inner", ["", "data", "plain_text"])
def test_a_folder_in_the_hugging_face_layout(tmp_path: Path, inner: str) -> None:
    root = tmp_path / "set"
    (root / inner).mkdir(parents=True, exist_ok=True)
    save(root / inner / "train-00000-of-00002.parquet", seed=1)
    save(root / inner / "train-00001-of-00002.parquet", seed=2, rows=4)
    save(root / inner / "validation-00000-of-00001.parquet", seed=3, rows=3)
    save(root / inner / "test-00000-of-00001.parquet", seed=4, rows=2)
    save(root / inner / "extra-00000-of-00001.parquet", seed=5)
    (root / "README.md").write_text("card")
    dataset = read(root)
    assert dataset.name == "set"
    assert {part.role: len(part.samples) for part in dataset.parts} == {"train": 10, "validation": 3, "test": 2}
    assert (dataset.train.samples[6:] == random_images(4, seed=2).transpose(0, 3, 1, 2)).all()
    assert dataset.train.labels.tolist() == LABELS + LABELS[:4]
    assert "train-00000-of-00002.parquet and 1 more" in dataset.train.source
    assert role(dataset, "test").source.endswith("test-00000-of-00001.parquet")


def test_files_without_a_part_in_their_names_are_all_trained_on(tmp_path: Path) -> None:
    save(tmp_path / "0.parquet", rows=3)
    save(tmp_path / "1.parquet", rows=4)
    dataset = read(tmp_path)
    assert {part.role: len(part.samples) for part in dataset.parts} == {"train": 7}


def test_hidden_files_are_no_part_of_the_data(tmp_path: Path) -> None:
    save(tmp_path / "train-0.parquet")
    (tmp_path / "._train-0.parquet").write_bytes(b"left by another system")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    save(tmp_path / ".ipynb_checkpoints" / "train-0-checkpoint.parquet")
    assert len(read(tmp_path).train.samples) == 6


def test_part_names_must_stand_alone(tmp_path: Path) -> None:
    save(tmp_path / "trainable.parquet", rows=3)
    save(tmp_path / "test.parquet", rows=4)
    with pytest.raises(DataError, match=r"must hold train\*\.parquet, found only test\.parquet, trainable\.parquet"):
        read(tmp_path)


def test_parquet_files_in_two_folders_are_ambiguous(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "train.parquet")
    with pytest.raises(DataError, match=r"one data set, but there are parquet files in '.*a', '.*b'"):
        read(tmp_path)


def test_images_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.parquet")
    first = read(path).train
    monkeypatch.setattr(reader_file, "decode_images", None)
    again = read(path).train
    assert (again.samples == first.samples).all()
    assert (again.labels == first.labels).all()
    with pytest.raises(TypeError):
        read(path, image_size=7)


def test_sizes_in_one_file_and_across_files(tmp_path: Path) -> None:
    images = pa.concat_arrays([structs(random_images(4)), structs(random_images(2, (6, 6, 3)))])
    path = save(tmp_path / "train-0.parquet", img=images, label=LABELS)
    with pytest.raises(DataError, match=r"4x5 \(4 images\), 6x6 \(2 images\)\. Give `image_size`"):
        read(path)
    assert read(path, image_size=8).train.samples.shape == (6, 3, 8, 8)
    save(tmp_path / "train-0.parquet")
    save(tmp_path / "train-1.parquet", shape=(6, 6, 3))
    with pytest.raises(DataError, match=r"got 4x5, 6x6 in different files"):
        read(tmp_path)


def test_grey_and_colour_files_are_joined_as_colour(tmp_path: Path) -> None:
    save(tmp_path / "train-0.parquet", shape=(4, 5))
    save(tmp_path / "train-1.parquet")
    images = read(tmp_path).train.samples
    assert images.shape == (12, 3, 4, 5)
    assert (images[:6, 0] == images[:6, 2]).all()


def test_more_rows_than_are_read_at_once(tmp_path: Path) -> None:
    count = 2 * reader_file._ROWS_AT_ONCE + 3
    images = random_images(count, (2, 2))
    path = save(tmp_path / "x.parquet", img=structs(images), label=[0, 1, 2] * (count // 3) + [0] * (count % 3))
    assert (read(path).train.samples[:, 0] == images).all()


def test_faults_name_the_file_and_the_row(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    images = [{"bytes": encoded(pixels), "path": None} for pixels in random_images(3)]
    kind = structs([]).type
    with pytest.raises(DataError, match=r"in row 1 of .*x\.parquet.*paths to other files are not followed"):
        read(save(path, img=pa.array([images[0], {"bytes": None, "path": "/etc/passwd"}], kind), label=[0, 1]))
    with pytest.raises(DataError, match=r"in row 1 of .*x\.parquet.*there are none"):
        read(save(path, img=pa.array([images[0], None], kind), label=[0, 1]))
    with pytest.raises(DataError, match=r"in row 2 of .*x\.parquet.* \(column 'img'\) cannot be decoded"):
        read(save(path, img=pa.array([*images[:2], {"bytes": b"text", "path": None}], kind), label=[0, 1, 0]))
    with pytest.raises(DataError, match=r"x\.parquet' must have a label, but 2 rows have none in column 'label'"):
        read(save(path, img=pa.array(images, kind), label=pa.array([0, None, None])))
    with pytest.raises(DataError, match=r"x\.parquet' must hold images, but it has none"):
        read(save(path, img=pa.array([], kind), label=pa.array([], pa.int64())))


def test_numbers_and_names_do_not_mix(tmp_path: Path) -> None:
    save(tmp_path / "train-0.parquet")
    save(tmp_path / "train-1.parquet", img=structs(random_images(2)), label=["a", "b"])
    with pytest.raises(DataError, match="some are numbers and some are names"):
        read(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"version https://git-lfs.github.com/spec/v1\n", b"PAR1" + b"\0" * 50]
)
def test_what_is_no_parquet_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet' cannot be read.*Download it again"):
        read(tmp_path / "x.parquet")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(save(tmp_path / "damaged.parquet").read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(1, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged.parquet").write_bytes(bytes(content))
    try:
        assert read(tmp_path / "damaged.parquet").train.samples.dtype == np.uint8
    except DataError as exc:
        assert "damaged.parquet" in str(exc)  # noqa: PT017 - either outcome is right


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r'x\.parquet.*pip install "offramp\[parquet\]"'):
        read(path)
