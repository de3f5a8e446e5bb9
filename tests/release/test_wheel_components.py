"""The list of components in a wheel names what offramp needs, and the wheel still agrees with its own record."""

import base64
import csv
import hashlib
import io
import json
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from release.wheel_components import add_to_wheel, components_of

_ROOT = Path(__file__).parents[2]


def test_every_dependency_is_listed_with_its_version_and_those_of_tests_are_not() -> None:
    document = components_of("offramp")
    listed = {item["purl"]: item for item in document["components"]}
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"]:
        name = Requirement(text).name
        purl = f"pkg:pypi/{canonicalize_name(name)}@{version(name).partition('+')[0]}"
        assert listed[purl]["version"] == version(name)
    names = {item["name"].lower() for item in document["components"]}
    assert {"typing_extensions", "protobuf"} <= names  # needed by what offramp needs
    assert not {"pytest", "mypy", "ruff", "offramp"} & names


def test_each_dependency_names_a_component() -> None:
    document = components_of("offramp")
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    known = {item["bom-ref"] for item in (*document["components"], document["metadata"]["component"])}
    assert len(known) == len(document["components"]) + 1
    assert {item["ref"] for item in document["dependencies"]} == known
    assert all(set(item["dependsOn"]) <= known for item in document["dependencies"])


def test_the_list_lies_where_pep_770_has_it_and_the_record_of_the_wheel_holds_its_digest(tmp_path: Path) -> None:
    wheel = tmp_path / "offramp-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("offramp/__init__.py", "")
        archive.writestr("offramp-1.0.dist-info/RECORD", "offramp/__init__.py,,0\nofframp-1.0.dist-info/RECORD,,\n")
    for text in ("first", '{"bomFormat": "CycloneDX"}'):  # the second replaces the first
        assert add_to_wheel(wheel, text) == "offramp-1.0.dist-info/sboms/offramp.cdx.json"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("offramp-1.0.dist-info/sboms/offramp.cdx.json")) == {"bomFormat": "CycloneDX"}
        rows = list(csv.reader(io.StringIO(archive.read("offramp-1.0.dist-info/RECORD").decode())))
        assert sorted(row[0] for row in rows) == sorted(archive.namelist())
    digest = hashlib.sha256(b'{"bomFormat": "CycloneDX"}').digest()
    assert ["offramp-1.0.dist-info/sboms/offramp.cdx.json",
            "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("="), "26"] in rows  # fmt: skip
