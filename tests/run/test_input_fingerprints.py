"""A run goes on with the very things that it was begun with, and names what changed."""

import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from offramp.algorithms.algorithm import ALGORITHMS
from offramp.errors import Interrupted, RunError
from offramp.hardware.loader import CATALOG
from offramp.progress import SilentReporter, Task
from offramp.records import read_run
from offramp.run import input_fingerprints
from offramp.run.api import search
from offramp.run.input_fingerprints import accepted_changes, with_absolute_paths
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from tests.conftest import small_config
from tests.data.samples import random_images, write_class_folders


class StopsAtTraining(SilentReporter):
    """Ctrl-C at the beginning of the work: the run folder is there, and nothing was computed."""

    @contextmanager
    def task(self, title: str) -> Iterator[Task]:
        if title.startswith("Training"):
            raise KeyboardInterrupt
        with super().task(title) as task:
            yield task


def write_data(path: Path, *, shift: int = 0, brighter: int = 0, names: tuple[str, ...] = ("a", "b")) -> Path:
    images = random_images(60, (8, 8)) // 2 + np.uint8(brighter)
    np.savez(path, x=images, y=(np.arange(60) + shift) % 2, class_names=np.array(names))
    return path


def begin(folder: Path, **settings: Any) -> Path:
    with pytest.raises(Interrupted, match="--resume"):
        search(small_config(**settings), run=folder / "run", reporter=StopsAtTraining())
    return folder / "run"


def goes_on(run: Path, **settings: Any) -> None:
    """The run is accepted: it comes as far as before."""
    with pytest.raises(Interrupted, match="--resume"):
        search(run=run, resume=True, reporter=StopsAtTraining(), **settings)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"shift": 1}, r"begun with another data: the content of the data '.*x\.npz' changed; the labels of the data"),
        ({"brighter": 1}, r"the content of the data '.*x\.npz' changed\. Put back"),
        ({"names": ("a", "c")}, "the class names of the data"),
    ],
)
def test_other_data_are_refused_and_what_changed_is_named(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    run = begin(tmp_path, data__source=str(write_data(tmp_path / "x.npz")))
    write_data(tmp_path / "x.npz", **change)
    for accept in (False, True):
        with pytest.raises(RunError, match=named):
            search(run=run, resume=True, accept_changes=accept)
    write_data(tmp_path / "x.npz")
    goes_on(run)


def test_a_changed_image_of_the_same_size_and_time_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "cache"))
    root = write_class_folders(tmp_path / "pets", {"cat": 20, "dog": 20}, (8, 8, 3))
    file = root / "cat" / "000.png"
    file.write_bytes(bmp := _bitmap(0))
    run = begin(tmp_path, data__source=str(root))
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_bytes(other := _bitmap(9))
    os.utime(file, ns=times)
    assert len(bmp) == len(other)
    with pytest.raises(RunError, match=r"the content of the data '.*pets' changed"):
        search(run=run, resume=True)


def _bitmap(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(random_images(1, (8, 8, 3), seed)[0]).save(buffer, "BMP")
    return buffer.getvalue()


def test_relative_paths_hold_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    write_data(first / "x.npz")
    shutil.copy(CATALOG / "mcu.yaml", first / "chip.yaml")
    (first / "licence.txt").write_text("Do as you like.")
    monkeypatch.chdir(first)
    run = begin(tmp_path, data__source="x.npz", cost__accelerator="chip.yaml", deploy__licence="licence.txt")
    monkeypatch.chdir(second)
    goes_on(run)


def test_a_new_place_with_the_same_content_is_accepted_and_kept(tmp_path: Path) -> None:
    run = begin(tmp_path, data__source=str(write_data(tmp_path / "x.npz")))
    (tmp_path / "x.npz").rename(tmp_path / "y.npz")
    with pytest.raises(RunError, match=r"x\.npz' \(data\.source\), which is not there any more.*--data"):
        search(run=run, resume=True)
    write_data(tmp_path / "z.npz", shift=1)
    with pytest.raises(RunError, match=r"the data '.*z\.npz' changed"):
        search(run=run, resume=True, data__source=str(tmp_path / "z.npz"))
    goes_on(run, data__source=str(tmp_path / "y.npz"))
    goes_on(run)
    store = read_run(run)
    assert store.config.data.source == str(tmp_path / "y.npz")
    store.close()


def test_another_accelerator_or_licence_is_refused(tmp_path: Path) -> None:
    chip, licence = tmp_path / "chip.yaml", tmp_path / "licence.txt"
    text = (CATALOG / "mcu.yaml").read_text()
    chip.write_text(text)
    licence.write_text("Do as you like.")
    run = begin(tmp_path, cost__accelerator=str(chip), deploy__licence=str(licence))
    chip.write_text(f"# A comment changes nothing.\n{text}")
    goes_on(run)
    chip.write_text(re.sub(r"bandwidth_bits: (\d+)", r"bandwidth_bits: 8", text))
    assert chip.read_text() != text
    with pytest.raises(RunError, match=r"another accelerator: the accelerator '.*chip\.yaml' has another content"):
        search(run=run, resume=True)
    chip.write_text(text)
    licence.write_text("Do nothing.")
    with pytest.raises(RunError, match=r"the licence '.*licence\.txt' has another content"):
        search(run=run, resume=True)


def test_other_versions_are_refused_unless_they_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tmp_path)
    now = input_fingerprints.version("torch")
    real = input_fingerprints.version
    monkeypatch.setattr(input_fingerprints, "version", lambda name: "9.9" if name == "torch" else real(name))
    with pytest.raises(RunError, match=rf"other versions: torch is 9\.9, was {re.escape(now)}\..*--accept-changes"):
        search(run=run, resume=True)
    goes_on(run, accept_changes=True)
    goes_on(run)
    store = read_run(run)
    assert accepted_changes(store) == (f"torch is 9.9, was {now}",)
    store.close()


def test_a_plug_in_whose_source_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "my_search.py"
    source = "from offramp.algorithms.random_search import RandomSearch\n\n\nclass Mine(RandomSearch):\n    pass\n"
    file.write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_search  # type: ignore[import-not-found]

    monkeypatch.setitem(ALGORITHMS._items, "mine", my_search.Mine)
    try:
        run = begin(tmp_path, search__algorithm="mine")
        goes_on(run)
        file.write_text(f"{source}\n# another rule\n")
        with pytest.raises(RunError, match=r"another plug-in: the plug-in 'mine' \(search algorithm\) changed"):
            search(run=run, resume=True)
    finally:
        sys.modules.pop("my_search")


def test_a_run_that_records_nothing_is_refused(tmp_path: Path) -> None:
    from offramp.records import create_run

    create_run(tmp_path / "run", small_config()).close()
    with pytest.raises(RunError, match="must record what it rests on"):
        search(run=tmp_path / "run", resume=True)


def test_names_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "mcu").mkdir()
    config = with_settings(Config(), data__source="digits", cost__accelerator="mcu", deploy__licence="CC-BY-4.0")
    assert with_absolute_paths(config) == config
