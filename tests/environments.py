"""Environments of other package versions, and a smoke test in each: ``python -m tests.environments [NAME ...]``.

Without names, all environments are tried. Each is a virtual environment in ``.environments``; it is made anew only when
its packages change. An environment whose packages pip cannot get here is left out, and that is said.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".environments"

# What a session of a bundle needs; torch and the rest of offramp's requirements stay away.
_SESSION = ("onnxruntime", "numpy", "onnx", "pydantic", "pillow")
_TOOLS = ("numpy", "onnx", "onnxslim", "onnxsim", "openvino", "netron")
# The oldest onnxruntime of each kind of bundle, and the oldest onnx that reads it; both may be older than what a
# search needs.
_OLDEST = {"oldest": ("1.15.0", "1.17"), "4-bit": ("1.23.0", "1.17"), "ternary": ("1.24.1", "1.20")}


@dataclass(frozen=True)
class Environment:
    """A set of package versions and the script that is run with them.

    Attributes:
        name: Its name.
        packages: Requirements for pip.
        script: A script of this folder. It is given the path of a folder with bundles.
        installs_offramp: Whether offramp is installed, too, as a search needs for its version; else its source is used.
    """

    name: str
    packages: tuple[str, ...]
    script: str
    installs_offramp: bool = False


def environments() -> dict[str, Environment]:
    """The environments by name.

    Files are read with other tools. Sessions are tried with the oldest onnxruntime of each kind of bundle and the lower
    bounds of pyproject.toml, and with the newest packages; a whole search likewise.
    """
    bounds = lower_bounds()
    others = tuple(f"{name}=={bounds[name]}" for name in _SESSION if not name.startswith("onnx"))
    made = [
        Environment(f"session-{kind}", (f"onnxruntime=={runtime}", f"onnx=={onnx}", *others), "smoke_session.py")
        for kind, (runtime, onnx) in _OLDEST.items()
    ]
    made.append(Environment("tools", _TOOLS, "smoke_tools.py"))
    made.append(Environment("session-newest", _SESSION, "smoke_session.py"))
    made.append(Environment("search-oldest", tuple(f"{n}=={v}" for n, v in bounds.items()), "smoke_search.py", True))
    made.append(Environment("search-newest", tuple(bounds), "smoke_search.py", True))
    return {item.name: item for item in made}


def lower_bounds() -> dict[str, str]:
    """The oldest version of every requirement, from pyproject.toml."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = dict(re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+)", item).groups() for item in stated)  # type: ignore[union-attr]
    assert len(found) == len(stated)
    return found


def python_of(environment: Environment) -> Path:
    """Make the environment where it is not up to date.

    Args:
        environment: The environment.

    Returns:
        Its interpreter.
    """
    folder = FOLDER / environment.name
    python, stamp = folder / "bin" / "python", folder / "packages.txt"
    wanted = "\n".join((sys.version, *environment.packages))
    if not stamp.is_file() or stamp.read_text() != wanted:
        venv.create(folder, clear=True, with_pip=True)
        # The versions of constraints.txt, where pip is told of it, are not those to be tried.
        variables = {**os.environ, "PIP_CONSTRAINT": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        install = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *environment.packages], check=True, env=variables)
        if environment.installs_offramp:
            # Without its requirements, which are those to be tried.
            subprocess.run([*install, "--no-deps", "--editable", str(ROOT)], check=True, env=variables)
        stamp.write_text(wanted)
    return python


def run(environment: Environment, bundles: Path) -> bool:
    """Run the smoke test of an environment.

    Args:
        environment: The environment.
        bundles: A folder with bundles, see `write_bundles`.

    Returns:
        Whether it passed, or could not be tried.
    """
    print(f"{environment.name}:", flush=True)
    try:
        python = python_of(environment)
    except subprocess.CalledProcessError:
        print(f"{environment.name} is left out: pip cannot install {', '.join(environment.packages)} here.", flush=True)
        return True
    variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [str(python), str(Path(__file__).parent / environment.script), str(bundles)]
    return subprocess.run(command, check=False, env=variables).returncode == 0


def write_bundles(folder: Path) -> None:
    """Write a bundle of every kind, and a detector, with the packages of this environment.

    Args:
        folder: An empty folder.
    """
    from tests.anomaly.detector_samples import write_toy_detector
    from tests.deploy.bundle_kinds import PRECISIONS, write_kind

    for kind in PRECISIONS:
        write_kind(kind, folder)
    write_toy_detector(folder / "detector")


def _failed(names: list[str]) -> Iterator[str]:
    known = environments()
    with tempfile.TemporaryDirectory() as folder:
        write_bundles(Path(folder))
        for name in names or known:
            if not run(known[name], Path(folder)):
                yield name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(environments()))
    failed = list(_failed(parser.parse_args().names))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
