"""The faults of an accelerator file, collected with their places."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from offramp.errors import AcceleratorError
from offramp.hardware.block import Block, Path
from offramp.jsonio import shortened

_LONGEST_FAULT, _LONGEST, _MOST_LISTED = 400, 3000, 20
# Elements of these are named in places by their key or number: "memory 'sram'", "port 2".
_ELEMENTS = {"memories": "memory", "ports": "port", "entries": "entry"}


@dataclass
class Faults:
    """Everything that is wrong with one accelerator file and the files that it includes.

    Attributes:
        items: One clause per fault, each with its place, none twice.
    """

    items: list[str] = field(default_factory=list)

    def add(self, place: str, sentence: str) -> None:
        """Add one fault.

        Args:
            place: Where it is, such as ``core 'mac' memory 'sram'``; empty for the file as a whole.
            sentence: What must hold and what was given.
        """
        text = shortened(f"{place}: {sentence}" if place else sentence, _LONGEST_FAULT)
        if text not in self.items:
            self.items.append(text)

    def raise_if_any(self, name: str) -> None:
        """End the reading of a file that has faults.

        Args:
            name: The file's name, for the message.

        Raises:
            AcceleratorError: There is a fault; the message lists the first ones, and says how many there are.
        """
        if self.items:
            count = len(self.items)
            noun = "fault" if count == 1 else "faults"
            listed = "; ".join(self.items[:_MOST_LISTED])
            more = f"; and {count - _MOST_LISTED} more" if count > _MOST_LISTED else ""
            raise AcceleratorError(f"Accelerator '{name}' has {count} {noun}: {shortened(listed, _LONGEST)}{more}.")


B = TypeVar("B", bound=Block)


def read_block(
    kind: type[B], data: Any, place: str, faults: Faults, context: Mapping[str, Any] | None = None
) -> B | None:
    """Read one block.

    Args:
        kind: The dataclass of the block.
        data: Plain data from the file.
        place: Where the block stands, for faults; empty for the file itself.
        faults: Gets all faults of the block.
        context: What validators of the block need to know of the rest of the file.

    Returns:
        The block, or None where it has a fault.
    """
    try:
        return kind.read(data, context)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            faults.add(_place(place, error["loc"]), error["ctx"]["sentence"])
    return None


def _place(start: str, path: Path) -> str:
    text, container = start, ""
    for part in path:
        if container:
            text += f" {_ELEMENTS[container]} {part + 1 if isinstance(part, int) else repr(part)}"
            container = ""
        elif part in _ELEMENTS:
            container = str(part)
        else:
            text += f".{part}"
    return f"{text}.{container}".strip(" .")
