"""Commands that are given what they cannot use say what they need."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from offramp.cli.main import app
from offramp.errors import InputError
from offramp.records import create_run
from offramp.settings.config import Config
from tests.records.record_samples import append_all, some_evaluations


@pytest.fixture(scope="module")
def bundle(finished_run: Path) -> Path:
    return next((finished_run / "chosen").glob("*/bundle"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(np.full((8, 8), 200, dtype=np.uint8)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def refusal(*arguments: object) -> str:
    said = CliRunner().invoke(app, [str(item) for item in arguments])
    assert isinstance(said.exception, Exception)
    return str(said.exception)


@pytest.mark.parametrize("command", ["predict", "bench"])
def test_a_run_folder_in_place_of_a_bundle_is_answered_with_its_bundles(
    finished_run: Path, bundle: Path, image: Path, command: str
) -> None:
    files = [image] if command == "predict" else []
    assert f"Its bundles are '{bundle}'" in refusal(command, bundle.parent, *files)
    told = refusal(command, finished_run, *files)
    assert str(bundle) in told
    assert told.count("/bundle'") == len(list(finished_run.glob("chosen/*/bundle")))


def test_more_threads_than_cores_are_refused(bundle: Path) -> None:
    assert "The number of threads must be 1 to" in refusal("bench", bundle, "--threads", 99_999)


def test_data_with_other_classes_than_the_bundle_are_refused(bundle: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog", "owl"):
        (tmp_path / "animals" / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.random.default_rng([number, ord(name[0])]).integers(256, size=(8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "animals" / name / f"{name}{number}.png")
    told = refusal("bench", bundle, "--data", tmp_path / "animals", "--rounds", 2)
    assert "must have the classes of the bundle, " in told
    assert "'cat', 'dog', 'owl' (3)" in told


def test_a_table_is_there_as_a_whole_or_not_at_all(bundle: Path, image: Path, tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    runner = CliRunner()
    assert runner.invoke(app, ["predict", str(bundle), str(image), "--csv", str(table)]).exit_code == 0
    before = table.read_bytes()
    assert len(list(csv.DictReader(table.open(newline="")))) == 1
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert "broken.png" in refusal("predict", bundle, image, tmp_path / "broken.png", "--csv", table)
    assert table.read_bytes() == before
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def test_a_table_is_not_written_through_a_link(bundle: Path, image: Path, tmp_path: Path) -> None:
    (tmp_path / "victim.csv").write_text("precious")
    (tmp_path / "answers.csv").symlink_to(tmp_path / "victim.csv")
    assert "link" in refusal("predict", bundle, image, "--csv", tmp_path / "answers.csv")
    assert (tmp_path / "victim.csv").read_text() == "precious"


def test_the_report_of_a_search_that_was_stopped_says_how_to_go_on(tmp_path: Path) -> None:
    store = create_run(tmp_path / "run", Config())
    append_all(store, 0, some_evaluations(2))
    store.close()
    told = refusal("report", tmp_path / "run")
    assert "finished run folder" in told
    assert "--resume" in told
    assert "Errno" not in told


def test_other_files_in_a_bundle_are_not_deleted_with_it(tmp_path: Path) -> None:
    from offramp.deploy.bundle.bundle_folder import checked_target

    for name, text in {"manifest.json": '{"files": [{"name": "a.onnx"}]}', "a.onnx": "", "notes.txt": "mine"}.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=r"holds 'notes\.txt' too"):
        checked_target(tmp_path, overwrite=True)
    (tmp_path / "notes.txt").unlink()
    assert checked_target(tmp_path, overwrite=True) == tmp_path.resolve()
    # The manifest of something else, such as of a web application.
    (tmp_path / "manifest.json").write_text('{"name": "app", "icons": []}')
    with pytest.raises(InputError, match="does not list its files"):
        checked_target(tmp_path, overwrite=True)
    (tmp_path / "manifest.json").write_text('{"files": [{"name": "a.onnx"}, {"name": "b"}]}')
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="holds 'b' too"):
        checked_target(tmp_path, overwrite=True)
