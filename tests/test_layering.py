"""Imports go one way, and the torch-free parts stay torch-free."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import offramp

SOURCE = Path(offramp.__file__).parent

LAYERS = [
    {"errors", "jsonio", "progress", "clock"},
    {"registry", "config", "workload", "exiting", "audio", "workers", "tracking"},
    {"space", "hardware"},
    {"nn", "cost", "objectives"},
    {"train", "search", "export", "report", "store"},
    {"evaluate", "study", "pricing"},
    {"build", "summarize", "pipeline", "result", "catalogue", "workplace", "hire", "detect"},
    {"cli", "cli_accelerators", "cli_deploy", "cli_detect", "cli_runs", "__main__", "__init__"},
]
# `objectives` holds costs in its evaluations, so it stands to the right of `cost` within its line.
ALLOWED_WITHIN_LINE = {
    ("jsonio", "errors"),
    ("progress", "errors"),
    ("config", "registry"),
    ("tracking", "registry"),
    ("config", "exiting"),
    ("exiting", "registry"),
    ("objectives", "cost"),
    ("pipeline", "build"),
    ("evaluate", "study"),
    ("workplace", "build"),
    ("hire", "workplace"),
    ("pipeline", "workplace"),
    ("pipeline", "hire"),
    ("pipeline", "summarize"),
    ("result", "pipeline"),
    ("result", "build"),
    ("cli", "cli_accelerators"),
    ("cli", "cli_deploy"),
    ("cli", "cli_detect"),
    ("cli_deploy", "cli_detect"),
    ("cli", "cli_runs"),
    ("__main__", "cli"),
}

TORCH_FREE = [
    "audio",
    "workload",
    "exiting",
    "space",
    "hardware",
    "cost",
    "objectives",
    "search",
    "store",
    "config",
    "report",
    "workers",
    "tracking",
]


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "offramp":
                names = [f"offramp.{alias.name}" for alias in node.names if (SOURCE / alias.name).exists()]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("offramp.")}
    return rooms


def line_of(room: str) -> int:
    for index, line in enumerate(LAYERS):
        if room in line:
            return index
    raise AssertionError(f"package {room!r} has no place in the import order")


FILES = sorted(path for path in SOURCE.rglob("*.py") if "testing" not in path.parts)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_only_from_the_left(path: Path) -> None:
    room = room_of(path)
    for imported in imported_rooms(path) - {room}:
        if (room, imported) in ALLOWED_WITHIN_LINE or imported == "__init__":
            continue
        assert line_of(imported) < line_of(room), f"{room} must not import {imported}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_torch_free_packages_load_without_torch() -> None:
    modules = sorted(
        ".".join(("offramp", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for path in FILES
        if room_of(path) in TORCH_FREE
    )
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'plotly', 'matplotlib', 'zigzag'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
