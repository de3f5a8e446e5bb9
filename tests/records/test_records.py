"""The run folder keeps what was written, is used by one search at a time, and says what is wrong with it."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offramp.errors import RunError
from offramp.objectives.evaluation import Evaluation, Status
from offramp.records import (
    RunStore,
    StoredBatch,
    StoredCheckpoint,
    StoredProposal,
    create_run,
    read_run,
    resume_run,
)
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from tests.records.record_samples import append_all, some_evaluations


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    created = create_run(tmp_path / "run", with_settings(Config(), {"seed": 9}))
    yield created
    created.close()


def test_what_is_written_comes_back(store: RunStore) -> None:
    first, second = some_evaluations(3), some_evaluations(2)
    append_all(store, 0, first)
    append_all(store, 1, second)
    assert [batch.evaluations for batch in store.batches()] == [tuple(first), tuple(second)]
    assert [batch.num_asked for batch in store.batches()] == [3, 2]
    assert store.evaluations() == (*first, *second)
    failed = Evaluation(first[0].architecture, Status.FAILED, {}, error="no memory")
    store.propose(2, [first[0].architecture, first[1].architecture])
    store.append(2, 0, failed)
    missing = StoredProposal(first[1].architecture, None)
    assert store.batches()[2] == StoredBatch(2, (StoredProposal(first[0].architecture, failed), missing))


def test_nothing_is_recorded_twice_or_unproposed(store: RunStore) -> None:
    evaluations = some_evaluations(2)
    append_all(store, 0, evaluations)
    with pytest.raises(RunError, match="UNIQUE"):
        store.append(0, 1, evaluations[1])
    with pytest.raises(RunError, match="FOREIGN KEY"):
        store.append(0, 2, evaluations[1])
    store.propose(0, [evaluations[1].architecture])
    assert store.evaluations() == tuple(evaluations)


def test_order_is_that_of_the_proposals(store: RunStore) -> None:
    evaluations = some_evaluations(4)
    store.propose(0, [evaluation.architecture for evaluation in evaluations])
    for position in (2, 0, 3, 1):
        store.append(0, position, evaluations[position], seconds=position / 2, worker=f"w{position}")
    assert store.evaluations() == tuple(evaluations)
    assert [(origin.position, origin.seconds, origin.worker) for origin in store.origins()] == [
        (0, 0.0, "w0"),
        (1, 0.5, "w1"),
        (2, 1.0, "w2"),
        (3, 1.5, "w3"),
    ]


def test_files_that_results_rest_on_are_known_by_content(store: RunStore) -> None:
    weights = store.folder / "chosen" / "knee" / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"abc")
    store.record_checkpoint(weights, 7)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert store.checkpoints() == (StoredCheckpoint("chosen/knee/weights.safetensors", digest, 3, 7),)
    store.verify_checkpoints()
    weights.write_bytes(b"abd")
    with pytest.raises(RunError, match=r"weights\.safetensors, which was changed"):
        store.verify_checkpoints()
    weights.unlink()
    with pytest.raises(RunError, match="which is missing"):
        store.verify_checkpoints()


def test_a_network_is_removed_with_its_recorded_files_and_no_other(store: RunStore) -> None:
    for name in ("knee", "knee-2"):
        weights = store.folder / "chosen" / name / "weights.safetensors"
        weights.parent.mkdir(parents=True)
        weights.write_bytes(name.encode())
        store.record_checkpoint(weights, 1)
    store.remove_network(store.folder / "chosen" / "knee")
    assert [path.name for path in (store.folder / "chosen").iterdir()] == ["knee-2"]
    assert [item.path for item in store.checkpoints()] == ["chosen/knee-2/weights.safetensors"]
    store.verify_checkpoints()


def test_a_closed_record_is_not_used_any_more(store: RunStore) -> None:
    store.close()
    with pytest.raises((RunError, sqlite3.ProgrammingError)):
        store.get("phase")


def test_the_settings_used_lie_in_the_folder(store: RunStore) -> None:
    reader = read_run(store.folder)
    assert reader.config.seed == 9
    assert (store.folder / "config.yaml").exists()
    reader.close()


def test_a_run_can_be_read_while_it_is_written(store: RunStore) -> None:
    reader = read_run(store.folder)
    append_all(store, 0, some_evaluations(2))
    assert len(reader.evaluations()) == 2
    with pytest.raises(RunError, match="cannot be used"):
        reader.set("key", "value")
    reader.close()


def test_notes_are_kept(store: RunStore) -> None:
    assert store.get("phase") is None
    store.set("phase", "search")
    store.set("phase", "finish")
    assert store.get("phase") == "finish"


def test_only_one_search_at_a_time(store: RunStore) -> None:
    code = (
        "import sys; from pathlib import Path; from offramp.records import resume_run\n"
        "from offramp.errors import RunError\n"
        "try: resume_run(Path(sys.argv[1]))\n"
        "except RunError as exc: print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.folder)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "in use by another search" in done.stdout


def test_a_finished_search_lets_go(store: RunStore) -> None:
    append_all(store, 0, some_evaluations(1))
    store.close()
    again = resume_run(store.folder)
    assert len(again.evaluations()) == 1
    again.close()


def test_an_existing_run_is_not_replaced_by_accident(store: RunStore) -> None:
    append_all(store, 0, some_evaluations(1))
    store.close()
    with pytest.raises(RunError, match="--resume"):
        create_run(store.folder, Config())
    replaced = create_run(store.folder, Config(), overwrite=True)
    assert replaced.evaluations() == ()
    replaced.close()


@pytest.mark.parametrize("name", ["thesis.txt", "thesis.part", ".config.yaml.old"])
def test_a_folder_with_other_things_in_it_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="not empty"):
            create_run(tmp_path, Config(), overwrite=overwrite)
    assert (tmp_path / name).read_text() == "years of work"


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="it is a file"):
        create_run(tmp_path / "file", Config())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="must be writable"):
        create_run(tmp_path / "file" / "run", Config())


def test_no_run_there(tmp_path: Path) -> None:
    for opener in (read_run, resume_run):
        with pytest.raises(RunError, match=r"no run\.sqlite"):
            opener(tmp_path)


def test_a_damaged_record_is_said_to_be_damaged(store: RunStore) -> None:
    append_all(store, 0, some_evaluations(1))
    store.close()
    (store.folder / "run.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(RunError, match="cannot be used"):
        read_run(store.folder)


def test_an_evaluation_that_was_tampered_with(store: RunStore) -> None:
    append_all(store, 0, some_evaluations(1))
    connection = sqlite3.connect(store.folder / "run.sqlite")
    with connection:
        connection.execute("UPDATE evaluations SET payload = '{\"status\": 5}'")
    connection.close()
    with pytest.raises(RunError, match="fault"):
        store.batches()


@pytest.mark.parametrize("rule", ["../../etc", "..", "macs<=2M", "a/b", "knee+cheapest"])
def test_networks_stay_inside_the_folder(store: RunStore, rule: str) -> None:
    folder = store.network_folder(rule).resolve()
    assert folder.parent == (store.folder / "chosen").resolve()


def test_rules_have_folders_of_their_own(store: RunStore) -> None:
    rules = ["macs<=2M", "macs>=2M", "macs<=2.5M", "knee", "knee+cheapest", "0"]
    assert len({store.network_folder(rule) for rule in rules}) == len(rules)
    assert store.network_folder("knee+cheapest").name == "knee+cheapest"
