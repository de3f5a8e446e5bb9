"""Pictures of the package, drawn from its imports when the documentation is built.

Two directives for Markdown pages: ``package-picture`` draws the packages of the root and the imports between them,
``path-picture`` the modules of the page's numbered list and which one imports which.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.structure import MODULES, ORDER, imports_of, room_of  # noqa: E402

# Modules of the root that only start the package; a newcomer finds nothing in them.
STARTERS = ("__init__", "__main__")
_ROW, _LANE, _BOX = 25, 13, 104
_STYLE = (
    "<style>.imports{width:100%;height:auto;font:13px sans-serif}"
    ".imports text{fill:var(--color-foreground-primary,#222)}"
    ".imports rect{fill:var(--color-background-secondary,#f4f4f4);stroke:var(--color-foreground-muted,#777)}"
    ".imports .path{stroke:var(--color-brand-primary,#0a4bff);stroke-width:2}"
    ".imports path{fill:none;stroke:var(--color-foreground-muted,#777)}"
    ".imports .head,.imports circle{fill:var(--color-foreground-muted,#777);stroke:none}</style>"
)


def path_on_page(text: str) -> list[str]:
    """The modules that a page's numbered list starts its items with.

    Args:
        text: Markdown source of the page.

    Returns:
        Names without the leading ``offramp.``, in the order of the list.
    """
    return re.findall(r"^\d+\. `offramp\.([\w.]+)`", text, flags=re.M)


def package_imports() -> dict[str, frozenset[str]]:
    """Which packages and modules of the root each one imports, in import order, without the starters."""
    rooms = [room for room in ORDER if room not in STARTERS and any(room_of(module) == room for module in MODULES)]
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for module in MODULES:
        if room_of(module) in found:
            found[room_of(module)] |= {room_of(imported) for imported in imports_of(module)} & set(rooms)
    return {room: frozenset(imported - {room}) for room, imported in found.items()}


def without_implied(imports: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Leave out arrows that follow from others (transitive reduction).

    Args:
        imports: names to the names that each imports; every name comes after those that it imports.

    Returns:
        The same names with the fewest imports that lead to the same names in any number of steps.
    """
    reached: dict[str, frozenset[str]] = {}
    for name, direct in imports.items():
        reached[name] = direct.union(*(reached[other] for other in direct))
    return {
        name: frozenset(other for other in direct if not any(other in reached[third] for third in direct))
        for name, direct in imports.items()
    }


def draw_packages(imports: Mapping[str, frozenset[str]], on_path: frozenset[str]) -> str:
    """A column of boxes, the last importer on top, and one line to the right of it for each imported package.

    Args:
        imports: as ``package_imports`` gives them.
        on_path: names to outline.

    Returns:
        An SVG element.
    """
    arrows = without_implied(imports)
    rows = {name: row for row, name in enumerate(reversed(list(imports)))}
    importers = {name: [other for other in imports if name in arrows[other]] for name in imports}
    spans = {name: (min(rows[other] for other in who), rows[name]) for name, who in importers.items() if who}
    lanes: dict[str, int] = {}
    for name in sorted(spans, key=lambda name: (spans[name][1] - spans[name][0], rows[name])):
        taken = {lanes[o] for o in lanes if spans[o][0] <= spans[name][1] and spans[name][0] <= spans[o][1]}
        lanes[name] = min(set(range(len(spans))) - taken)
    parts = [_box(name, 1, row * _ROW + 2, _BOX, name in on_path) for name, row in rows.items()]
    for name, lane in lanes.items():
        x, end = _BOX + 16 + lane * _LANE, rows[name] * _ROW + 8
        top = spans[name][0] * _ROW + 17
        parts.append(f'<path d="M{x} {top}V{end}H{_BOX + 6}"/>{_head(_BOX + 1, end)}')
        for other in importers[name]:
            y = rows[other] * _ROW + 17
            parts.append(f'<path d="M{_BOX + 1} {y}H{x}"/><circle cx="{x}" cy="{y}" r="2.5"/>')
    width = _BOX + 24 + (max(lanes.values(), default=0)) * _LANE
    return _svg(parts, width, len(rows) * _ROW + 2, "Packages of offramp and their imports")


def draw_path(modules: Sequence[str], imports: Mapping[str, frozenset[str]]) -> str:
    """Numbered boxes from top to bottom; an arrow leads to each from the last one above that imports it.

    Args:
        modules: names in the order in which a run passes them.
        imports: names to the names that each imports.

    Returns:
        An SVG element.
    """
    depth: dict[str, int] = {}
    parts = []
    for row, name in enumerate(modules):
        parent = next((other for other in reversed(modules[:row]) if name in imports[other]), None)
        depth[name] = 0 if parent is None else depth[parent] + 1
        x, y = 1 + depth[name] * 20, row * 30 + 2
        parts.append(_box(f"{row + 1}  {name}", x, y, 290 - depth[name] * 20, True))
        if parent is not None:
            top = modules.index(parent) * 30 + 24
            parts.append(f'<path d="M{x - 11} {top}V{y + 11}H{x - 4}"/>{_head(x - 1, y + 11, right=True)}')
    return _svg(parts, 292, len(modules) * 30, "Modules that a run passes through")


def _box(text: str, x: int, y: int, width: int, marked: bool) -> str:
    kind = ' class="path"' if marked else ""
    label = f'<text x="{x + 8}" y="{y + 15}">{text}</text>'
    return f'<rect{kind} x="{x}" y="{y}" width="{width}" height="21" rx="4"/>{label}'


def _head(x: int, y: int, *, right: bool = False) -> str:
    back = x - 6 if right else x + 6
    return f'<path class="head" d="M{x} {y}L{back} {y - 4}V{y + 4}Z"/>'


def _svg(parts: Sequence[str], width: int, height: int, title: str) -> str:
    widest = f"max-width:{round(width * 1.25)}px"
    return (
        f'<svg class="imports" style="{widest}" viewBox="0 0 {width} {height}" role="img" aria-label="{title}" '
        f'xmlns="http://www.w3.org/2000/svg">{_STYLE}{"".join(parts)}</svg>'
    )


class PackagePicture(Directive):
    """The packages of the root; those that the page's list passes through are outlined."""

    def run(self) -> list[nodes.Node]:
        path = path_on_page(Path(self.state.document["source"]).read_text())
        svg = draw_packages(package_imports(), frozenset(room_of(module) for module in path))
        return [nodes.raw("", svg, format="html")]


class PathPicture(Directive):
    """The modules of the page's numbered list."""

    def run(self) -> list[nodes.Node]:
        path = path_on_page(Path(self.state.document["source"]).read_text())
        return [nodes.raw("", draw_path(path, {module: imports_of(module) for module in path}), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives; called by Sphinx."""
    app.add_directive("package-picture", PackagePicture)
    app.add_directive("path-picture", PathPicture)
    return {"parallel_read_safe": True}
