"""Accelerators by catalogue name or from a YAML file: offramp's own format, ZigZag's and Stream's."""

from pathlib import Path

from offramp.errors import UnknownNameError
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.formats.offramp_yaml import read_offramp
from offramp.hardware.formats.runner_yaml import read_runner
from offramp.hardware.formats.stream_yaml import is_stream, read_stream
from offramp.hardware.formats.yaml_file import read_yaml
from offramp.hardware.formats.zigzag_yaml import read_zigzag
from offramp.registry import unknown_name_message

CATALOG = Path(__file__).parent / "catalog"


def accelerator_names() -> list[str]:
    """Names of the shipped accelerators, sorted."""
    return sorted(path.stem for path in CATALOG.glob("*.yaml"))


def load_accelerator(name_or_path: str | Path) -> Accelerator:
    """A shipped accelerator by its name, or one from a YAML file.

    Args:
        name_or_path: A name of `accelerator_names`, or the path of a file in offramp's own format, ZigZag's or
            Stream's.

    Returns:
        The accelerator. The file is read at each call.

    Raises:
        UnknownNameError: An empty name, or a word that is neither a shipped accelerator nor a file.
        AcceleratorError: The file cannot be read or has faults; the message lists all of them.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and not text.strip():
        raise UnknownNameError(
            f"The accelerator must be a name or the path of a file, got an empty one. Known: "
            f"{', '.join(accelerator_names())}."
        )
    if isinstance(name_or_path, str) and text in accelerator_names():
        return _load_file(CATALOG / f"{text}.yaml")
    path = Path(name_or_path)
    looks_like_name = len(path.parts) <= 1 and path.suffix.lower() not in (".yaml", ".yml")
    if isinstance(name_or_path, str) and looks_like_name and not _exists(path):
        message = unknown_name_message("accelerator", text, accelerator_names())
        raise UnknownNameError(f"{message} A description of your own is given as a path to its YAML file.")
    return _load_file(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, no permission, a zero byte
        return False


def _load_file(path: Path) -> Accelerator:
    file = read_yaml(path)
    data = {key: value for key, value in file.data.items() if value is not None}
    if "runner" in data:
        return read_runner(data, path.name, file.doubtful)
    if "schema" not in data and "memories" in data:
        # Files of ZigZag and Stream give keys twice; the last one counts, as it does there.
        return read_zigzag(file.data, path.name)
    if "schema" not in data and is_stream(data):
        return read_stream(file.data, path)
    return read_offramp(file.data, path.name, file.doubtful)
