"""The structure of the package, measured from its imports: ``python -m tests.structure`` prints it."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import offramp

SOURCE = Path(offramp.__file__).parent

# A package or module of the root imports only from those before it.
ORDER = (
    "version",
    "errors",
    "files",
    "registry",
    "jsonio",
    "progress",
    "deadline",
    "numerics",
    "distributed",
    "exits",
    "settings",
    "workload",
    "space",
    "hardware",
    "cost",
    "nn",
    "data",
    "objectives",
    "train",
    "algorithms",
    "deploy",
    "anomaly",
    "records",
    "report",
    "run",
    "tabular",
    "cli",
    "__main__",
    "__init__",
)
# Checks of plug-ins and toys, for tests in and outside the package: they may use everything, and nothing uses them.
FOR_TESTS = "testing"

MOST_ROOT_MODULES = 8
MOST_MODULES_IN_A_FOLDER = 15
MOST_LINES = 400


def name_of(path: Path) -> str:
    """The dotted name of a module without ``offramp.``; that of the face is ``__init__``."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def room_of(module: str) -> str:
    """The package or module of the root that a module belongs to."""
    return module.split(".")[0]


@cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of the package that a module imports anywhere, also inside functions; ``__init__`` is the face."""
    found = set()
    package = module.split(".") if MODULES[module].stem == "__init__" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*(["offramp", *above] if node.level else []), *([node.module] if node.module else [])])
            found |= {_module_named(f"{base}.{alias.name}") or _module_named(base) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {_module_named(alias.name) for alias in node.names}
    return frozenset(name for name in found if name is not None)


def _module_named(dotted: str) -> str | None:
    if dotted == "offramp":
        return "__init__"
    name = dotted.removeprefix("offramp.")
    return name if dotted.startswith("offramp.") and name in MODULES else None


def arrows_upward() -> list[str]:
    """Imports from a room to one that comes later in the order."""
    return [
        f"{module} imports {imported}"
        for module in MODULES
        if room_of(module) != FOR_TESTS
        for imported in sorted(imports_of(module))
        if imported != "__init__"
        and room_of(imported) != room_of(module)
        and (room_of(imported) == FOR_TESTS or _place(imported) > _place(module))
    ]


def _place(module: str) -> int:
    return ORDER.index(room_of(module))


def imports_of_the_face() -> list[str]:
    """Modules that import ``offramp`` itself, whose contents lie in other modules."""
    return [module for module in MODULES if "__init__" in imports_of(module)]


def circles() -> list[list[str]]:
    """Groups of modules that import each other, found as strongly connected components (Tarjan 1972)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for imported in imports_of(module):
            if imported not in index:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], index[imported])
        if lowest[module] == index[module]:
            group = [stack.pop()]
            while group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for module in MODULES:
        if module not in index:
            visit(module)
    return found


@dataclass(frozen=True)
class Structure:
    """What continuous integration limits, as counts; ``lines`` and ``test_lines`` are for information."""

    root_modules: int
    largest_folder: str
    largest_folder_modules: int
    arrows_upward: int
    circles: int
    imports_of_the_face: int
    longest_file: str
    longest_file_lines: int
    lines: int
    test_lines: int


def measure() -> Structure:
    """The structure as it stands."""
    folders: dict[Path, int] = {}
    for path in MODULES.values():
        if path.name != "__init__.py" or path.parent == SOURCE:
            folders[path.parent] = folders.get(path.parent, 0) + 1
    root = folders.pop(SOURCE)
    fullest = max(folders, key=lambda folder: folders[folder])
    lines = {module: _lines(path) for module, path in MODULES.items()}
    longest = max(lines, key=lambda module: lines[module])
    return Structure(
        root_modules=root,
        largest_folder=str(fullest.relative_to(SOURCE)),
        largest_folder_modules=folders[fullest],
        arrows_upward=len(arrows_upward()),
        circles=len(circles()),
        imports_of_the_face=len(imports_of_the_face()),
        longest_file=str(MODULES[longest].relative_to(SOURCE)),
        longest_file_lines=lines[longest],
        lines=sum(lines.values()),
        test_lines=sum(_lines(path) for path in Path(__file__).parent.rglob("*.py")),
    )


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def heavy_imports(modules: list[str]) -> str:
    """What a fresh process says that loads the modules and finds torch or another heavy library; empty if none."""
    code = (
        "import importlib, sys\n"
        f"for name in {[f'offramp.{module}' for module in modules]!r}: importlib.import_module(name)\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'plotly', 'matplotlib', 'zigzag'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr


def main() -> None:
    """Print the figures beside their limits."""
    now = measure()
    ratio = now.test_lines / now.lines
    fullest = f"{now.largest_folder_modules}, in {now.largest_folder}"
    print(f"modules at the root: {now.root_modules} (at most {MOST_ROOT_MODULES})")
    print(f"most modules in one folder: {fullest} (at most {MOST_MODULES_IN_A_FOLDER})")
    print(f"arrows upward: {now.arrows_upward} (none allowed)", *arrows_upward(), sep="\n  ")
    print(f"circles: {now.circles} (none allowed)", *map(", ".join, circles()), sep="\n  ")
    print(
        f"imports of the face from inside: {now.imports_of_the_face} (none allowed)", *imports_of_the_face(), sep="\n  "
    )
    print(f"longest file: {now.longest_file_lines} lines, {now.longest_file} (at most {MOST_LINES})")
    print(f"lines of source: {now.lines}; lines of tests: {now.test_lines}, {ratio:.2f} per line of source")


if __name__ == "__main__":
    main()
