"""`python -m release.wheel_components dist`: put a CycloneDX list of components into the wheels of a folder.

The list names what offramp needs at run time, with the versions and licences that are installed here. It lies in the
wheel as ``*.dist-info/sboms/offramp.cdx.json`` (PEP 770), and beside the wheel.
"""

import argparse
import base64
import hashlib
import json
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME = "offramp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with wheels of offramp")
    folder: Path = parser.parse_args().folder
    text = json.dumps(components_of(NAME), indent=2) + "\n"
    for wheel in sorted(folder.glob(f"{NAME}-*.whl")):
        print(add_to_wheel(wheel, text))
        wheel.with_suffix(".cdx.json").write_text(text, encoding="utf-8")


def components_of(name: str) -> dict[str, Any]:
    """The document for an installed package; the same installation gives the same document."""
    root = distribution(name)
    needed = dict(sorted(_closure(root).items()))
    needed.pop(canonicalize_name(name), None)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "library", **_component(root)}},
        "components": [{"type": "library", **_component(item)} for item in needed.values()],
        "dependencies": [
            {"ref": _reference(item), "dependsOn": sorted(_reference(other) for other in _needs(item))}
            for item in (root, *needed.values())
        ],
    }


def add_to_wheel(wheel: Path, text: str) -> str:
    """Write the wheel anew with the list in it; the name of the new file inside."""
    with zipfile.ZipFile(wheel) as archive:
        contents = [(info, archive.read(info)) for info in archive.infolist()]
    (record,) = (info.filename for info, _ in contents if info.filename.endswith(".dist-info/RECORD"))
    name = f"{record.removesuffix('RECORD')}sboms/{NAME}.cdx.json"
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    line = f"{name},sha256={digest},{len(text.encode())}"
    draft = wheel.with_suffix(".part")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in contents:
            if info.filename == name:
                continue
            if info.filename == record:
                rows = [row for row in content.decode().splitlines() if not row.startswith(f"{name},")]
                added = zipfile.ZipInfo(name, info.date_time)
                added.external_attr, added.compress_type = info.external_attr, zipfile.ZIP_DEFLATED
                archive.writestr(added, text)
                content = ("\n".join([*rows[:-1], line, rows[-1]]) + "\n").encode()
            archive.writestr(info, content)
    draft.replace(wheel)
    return name


def _closure(root: Distribution) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    pending = [root]
    while pending:
        item = pending.pop()
        key = canonicalize_name(item.metadata["Name"])
        if key not in found:
            found[key] = item
            pending += _needs(item)
    return found


def _needs(item: Distribution) -> Iterator[Distribution]:
    """What a package needs without its extras, of what is installed here."""
    names = set()
    for text in item.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names.add(canonicalize_name(requirement.name))
    for name in sorted(names):
        try:
            yield distribution(name)
        except PackageNotFoundError:  # such as a package for another system
            continue


def _reference(item: Distribution) -> str:
    # A local version, such as that of a build for one processor, is no version of the registry.
    return f"pkg:pypi/{canonicalize_name(item.metadata['Name'])}@{item.version.partition('+')[0]}"


def _component(item: Distribution) -> dict[str, Any]:
    expression = item.metadata.get("License-Expression") or ""
    words = expression or (item.metadata.get("License") or "").strip().partition("\n")[0][:100]
    classifiers = [value for key, value in item.metadata.items() if key == "Classifier" and value.startswith("License")]
    words = words or (classifiers[0].rpartition(" :: ")[2] if classifiers else "")
    licence: list[dict[str, Any]] = [{"expression": expression}] if expression else [{"license": {"name": words}}]
    return {
        "bom-ref": _reference(item),
        "name": item.metadata["Name"],
        "version": item.version,
        "purl": _reference(item),
        **({"licenses": licence} if words else {}),
    }


if __name__ == "__main__":
    main()
