import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.data.raw_data import RawDataset
from offramp.data.readers import cifar
from offramp.data.readers.cifar import CifarReader
from offramp.errors import DataError
from tests.data.samples import options, role

NAMES10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TRAIN10 = [f"data_batch_{number}.bin" for number in range(1, 6)]


def records(num_labels: int, count: int, seed: int, num_classes: int = 10) -> bytes:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 256, (count, num_labels + 3072), dtype=np.uint8)
    for column in range(num_labels):
        table[:, column] = np.arange(count) % (num_classes // (1 if column == num_labels - 1 else 5))
    return table.tobytes()


def cifar10_files() -> dict[str, bytes]:
    files = {name: records(1, 20, seed) for seed, name in enumerate(TRAIN10)}
    names = ("\n".join(NAMES10) + "\n\n").encode()
    return files | {"test_batch.bin": records(1, 10, 9), "batches.meta.txt": names, "readme.html": b"<html>"}


def cifar100_files() -> dict[str, bytes]:
    return {
        "train.bin": records(2, 200, 1, 100),
        "test.bin": records(2, 100, 2, 100),
        "fine_label_names.txt": "\n".join(f"fine{n}" for n in range(100)).encode(),
        "coarse_label_names.txt": "\n".join(f"coarse{n}" for n in range(20)).encode(),
    }


def folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def archive(path: Path, files: dict[str, bytes], inside: str = "cifar-10-batches-bin/", mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(inside + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def read(path: Path, label_column: str | None = None) -> RawDataset:
    assert CifarReader().claims(path)
    return CifarReader().read(path, options(path.parent, label_column=label_column))


def check_cifar10(dataset: RawDataset) -> None:
    files = cifar10_files()
    assert dataset.name == "cifar10"
    assert dataset.class_names == tuple(NAMES10)
    assert [len(part.samples) for part in dataset.parts] == [100, 10]
    # Image 1 of batch 2 is image 21; its red plane begins after its label, its green one 1,024 bytes on.
    record = files["data_batch_2.bin"][3073:6146]
    assert dataset.train.labels[21] == record[0] == 1
    assert dataset.train.samples[21, 0, 0, :5].tolist() == list(record[1:6])
    assert dataset.train.samples[21, 1, 0, 0] == record[1 + 1024]
    assert dataset.train.samples[21, 0, 1, 0] == record[1 + 32]
    assert role(dataset, "test").labels.tolist() == list(range(10))


def test_a_folder_of_cifar10(tmp_path: Path) -> None:
    check_cifar10(read(folder(tmp_path, cifar10_files())))


def test_a_folder_around_the_folder(tmp_path: Path) -> None:
    folder(tmp_path / "cifar-10-batches-bin", cifar10_files())
    check_cifar10(read(tmp_path))
    folder(tmp_path / "cifar-100-binary", cifar100_files())
    with pytest.raises(DataError, match="one data set, got cifar-10-batches-bin, cifar-100-binary"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "mode"), [("c.tar.gz", "w:gz"), ("c.tgz", "w:gz"), ("c.tar", "w"), ("c.tar.xz", "w:xz")]
)
def test_the_archive_itself(tmp_path: Path, name: str, mode: str) -> None:
    check_cifar10(read(archive(tmp_path / name, cifar10_files(), mode=mode)))


def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path) -> None:
    path = folder(tmp_path, cifar100_files())
    fine = read(path)
    assert (fine.name, len(fine.class_names or ()), fine.train.labels[150]) == ("cifar100", 100, 50)
    for name in ("coarse", "coarse_label"):
        coarse = read(path, name)
        assert (len(coarse.class_names or ()), coarse.train.labels[150]) == (20, 10)
    assert (fine.train.samples == coarse.train.samples).all()
    with pytest.raises(DataError, match="no labels 'rough'; `label_column` may be coarse, fine"):
        read(path, "rough")


def test_missing_names_are_no_fault_and_broken_ones_are(tmp_path: Path) -> None:
    files = cifar10_files()
    del files["batches.meta.txt"]
    path = folder(tmp_path, files)
    assert read(path).class_names is None
    (path / "batches.meta.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"batches\.meta\.txt in .* must be text"):
        read(path)
    (path / "batches.meta.txt").write_bytes(b"\n\n")
    with pytest.raises(DataError, match="1 to 256 classes, got 0"):
        read(path)


def test_a_missing_or_short_file_is_named(tmp_path: Path) -> None:
    path = folder(tmp_path, cifar10_files())
    file = path / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_3\.bin in .* records of 3073 bytes, but it has 61459 bytes"):
        read(path)
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"data_batch_3\.bin .* has 0 bytes"):
        read(path)
    file.unlink()
    with pytest.raises(DataError, match=r"but data_batch_3\.bin is missing \(found batches\.meta\.txt"):
        read(path)
    with pytest.raises(DataError, match=r"one file of an archive; name the folder"):
        read(path / "data_batch_1.bin")


@pytest.mark.parametrize("names", [["data_batch_1", "test_batch", "batches.meta"], ["train", "test", "meta"]])
def test_pickles_are_refused_and_never_run(tmp_path: Path, names: list[str]) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    files = dict.fromkeys(names, pickle.dumps(Bomb()))
    sources = [
        folder(tmp_path / "plain", files),
        archive(tmp_path / "cifar-python.tar.gz", files, "cifar-10-batches-py/"),
        tmp_path / "train.pkl",
    ]
    folder(tmp_path, {"train.pkl": pickle.dumps(Bomb())})
    folder(tmp_path / "around" / "cifar-10-batches-py", files)
    for source in (*sources, tmp_path / "around"):
        with pytest.raises(DataError, match=r"pickles.*never does\. Use the binary version"):
            read(source)
    assert not (tmp_path / "ran").exists()


def test_nothing_leaves_the_archive(tmp_path: Path) -> None:
    before = cifar10_files()
    path = archive(tmp_path / "c.tar.gz", before, "../../../")
    check_cifar10(read(path))
    assert os.listdir(tmp_path) == ["c.tar.gz"]  # noqa: PTH208 - names are all that matters


def test_links_and_folders_in_an_archive_are_no_files(tmp_path: Path) -> None:
    path = tmp_path / "c.tar"
    secret = tmp_path / "secret"
    secret.write_bytes(records(1, 20, 0))
    with tarfile.open(path, "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo("data_batch_1.bin")
            member.type, member.linkname = kind, str(secret)
            tar.addfile(member)
    with pytest.raises(DataError, match=r"data_batch_1\.bin, .* is missing \(found none of them\)"):
        read(path)


def test_size_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "c.tar.gz", cifar10_files())
    plain = folder(tmp_path / "c", cifar10_files())
    monkeypatch.setattr(cifar, "_MAX_MEMBER_BYTES", 50_000)
    for source in (path, plain):
        with pytest.raises(DataError, match=r"data_batch_1\.bin.* must have at most 50000 bytes, got 61460"):
            read(source)
    monkeypatch.setattr(cifar, "_MAX_ARCHIVE_BYTES", 40_000)
    with pytest.raises(DataError, match=r"must unpack to at most 40000 bytes"):
        read(path)


def test_a_file_that_is_there_twice(tmp_path: Path) -> None:
    files = cifar10_files()
    path = archive(tmp_path / "c.tar", files | {"other/test_batch.bin": files["test_batch.bin"]}, mode="w")
    with pytest.raises(DataError, match=r"must hold test_batch\.bin once"):
        read(path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 0.999), st.sampled_from(["w", "w:gz", "w:bz2"]))
def test_an_archive_cut_short_is_named(tmp_path: Path, share: float, mode: str) -> None:
    # The last blocks of a plain tar are padding: cutting those loses nothing.
    path = tmp_path / "cut.tar"
    content = archive(
        path, {name: data for name, data in cifar10_files().items() if len(data) > 9}, mode=mode
    ).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    try:
        check_cifar10(read(path))
    except DataError as exc:
        assert "cut.tar" in str(exc)  # noqa: PT017 - either outcome is right
    else:
        assert mode == "w"
        assert share > 0.9


def test_text_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_text("not found")
    with pytest.raises(DataError, match=r"x\.tar\.gz' cannot be unpacked.*Download it again"):
        read(tmp_path / "x.tar.gz")
