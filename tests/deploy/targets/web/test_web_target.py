"""The web page, in a real browser: the network's and the session's answers."""

import base64
import functools
import html
import http.server
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.deploy.bundle.export_bundle import ExportRecord
from offramp.deploy.runtime.sample_inputs import load_image
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.deploy.targets.web import web_target
from offramp.deploy.targets.web.web_target import export_web
from offramp.errors import BundleError, InputError
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import prepare_
from offramp.space.architecture import Precision
from tests.data.images import image_samples
from tests.deploy import toys
from tests.deploy.conftest import export

VERSION = "1.30.0"


def fake_runtime(folder: Path) -> Path:
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "onnxruntime-web", "version": "0"}))
    for name in ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (folder / "dist" / name).write_text(name)
    return folder


@pytest.fixture(scope="module")
def runtime() -> Path:
    """The package, from ONNXRUNTIME_WEB or once from the npm registry."""
    given = os.environ.get("ONNXRUNTIME_WEB")
    if given:
        return Path(given)
    if not shutil.which("npm"):
        pytest.skip("needs npm, or the package onnxruntime-web at ONNXRUNTIME_WEB")
    folder = Path.home() / ".cache" / "offramp-tests" / f"onnxruntime-web-{VERSION}"
    if not (folder / "package" / "package.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", f"onnxruntime-web@{VERSION}", "--pack-destination", str(folder)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            pytest.skip(f"onnxruntime-web cannot be had from npm: {done.stderr[-200:]}")
        with tarfile.open(folder / f"onnxruntime-web-{VERSION}.tgz") as archive:
            archive.extractall(folder, filter="data")
    return folder / "package"


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.skip("needs chromium")
    return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    handler = functools.partial(Quiet, directory=str(tmp_path / "page"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def opened(browser: str, address: str, tmp_path: Path) -> str:
    """The page once it shows a result; on a busy machine the browser's clock runs ahead, so it may try again."""
    shown = ""
    for attempt in range(6):
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
        command += [f"--user-data-dir={tmp_path / f'profile-{attempt}'}"]
        command += [f"--virtual-time-budget={60000 * 10 ** min(attempt, 4)}", "--dump-dom", address]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr[-500:]
        shown = done.stdout
        if re.search(r'id="check-result">[^<]', shown):
            break
    return shown


def int8_network() -> EarlyExitNetwork:
    network = toys.network()
    eight = Precision(8, 8)
    network.architecture = replace(network.architecture, precision=eight, branch_precision=eight)
    prepare_(network, [torch.from_numpy(toys.samples(64))])
    return network.eval()


@pytest.mark.parametrize("number_format", ["fp32", pytest.param("int8", marks=pytest.mark.slow)])
def test_the_browser_answers_as_python(
    number_format: str, record: ExportRecord, runtime: Path, browser: str, served: str, tmp_path: Path
) -> None:
    bundle = record.path if number_format == "fp32" else export(int8_network(), tmp_path / "int8").path
    page = CliRunner().invoke(app, ["export-web", str(bundle), str(tmp_path / "page"), "--runtime", str(runtime)])
    assert page.exit_code == 0, page.output
    samples = json.loads((tmp_path / "page" / "samples.json").read_text())
    assert len({sample["exit"] for sample in samples}) > 1
    shown = opened(browser, f"{served}/index.html?check", tmp_path)
    found = re.search(r'id="check-result">([^<]*)<', shown)
    assert found is not None
    count = re.match(r"(\d+) of (\d+) samples", found.group(1))
    assert count is not None, shown
    # As in every runtime, a quantised value halfway between two steps may go the other way.
    allowed = 0 if number_format == "fp32" else 2
    assert int(count.group(2)) - int(count.group(1)) <= allowed
    if number_format == "fp32":
        assert "The browser agrees." in found.group(1)


PROBE = """
addEventListener("load", async () => {
  while (!session) await new Promise((done) => setTimeout(done, 50));
  const reply = await fetch("image.png");
  const values = await valuesOf(await reply.blob());
  const answer = await run(values);
  show(answer);
  byId("check-result").textContent = JSON.stringify({ ...answer, values: Array.from(values.slice(0, 50)) });
});
"""


def test_an_image_gets_the_networks_answer(
    record: ExportRecord, network: EarlyExitNetwork, runtime: Path, browser: str, served: str, tmp_path: Path
) -> None:
    export_web(record.path, tmp_path / "page", runtime=runtime)
    pixels = np.random.default_rng(8).integers(0, 256, size=toys.INPUT_SHAPE, dtype=np.uint8)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "page" / "image.png")
    text = (tmp_path / "page" / "index.html").read_text()
    (tmp_path / "page" / "probe.js").write_text(PROBE)
    probe = text.replace("</head>", '<script src="probe.js" defer></script></head>')
    (tmp_path / "page" / "probe.html").write_text(probe)
    shown = opened(browser, f"{served}/probe.html", tmp_path)
    found = re.search(r'id="check-result">([^<]*)<', shown)
    assert found is not None
    answer = json.loads(html.unescape(found.group(1)))
    session = EarlyExitSession(record.path)
    inputs = session.prepare(pixels[None])
    assert np.abs(np.array(answer["values"]) - inputs.ravel()[:50]).max() < 1e-5
    (wanted,) = session.predict(inputs)
    assert (answer["exit"], answer["label"]) == (wanted.exit, wanted.label)
    logits = toys.logits_of(network, inputs)[wanted.exit][0]
    assert np.abs(np.array(answer["logits"]) - logits).max() < 1e-3
    assert wanted.class_name in shown


FILES_PROBE = """
addEventListener("load", async () => {
  while (!session) await new Promise((done) => setTimeout(done, 50));
  const found = {};
  for (const [name, data] of Object.entries(await json("files.json"))) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    try {
      found[name] = Array.from(await valuesOf(new Blob([bytes])));
    } catch (error) {
      found[name] = String(error);
    }
  }
  byId("check-result").textContent = JSON.stringify(found);
});
"""


def test_an_image_file_becomes_the_same_input_in_the_browser_and_in_python(
    record: ExportRecord, runtime: Path, browser: str, served: str, tmp_path: Path
) -> None:
    page = export_web(record.path, tmp_path / "page", runtime=runtime).parent
    samples = image_samples.samples(("PNG", "BMP", "GIF", "WEBP", "JPEG"), size=(21, 17))
    samples = [sample for sample in samples if sample.mode == "RGB" or sample.tag == "none"]
    for sample in samples:
        (tmp_path / sample.name).write_bytes(sample.data)
    files = {sample.name: base64.b64encode(sample.data).decode() for sample in samples}
    (page / "files.json").write_text(json.dumps(files))
    (page / "probe.js").write_text(FILES_PROBE)
    probe = (page / "index.html").read_text().replace("</head>", '<script src="probe.js" defer></script></head>')
    (page / "probe.html").write_text(probe)
    shown = opened(browser, f"{served}/probe.html", tmp_path)
    found = re.search(r'id="check-result">([^<]*)<', shown)
    assert found is not None
    session = EarlyExitSession(record.path)
    compared = 0
    for name, values in json.loads(html.unescape(found.group(1))).items():
        if image_samples.is_transparent(tmp_path / name):
            assert "Transparent images" in values, name
            continue
        inputs = session.prepare(load_image(tmp_path / name, session.manifest.preprocessing)[None])
        # JSON writes the browser's floats in full. Decoders of JPEG may round differently, by two levels at most.
        allowed = 2.1 / (255 * min(toys.STD)) if name.endswith(".jpeg") else 0.0
        assert np.abs(np.array(values, dtype=np.float32) - inputs.ravel()).max() <= allowed, name
        compared += 1
    assert compared > 50


def test_the_page_holds_only_what_it_needs(record: ExportRecord, tmp_path: Path) -> None:
    page = export_web(record.path, tmp_path / "page", runtime=fake_runtime(tmp_path / "runtime"))
    names = {"index.html", "style.css", "preprocess.js", "app.js", "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs"}
    names |= {"ort-wasm-simd-threaded.wasm", "model_early_exit.onnx", "manifest.json", "samples.json"}
    assert {path.name for path in page.parent.iterdir()} == names
    text = page.read_text()
    assert "http:" not in text
    assert "https:" not in text
    early_exit = "model_early_exit.onnx"
    assert (page.parent / early_exit).read_bytes() == (record.path / early_exit).read_bytes()


def test_other_folders_and_packages_are_refused(record: ExportRecord, bundle: Path, tmp_path: Path) -> None:
    runtime = fake_runtime(tmp_path / "runtime")
    with pytest.raises(InputError, match="npm install"):
        export_web(record.path, tmp_path / "page", runtime=tmp_path)
    with pytest.raises(InputError, match="new or empty"):
        export_web(record.path, runtime, runtime=runtime)
    (runtime / "dist" / "ort.wasm.min.js").unlink()
    with pytest.raises(InputError, match="lacks"):
        export_web(record.path, tmp_path / "page", runtime=runtime)
    (runtime / "package.json").write_text('{"name": "left-pad"}')
    with pytest.raises(InputError, match="another one"):
        export_web(record.path, tmp_path / "page", runtime=runtime)
    (bundle / "model_early_exit.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="model_early_exit"):
        export_web(bundle, tmp_path / "page", runtime=runtime)
    assert not (tmp_path / "page").exists()


def test_a_page_whose_writing_was_killed_leaves_its_place_free(
    record: ExportRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, real = fake_runtime(tmp_path / "runtime"), web_target.write_atomically
    place = tmp_path / "page"

    def seen(path: Path, content: bytes | str) -> None:
        assert not place.exists()  # so that a kill at this moment leaves no half of a page
        real(path, content)

    monkeypatch.setattr(web_target, "write_atomically", seen)
    export_web(record.path, place, runtime=runtime)
    assert (place / "index.html").is_file()
