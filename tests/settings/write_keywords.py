"""Writes ``offramp.settings.keywords`` from the fields: ``python -m tests.settings.write_keywords``."""

import textwrap
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import offramp
from offramp.settings.by_name import SECTIONS
from offramp.settings.config import Config

TARGET = Path(offramp.__file__).parent / "settings" / "keywords.py"

_HEAD = '''"""Settings as keywords of a call; written by ``python -m tests.settings.write_keywords``, not by hand."""

from typing import Literal, TypedDict

{imports}


class KeywordSettings(TypedDict, total=False):
    """Settings by keyword: whole sections, or single settings with two underscores for the dot.

    Attributes:
{attributes}
    """

'''


def written() -> str:
    """The text of the module, as the settings are now."""
    imports = (
        f"from offramp.settings.{name}_config import {kind.__name__}"
        for name, kind in SECTIONS.items()
        if name != "data"
    )
    fields = {"seed": Config.model_fields["seed"], **{name: Config.model_fields[name] for name in SECTIONS}}
    for name, kind in SECTIONS.items():
        fields |= {f"{name}__{field}": info for field, info in kind.model_fields.items()}
    attributes = (entry(name, info.description or "") for name, info in fields.items())
    head = _HEAD.format(imports="\n".join(sorted(imports)), attributes="\n".join(attributes))
    # Data may also be given themselves, in forms that no type names.
    kinds = {name: "object" if name == "data" else spelled(info.annotation) for name, info in fields.items()}
    return head + "".join(f"    {name}: {kind}\n" for name, kind in kinds.items())


def entry(name: str, description: str) -> str:
    """The lines of a docstring that describe one keyword."""
    return textwrap.fill(
        f"{name}: {description}", 120, initial_indent=" " * 8, subsequent_indent=" " * 12, break_long_words=False
    )


def spelled(annotation: Any) -> str:
    """A type as source text; where the settings have a tuple, a list may be given, too."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is types.NoneType:
        return "None"
    if origin is Annotated:
        return spelled(parts[0])
    if origin in (Union, types.UnionType):
        return " | ".join(map(spelled, parts))
    if origin is Literal:
        return f"Literal[{', '.join(f'{chr(34)}{part}{chr(34)}' for part in parts)}]"
    if origin is tuple:
        item = spelled(parts[0])
        return f"tuple[{item}, ...] | list[{item}]"
    if origin is dict:
        return f"dict[{', '.join(map(spelled, parts))}]"
    return str(annotation.__name__)


if __name__ == "__main__":
    TARGET.write_text(written())
