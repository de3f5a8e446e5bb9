"""Accelerators by catalogue name or from a YAML file: offramp's own format, ZigZag's and Stream's."""

from pathlib import Path

from offramp.errors import UnknownNameError
from offramp.hardware.accelerator import Accelerator, CoreKind
from offramp.hardware.formats.offramp_yaml import read_offramp
from offramp.hardware.formats.stream_yaml import read_stream
from offramp.hardware.formats.yaml_fields import Faults, Section, read_yaml
from offramp.hardware.formats.zigzag_yaml import read_core
from offramp.registry import unknown_name_message

CATALOG = Path(__file__).parent / "catalog"


def accelerator_names() -> list[str]:
    """Names of the shipped accelerators, sorted."""
    return sorted(path.stem for path in CATALOG.glob("*.yaml"))


def load_accelerator(name_or_path: str | Path) -> Accelerator:
    """A shipped accelerator by its name, or one from a YAML file.

    Raises AcceleratorError, one sentence with all faults of the file, or UnknownNameError for a word that is neither a
    shipped accelerator nor a file.
    """
    text = str(name_or_path)
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
    root = Section(file.data, "", Faults())
    if "schema" in root:
        return read_offramp(root, path.name, file.repeated_keys)
    if "memories" in root:
        return _read_zigzag(root, path)
    if isinstance(file.data.get("cores"), list) or "graph" in root:
        return read_stream(root, path)
    return read_offramp(root, path.name, file.repeated_keys)


def _read_zigzag(root: Section, path: Path) -> Accelerator:
    """A file that describes one core: an accelerator of that core alone."""
    name = root.text("name")
    core = read_core(root, name, CoreKind.COMPUTE, source=path.name)
    root.done()
    root.faults.raise_if_any(path.name)
    return Accelerator(
        name=name,
        cores=(core,),
        links=(),
        description=f"Read from ZigZag's {path.name}.",
        sources=(f"Figures as given in {path.name}.",),
    )
