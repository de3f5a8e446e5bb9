"""Sound files to start from, small and different for every format."""

import io
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.io import savemat

from offramp.hardware.loader import CATALOG as CATALOG
from offramp.workload.graph import Workload
from tests.data.readers.test_cifar import archive, cifar10_files
from tests.data.readers.test_parquet import structs
from tests.data.samples import random_images, write_class_folders
from tests.hardware import samples
from tests.hardware.formats.test_stream_yaml import stream
from tests.tabular.toy_tables import write_toy_table
from tests.workload.from_onnx import onnx_samples
from tests.workload.from_onnx.batch.test_sample_shapes import time_first
from tests.workload.from_onnx.onnx_samples import workload_from_onnx
from tests.workload.from_onnx.subgraphs.test_written_out import three_exits

if TYPE_CHECKING:
    import torch

_NUM_IMAGES = 60


def old_core(folder: Path) -> None:
    samples.write(folder, _roomy(samples.zigzag_core("old")))


def new_core(folder: Path) -> None:
    samples.write(folder, _roomy(samples.zigzag_core("new")))


def imc_core(folder: Path) -> None:
    samples.write(folder, _roomy(samples.imc_core()))


def _roomy(core: dict[str, Any]) -> dict[str, Any]:
    """With room for the layers of `onnx_graph`."""
    core["memories"]["sram"]["size"] = 10_000_000
    return core


def mesh(folder: Path) -> None:
    stream(folder, 1, 2)
    for name in ("mac.yaml", "vector.yaml"):
        samples.write(folder, _roomy(samples.zigzag_core()), name)


def onnx_graph(folder: Path) -> None:
    shutil.move(onnx_samples.two_exits().save(folder), folder / "model.onnx")


def onnx_control_flow(folder: Path) -> None:
    shutil.move(three_exits().save(folder), folder / "model.onnx")


def onnx_batch(folder: Path) -> None:
    shutil.move(time_first(4).save(folder), folder / "model.onnx")


def workload(folder: Path) -> Workload:
    """A tiny early-exit workload, read from a file that is written into ``folder``."""
    onnx_graph(folder)
    return workload_from_onnx(folder / "model.onnx")


def parquet(folder: Path) -> None:
    (folder / "data").mkdir()
    columns = {"img": structs(random_images(_NUM_IMAGES, (8, 8, 3))), "label": _labels().tolist()}
    pq.write_table(pa.table(columns), folder / "data" / "train.parquet")


def npz(folder: Path) -> None:
    np.savez_compressed(folder / "data.npz", x_train=random_images(_NUM_IMAGES, (8, 8, 3)), y_train=_labels())


def table(folder: Path) -> None:
    write_toy_table(folder / "table.npz")


def table_header(folder: Path) -> None:
    """The header of a table as text, beside the table; `pack_table` puts it back."""
    table(folder)
    with zipfile.ZipFile(folder / "table.npz") as archive:
        content = np.load(io.BytesIO(archive.read("header.npy"))).tobytes()
    (folder / "header.json").write_bytes(content)


def pack_table(folder: Path) -> None:
    """Replace the header of a table by the content of ``header.json``."""
    header = io.BytesIO()
    np.save(header, np.frombuffer((folder / "header.json").read_bytes(), np.uint8))
    with zipfile.ZipFile(folder / "table.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "table.npz", "w") as archive:
        for name, content in {**members, "header.npy": header.getvalue()}.items():
            archive.writestr(name, content)


def image_folder(folder: Path) -> None:
    write_class_folders(folder / "images", {"a": 20, "b": 20}, (8, 8, 3))


def cifar(folder: Path) -> None:
    archive(folder / "cifar-10-binary.tar.gz", cifar10_files())


def svhn(folder: Path) -> None:
    images = np.moveaxis(random_images(_NUM_IMAGES, (32, 32, 3)), 0, -1)
    savemat(folder / "train_32x32.mat", {"X": images, "y": (np.arange(_NUM_IMAGES) % 10 + 1)[:, None].astype(np.uint8)})


def checkpoint(folder: Path) -> None:
    from offramp.train.checkpoint import LoopState, save_checkpoint

    save_checkpoint(folder / "weights.safetensors", small_module(), None, LoopState(2, 0.5, (1.0, 0.5)))


def small_module() -> "torch.nn.Module":
    import torch

    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2))


def _labels() -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.arange(_NUM_IMAGES, dtype=np.int64) % 3


def _series() -> np.ndarray:
    return np.random.default_rng(0).normal(50.0, 3.0, (_NUM_IMAGES, 2, 12))


def npz_series(folder: Path) -> None:
    lengths = np.arange(_NUM_IMAGES) % 5 + 8
    np.savez(folder / "data.npz", x_train=_series(), y_train=_labels(), lengths_train=lengths)


def npy(folder: Path) -> None:
    (folder / "data").mkdir()
    np.save(folder / "data" / "x.npy", _series())
    np.save(folder / "data" / "y.npy", _labels())


def csv(folder: Path) -> None:
    names = [f"{axis}{step}" for axis in "xy" for step in range(12)]
    values = _series().reshape(-1, 24).round(2)
    rows = [[*map(str, row), str(label)] for row, label in zip(values, _labels(), strict=True)]
    (folder / "data.csv").write_text("\n".join(",".join(row) for row in [[*names, "label"], *rows]) + "\n")


def long_csv(folder: Path) -> None:
    rows = [
        f"{number},{step},{value:.2f},{label}"
        for number, (one, label) in enumerate(zip(_series()[:, 0], _labels(), strict=True))
        for step, value in enumerate(one)
    ]
    (folder / "data.csv").write_text("\n".join(["id,time,value,label", *rows]) + "\n")


def ts(folder: Path) -> None:
    rows = [
        ":".join(",".join(f"{value:.2f}" for value in channel) for channel in one) + f":{label}"
        for one, label in zip(_series(), _labels(), strict=True)
    ]
    (folder / "Toy_TRAIN.ts").write_text("\n".join(["@problemName Toy", "@timeStamps false", "@data", *rows]) + "\n")


def parquet_table(folder: Path) -> None:
    (folder / "data").mkdir()
    columns = {f"x{step}": column for step, column in enumerate(_series()[:, 0].T.tolist())}
    pq.write_table(pa.table(columns | {"label": _labels().tolist()}), folder / "data" / "train.parquet")
