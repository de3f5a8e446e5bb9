"""Bundles in folders and archives: what is read, and what is refused."""

import struct
import zipfile
from pathlib import Path

import pytest

from offramp.deploy.bundle.bundle_files import open_files
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.errors import BundleError
from tests.deploy import toys


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def members_of(bundle: Path, folder: str = "") -> dict[str, bytes]:
    return {folder + path.name: path.read_bytes() for path in bundle.iterdir()}


@pytest.mark.parametrize("folder", ["", "my-bundle/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_an_archive_answers_as_its_folder(bundle: Path, tmp_path: Path, folder: str, method: int) -> None:
    archive = packed(tmp_path / "bundle.zip", members_of(bundle, folder), method)
    inputs = toys.samples(5)
    assert EarlyExitSession(archive).predict(inputs) == EarlyExitSession(bundle).predict(inputs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.zip"]


@pytest.mark.parametrize(
    "name",
    ["../evil.onnx", "/etc/evil.onnx", "a/../../evil.onnx", "C:/evil.onnx", "..\\evil.onnx", "../../manifest.json"],
)
def test_names_that_lead_out_of_the_folder_are_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / "sub.zip", {**members_of(bundle), name: b"x"})
    with pytest.raises(BundleError, match="plain and different names"):
        EarlyExitSession(archive)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "sub.zip"]


def test_two_files_of_one_name_are_refused(bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "twice.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("manifest.json", (bundle / "manifest.json").read_bytes())
        with pytest.warns(UserWarning, match="Duplicate"):
            stream.writestr("manifest.json", b"{}")
    with pytest.raises(BundleError, match="it has 2 named"):
        open_files(archive)


@pytest.mark.parametrize(
    "members", [{"a.txt": b"x"}, {"a/b/manifest.json": b"{}"}, {"manifest.json": b"", "a/manifest.json": b""}]
)
def test_there_must_be_one_manifest_near_the_top(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(BundleError, match=r"one manifest\.json"):
        open_files(packed(tmp_path / "bundle.zip", members))


def test_what_unpacks_to_far_more_than_it_is_is_refused(bundle: Path, tmp_path: Path) -> None:
    members = {**members_of(bundle), "stage_0.onnx": bytes(50_000_000)}
    files = open_files(packed(tmp_path / "bomb.zip", members))
    with pytest.raises(BundleError, match="times its size"):
        files.read("stage_0.onnx", 2**31)
    with pytest.raises(BundleError, match="at most 1000 bytes"):
        files.read("stage_0.onnx", 1000)
    with pytest.raises(BundleError, match="missing"):
        files.read("other.onnx", 1000)


def test_a_size_that_the_archive_lies_about_is_found_out(tmp_path: Path) -> None:
    archive = packed(tmp_path / "lie.zip", {"manifest.json": b"a" * 5000})
    content = bytearray(archive.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, directory + 24, 10)
    archive.write_bytes(content)
    with pytest.raises(BundleError, match="cannot be unpacked"):
        open_files(archive).read("manifest.json", 100)


def test_encrypted_and_damaged_archives_are_refused(bundle: Path, tmp_path: Path) -> None:
    archive = packed(tmp_path / "bundle.zip", members_of(bundle))
    whole = archive.read_bytes()
    marked = bytearray(whole)
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = 0
        while (at := marked.find(signature, at)) >= 0:
            marked[at + offset] |= 1
            at += 4
    archive.write_bytes(marked)
    with pytest.raises(BundleError, match=r"encrypted|cannot be"):
        EarlyExitSession(archive)
    for content in (whole[:-5], whole[: len(whole) // 2], whole[3000:], b"PK\x05\x06" + bytes(18)):
        archive.write_bytes(content)
        with pytest.raises(BundleError):
            EarlyExitSession(archive)


def test_other_files_are_no_bundles(tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(b"no archive")
    with pytest.raises(BundleError, match="is not a folder and no"):
        open_files(other)
    with pytest.raises(BundleError, match="there is no"):
        open_files(tmp_path / "missing.zip")
