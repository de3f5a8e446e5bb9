"""Commands end well on consoles whose encoding lacks what they print."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from offramp.cli.console import accept_all_characters
from offramp.cli.main import main
from tests.deploy import toys
from tests.deploy.conftest import export

ENCODINGS = ["ascii", "cp437", "cp932", "latin-1", "utf-8"]


class Console:
    """Both streams as a console of some encoding has them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
        self.out, self.err = io.BytesIO(), io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(self.out, encoding=encoding, write_through=True))
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(self.err, encoding=encoding, write_through=True))


def run(console: Console, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["offramp", *map(str, words)])
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_commands_print_tables_on_any_console(
    encoding: str, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = next((finished_run / "chosen").glob("*/bundle"))
    model = bundle / "model.onnx"
    for words in (
        ("front", finished_run),
        ("watch", finished_run, "--once"),
        ("cost", model),
        ("accelerators", "check", "mcu"),
        ("list", "settings"),
        ("bench", bundle, "--rounds", "2"),
    ):
        console = Console(monkeypatch, encoding)
        code = run(console, monkeypatch, *words)
        assert (code, console.err.getvalue()) == (0, b""), words
        assert console.out.getvalue().decode(encoding).strip(), words


@pytest.mark.parametrize("encoding", ["ascii", "cp932"])
def test_names_that_cannot_be_written_are_replaced(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("h\xe9risson", "\u0436\u0443\u043a", "c", "d", "\U0001f98a")
    bundle = export(toys.network(), tmp_path / "bundle", class_names=names).path
    image = tmp_path / "\xfcber\u200b.png"
    Image.fromarray(np.zeros((12, 10, 3), np.uint8)).save(image)
    console = Console(monkeypatch, encoding)
    assert run(console, monkeypatch, "predict", bundle, image) == 0
    assert "left at exit" in console.out.getvalue().decode(encoding)
    console = Console(monkeypatch, encoding)
    assert run(console, monkeypatch, "predict", bundle, tmp_path / "n\xf6.png") == 2
    assert console.err.getvalue().decode(encoding).startswith("offramp: Image")


def test_look_alikes_keep_the_width_and_bytes_of_file_names_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(monkeypatch, "ascii")
    accept_all_characters()
    print("\u2502\u2500\u25cf 5\u202f\xb5J \xd7 \u732b")
    print(os.fsdecode(b"caf\xe9.png"))
    assert console.out.getvalue() == b"|-* 5 uJ x ?\ncaf\xe9.png\n"
