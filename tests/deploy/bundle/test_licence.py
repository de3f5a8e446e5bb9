"""What a bundle says about its licence."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from offramp.deploy.bundle.licence import Licence, read_licence
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError, InputError
from offramp.nn.network import EarlyExitNetwork
from offramp.run.checks.settings_checks import check_settings
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from tests.deploy.conftest import Export

OWN = "Do with it what you like.\n"


@pytest.mark.parametrize("name", ["MIT", " Apache-2.0 WITH LLVM-exception", "(MIT OR CC0-1.0)", "all rights reserved"])
def test_a_name_is_kept_as_it_is(name: str) -> None:
    assert read_licence(name) == Licence(name.strip())


def test_nothing_given_is_not_stated() -> None:
    assert read_licence(None) == Licence("not stated")


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        (OWN, "see LICENCE.txt"),
        (f"// SPDX-License-Identifier: CC-BY-4.0\n{OWN}", "CC-BY-4.0"),
        (f"SPDX-License-Identifier: MIT OR Apache-2.0\r\n{OWN}", "MIT OR Apache-2.0"),
        (f"SPDX-License-Identifier:   \n{OWN}", "see LICENCE.txt"),
    ],
)
def test_a_file_is_taken_along_and_may_name_itself(tmp_path: Path, text: str, statement: str) -> None:
    file = tmp_path / "COPYING"
    file.write_bytes(text.encode())
    assert read_licence(str(file)) == Licence(statement, text.encode())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("licences/mine", "looks like a file, but there is none"),
        ("LICENSE.txt", "looks like a file, but there is none"),
        ("..\\mine", "looks like a file, but there is none"),
        ("   ", "must be one line"),
        ("MIT\nand more", "must be one line"),
        ("x" * 201, "must be one line"),
        ("a\0b", "got 'a"),
        ("y" * 4000, "licence 'yyy"),
    ],
)
def test_what_is_neither_name_nor_file_is_refused(given: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        read_licence(given)


@pytest.mark.parametrize(
    ("content", "words"), [(b" \n", "1 byte to 1 MiB"), (b"x" * (2**20 + 1), "1 byte to 1 MiB"), (b"\xff\xfe", "UTF-8")]
)
def test_files_that_are_no_licences_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "LICENCE").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_licence(str(tmp_path / "LICENCE"))


def test_the_file_lies_in_the_bundle_with_its_checksum(
    network: EarlyExitNetwork, quick_export: Export, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text(OWN)
    bundle = quick_export(network, tmp_path / "bundle", licence=str(tmp_path / "mine")).path
    manifest = load_manifest(bundle)
    assert manifest.licence == "see LICENCE.txt"
    (entry,) = (file for file in manifest.files if file.name == "LICENCE.txt")
    assert entry.sha256 == hashlib.sha256(OWN.encode()).hexdigest()
    EarlyExitSession(bundle)
    (bundle / "LICENCE.txt").write_text(OWN.replace("like", "fear"))
    with pytest.raises(BundleError, match="LICENCE"):
        EarlyExitSession(bundle)


def test_without_one_the_manifest_says_so_and_older_ones_with_null_still_load(bundle: Path) -> None:
    file = bundle / "manifest.json"
    data = json.loads(file.read_text())
    assert data.pop("licence") == "CC0-1.0"
    for changed, expected in ((data, "not stated"), ({**data, "licence": None}, None)):
        file.write_text(json.dumps(changed))
        assert load_manifest(bundle).licence == expected


def test_a_search_looks_at_its_licence_before_anything_else() -> None:
    check_settings(with_settings(Config(), {"deploy.licence": "CC-BY-4.0"}))
    with pytest.raises(InputError, match="there is none"):
        check_settings(with_settings(Config(), {"deploy.licence": "no/such/file"}))
