"""The reader of docs/how-to/add-a-data-reader.md works as it stands, registered by an import and by an entry point."""

import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from offramp.data.raw_data import READERS
from offramp.testing import reader_conformance
from offramp.testing.reader_conformance import CHECKS
from tests.data.samples import random_images

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "add-a-data-reader.md"


def code() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    return str(block)


def write_idx(folder: Path) -> Path:
    """Images of 6x5 pixels of four classes in the format of MNIST."""
    folder.mkdir()
    for prefix, count in (("train", 60), ("t10k", 20)):
        images = random_images(count, (6, 5))
        labels = (np.arange(count) % 4).astype(np.uint8)
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
            (folder / f"{prefix}-{kind}-ubyte").write_bytes(head + values.tobytes())
    return folder


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    list(READERS)
    monkeypatch.setattr(READERS, "_items", dict(READERS._items))
    module = ModuleType("idx_reader")
    exec(code(), module.__dict__)
    return module


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_worked_example_passes_the_checks(
    registered: ModuleType, check: Callable[[str, Path, Path], None], tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()
    check("idx", write_idx(tmp_path / "mnist"), tmp_path / "scratch")


def test_the_worked_example_is_found_as_an_entry_point(tmp_path: Path) -> None:
    """As after `pip install`, in a fresh process."""
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("")
    (tmp_path / "my_package" / "idx_reader.py").write_text(code())
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (announced,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
    section, entry = announced.strip().splitlines()
    group = section.split('"')[1]
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")
    data = write_idx(tmp_path / "mnist")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from offramp.data.dataset_loading import load_dataset\n"
        f"data = load_dataset({str(data)!r}, seed=0)\n"
        "print(data.num_classes, data.input_shape, len(data.splits.test.labels))\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert shown.stdout.strip() == "4 (1, 6, 5) 20", shown.stderr


def test_the_checks_find_what_is_wrong(registered: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that takes what is there of a cut file, one that lets errors through, and one that claims everything."""
    sample = write_idx(tmp_path / "mnist")

    def padded(file: Path, axes: int) -> np.ndarray:
        shape = (60 if file.name.startswith("train") else 20, 6, 5)[:axes]
        size = int(np.prod(shape))
        data = file.read_bytes()[4 + 4 * axes :].ljust(size, b"\0")[:size]
        return np.frombuffer(data, dtype=np.uint8).reshape(shape)

    def careless(file: Path, axes: int) -> np.ndarray:
        data, start = file.read_bytes(), 4 + 4 * axes
        return np.frombuffer(data[start:], dtype=np.uint8).reshape(np.frombuffer(data[4:start], dtype=">u4"))

    for number, (wrong, message) in enumerate(
        ((padded, "as if nothing were wrong"), (careless, "must raise DataError"))
    ):
        monkeypatch.setattr(registered, "values", wrong)
        scratch = tmp_path / f"scratch {number}"
        scratch.mkdir()
        with pytest.raises(AssertionError, match=message):
            reader_conformance.check_damage("idx", sample, scratch)
    monkeypatch.setattr(READERS.get("npz"), "claims", lambda path: True, raising=False)
    scratch = tmp_path / "claims"
    scratch.mkdir()
    with pytest.raises(AssertionError, match="alone must claim"):
        reader_conformance.check_claims("idx", sample, scratch)
