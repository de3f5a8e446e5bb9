"""Readers pass the checks of `offramp.testing.reader_conformance`, each on a small data set in its format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offramp.testing.reader_conformance import CHECKS
from tests.data.samples import encoded, random_images, write_class_folders

Check = Callable[[str, Path, Path], None]
PER_CLASS = 12


def npz(root: Path) -> Path:
    labels = np.arange(4 * PER_CLASS) % 4
    np.savez(root / "sample.npz", x=random_images(len(labels)), y=labels, class_names=np.array(["a", "b", "c", "d"]))
    return root / "sample.npz"


def image_folder(root: Path) -> Path:
    return write_class_folders(root / "sample", {"cat": PER_CLASS, "dog": PER_CLASS})


def cifar(root: Path) -> Path:
    """Records of a label and 3 x 32 x 32 pixels."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for number, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        labels = (np.arange(20) % 10).astype(np.uint8)
        (folder / name).write_bytes(np.column_stack([labels, random_images(20, (3072,), seed=number)]).tobytes())
    (folder / "batches.meta.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    return folder


def parquet(root: Path) -> Path:
    images = [{"bytes": encoded(pixels)} for pixels in random_images(4 * PER_CLASS)]
    table = pa.table({"image": images, "label": [i % 4 for i in range(len(images))]})
    pq.write_table(table, root / "sample.parquet")
    return root / "sample.parquet"


def npy(root: Path) -> Path:
    (root / "sample").mkdir()
    labels = np.arange(4 * PER_CLASS) % 4
    np.save(root / "sample" / "x.npy", np.random.default_rng(0).normal(size=(len(labels), 2, 9)))
    np.save(root / "sample" / "y.npy", labels)
    return root / "sample"


def csv(root: Path) -> Path:
    rows = [f"{number},{number * 0.5},{'ab'[number % 2]}" for number in range(4 * PER_CLASS)]
    (root / "sample.csv").write_text("\n".join(["width,height,label", *rows]) + "\n")
    return root / "sample.csv"


def ts(root: Path) -> Path:
    rows = [f"{number},{number * 0.5},3:4,5,{number}:{'ab'[number % 2]}" for number in range(4 * PER_CLASS)]
    (root / "sample.ts").write_text("\n".join(["@classLabel true a b", "@data", *rows]) + "\n")
    return root / "sample.ts"


SAMPLES: dict[str, Callable[[Path], Path]] = {
    "npz": npz,
    "npy": npy,
    "csv": csv,
    "ts": ts,
    "image_folder": image_folder,
    "cifar": cifar,
    "parquet": parquet,
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SAMPLES)
def test_conformance(name: str, check: Check, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "data").mkdir()
    check(name, SAMPLES[name](tmp_path / "data"), tmp_path / "scratch")
