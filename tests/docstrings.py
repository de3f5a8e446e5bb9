"""What docstrings leave out: ``python -m tests.docstrings`` counts it by package, with a package's name it lists it.

Every public function, method and class of ``src/offramp`` has a docstring in Google style. It documents each parameter
(``Args:``), the result (``Returns:`` or ``Yields:``), each error that the body raises (``Raises:``) and, for classes
with declared fields, each field (``Attributes:``). A ``help=`` of a command's option and a ``description=`` of a
setting count as well, and a method that overrides another or implements a protocol is documented there.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from tests.structure import MODULES, room_of

Function = ast.FunctionDef | ast.AsyncFunctionDef

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example", "Examples", "Note", "Source")
# Classes with declared fields: a base of theirs, or of one of their bases in the package.
FIELD_BASES = {"BaseModel", "NamedTuple", "Protocol", "TypedDict"}
# Methods that torch calls, with its meaning.
OF_TORCH = {"forward", "backward", "train", "extra_repr", "reset_parameters"}


@dataclass(frozen=True)
class Gap:
    """Something public that a docstring does not document, or an entry without a counterpart."""

    module: str
    line: int
    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.name}: {self.what}"


def gaps_of(module: str) -> list[Gap]:
    """The gaps of a module of the package."""
    return gaps_in(ast.parse(MODULES[module].read_text()), module)


def gaps_in(tree: ast.Module, module: str) -> list[Gap]:
    """The gaps of a module's source."""
    return [Gap(module, line, name, what) for line, name, what in _of_body(tree.body, "", None)]


def _of_body(body: list[ast.stmt], prefix: str, owner: ast.ClassDef | None) -> Iterator[tuple[int, str, str]]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for what in _of_class(node):
                yield node.lineno, prefix + node.name, what
            yield from _of_body(node.body, f"{prefix}{node.name}.", node)
        elif isinstance(node, Function) and not node.name.startswith("_") and not _is_exempt(node, owner):
            for what in _of_function(node, owner is not None):
                yield node.lineno, prefix + node.name, what


def _of_class(node: ast.ClassDef) -> Iterator[str]:
    text = ast.get_docstring(node)
    if not text:
        yield "no docstring"
        return
    sections = sections_of(text)
    if _has_fields(node):
        yield from _differences("attribute", _fields(node), sections.get("Attributes", {}), own=_inherited_fields(node))
    init = next((part for part in node.body if isinstance(part, Function) and part.name == "__init__"), None)
    if init is not None:
        documented = {**sections.get("Args", {}), **sections_of(ast.get_docstring(init) or "").get("Args", {})}
        yield from _differences("parameter", _parameters(init, True), documented)


def _of_function(node: Function, is_method: bool) -> Iterator[str]:
    text = ast.get_docstring(node)
    if not text:
        yield "no docstring"
        return
    sections = sections_of(text)
    parameters = _parameters(node, is_method and "staticmethod" not in _decorators(node))
    yield from _differences("parameter", parameters, sections.get("Args", {}))
    if parameters and _gives_something(node) and not {"Returns", "Yields"} & set(sections):
        yield "no Returns:"
    raised, documented = _raised(node), set(sections.get("Raises", {}))
    yield from (f"no Raises: for {name}" for name in sorted(raised - documented))


def _differences(
    kind: str, names: dict[str, bool], documented: dict[str, str], own: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Names without an entry (unless documented where they are declared), and entries without a name."""
    yield from (f"{kind} {name}" for name, declared in names.items() if not declared and name not in documented)
    yield from (f"{kind} {name} is not there" for name in documented if name not in names and name not in own)


def sections_of(text: str) -> dict[str, dict[str, str]]:
    """Sections of a docstring in Google style.

    Args:
        text: the docstring without its indentation.

    Returns:
        Section names to entries; an entry is what stands before its first colon and the rest of that line. The entries
        of `Returns`, `Yields` and other free text have the empty name.
    """
    found: dict[str, dict[str, str]] = {}
    current = None
    for line in text.splitlines():
        heading = re.fullmatch(r"(\w+):", line)
        if heading and heading[1] in SECTIONS:
            current = found.setdefault(heading[1], {})
        elif line and not line.startswith(" "):
            current = None
        elif current is not None and (
            entry := re.match(r"    (\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*)(?: \([^)]*\))?: (.+)", line)
        ):
            current.update({name.strip(" *").split(".")[-1]: entry[2] for name in entry[1].split(",")})
        elif current is not None and line.strip():
            current.setdefault("", line.strip())
    # Free text is no entry of a section that lists names.
    return {
        name: {k: v for k, v in entries.items() if k} if name in ("Args", "Attributes", "Raises") else entries
        for name, entries in found.items()
    }


def _parameters(node: Function, skip_first: bool) -> dict[str, bool]:
    """Names of parameters, and whether each is documented where it is declared."""
    arguments = [*node.args.posonlyargs, *node.args.args][1 if skip_first else 0 :] + node.args.kwonlyargs
    arguments += [extra for extra in (node.args.vararg, node.args.kwarg) if extra is not None]
    return {a.arg: _says(a.annotation, "help") for a in arguments if not a.arg.startswith("_")}


def _fields(node: ast.ClassDef) -> dict[str, bool]:
    return {
        part.target.id: _says(part.value, "description") or _says(part.annotation, "description")
        for part in node.body
        if isinstance(part, ast.AnnAssign)
        and isinstance(part.target, ast.Name)
        and not part.target.id.startswith("_")
        and "ClassVar" not in ast.unparse(part.annotation)
    }


def _says(node: ast.expr | None, keyword: str) -> bool:
    return node is not None and any(isinstance(part, ast.keyword) and part.arg == keyword for part in ast.walk(node))


def _raised(node: Function) -> set[str]:
    """Classes of the errors that a function raises itself, not in functions inside it."""
    found, left = set(), list(node.body)
    while left:
        part: ast.AST = left.pop()
        if isinstance(part, ast.Raise) and part.exc is not None:
            error = part.exc.func if isinstance(part.exc, ast.Call) else part.exc
            name = ast.unparse(error).split(".")[-1]
            if name[:1].isupper() and name != "NotImplementedError":
                found.add(name)
        if not isinstance(part, Function | ast.Lambda | ast.ClassDef):
            left.extend(ast.iter_child_nodes(part))  # type: ignore[arg-type]
    return found


def _gives_something(node: Function) -> bool:
    return node.returns is not None and ast.unparse(node.returns) not in ("None", "NoReturn", "Never")


def _decorators(node: Function | ast.ClassDef) -> set[str]:
    return {re.split(r"[(\[]", ast.unparse(decorator))[0].split(".")[-1] for decorator in node.decorator_list}


def _bases(node: ast.ClassDef) -> list[str]:
    return [re.split(r"[(\[]", ast.unparse(base))[0].split(".")[-1] for base in node.bases]


@cache
def _classes() -> dict[str, list[ast.ClassDef]]:
    """All classes of the package by name; two of one name stand for each other."""
    found: dict[str, list[ast.ClassDef]] = {}
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def _ancestors(node: ast.ClassDef) -> Iterator[ast.ClassDef]:
    for name in _bases(node):
        for base in _classes().get(name, []):
            if base.name != node.name:
                yield base
                yield from _ancestors(base)


def _has_fields(node: ast.ClassDef) -> bool:
    family = [node, *_ancestors(node)]
    return any("dataclass" in _decorators(each) or FIELD_BASES & set(_bases(each)) for each in family)


def _inherited_fields(node: ast.ClassDef) -> frozenset[str]:
    """Fields of bases, and properties: they may be documented again."""
    properties = {part.name for part in node.body if isinstance(part, Function) and _is_property(part)}
    return frozenset(properties.union(*(_fields(base) for base in _ancestors(node))))


def _is_property(node: Function) -> bool:
    return bool(_decorators(node) & {"property", "cached_property"})


@cache
def _protocol_methods() -> dict[str, list[list[str]]]:
    """Methods of the package's protocols: names to the parameters of each."""
    found: dict[str, list[list[str]]] = {}
    for node in (each for group in _classes().values() for each in group if "Protocol" in _bases(each)):
        for part in node.body:
            if isinstance(part, Function):
                found.setdefault(part.name, []).append(list(_parameters(part, True)))
    return found


def _is_exempt(node: Function, owner: ast.ClassDef | None) -> bool:
    """Variants of a signature, and methods that a base or a protocol documents."""
    if _decorators(node) & {"overload", "setter", "override"}:
        return True
    if owner is None or "Protocol" in _bases(owner):
        return False
    if any(isinstance(part, Function) and part.name == node.name for base in _ancestors(owner) for part in base.body):
        return True
    implements = list(_parameters(node, True)) in _protocol_methods().get(node.name, [])
    return implements or (node.name in OF_TORCH and bool(owner.bases))


def main() -> None:
    """Count the gaps by package, or list those of the packages named on the command line."""
    chosen = sys.argv[1:]
    gaps = [gap for module in MODULES for gap in gaps_of(module)]
    for room in sorted({room_of(module) for module in MODULES}):
        here = [gap for gap in gaps if room_of(gap.module) == room]
        print(f"{room}: {len(here)} missing in {len({(gap.module, gap.name) for gap in here})} places")
        if room in chosen:
            print(*(f"  {gap}" for gap in here), sep="\n")
    print(f"together: {len(gaps)}")


if __name__ == "__main__":
    main()
