"""A run folder from elsewhere destroys nothing, hangs nothing, and says what is wrong with it."""

import contextlib
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from offramp.errors import RunError
from offramp.records import create_run, read_run, resume_run
from offramp.records.folder_lock import lock_folder, search_is_running
from offramp.records.record_rows import write_totals
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config
from tests.records.record_samples import append_all, some_evaluations

OPENERS = (read_run, resume_run)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with four evaluations and files of every kind that a search writes."""
    store = create_run(tmp_path / "run", with_settings(Config(), {"deploy.targets": ("onnx", "web")}))
    append_all(store, 0, some_evaluations(4))
    store.close()
    for name in (
        "supernet.safetensors",
        "summary.json",
        "report.html",
        "tensorboard/events.out.tfevents.1.host",
        "chosen/knee/weights.safetensors",
        "chosen/knee/network.json",
        "chosen/knee/bundle/manifest.json",
        "chosen/knee/bundle/stage0.onnx",
        "chosen/knee/bundle/LICENCE.txt",
        "chosen/knee/web/page/index.html",
        "chosen/knee/.bundle.1234.part/stage0.onnx",
        ".workers.part/data.safetensors",
        ".report.html.abc.part",
    ):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("ours")
    return tmp_path / "run"


def change(run: Path, *statements: str) -> None:
    connection = sqlite3.connect(run / "run.sqlite")
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_run_of_ours_is_replaced_as_a_whole(run: Path) -> None:
    create_run(run, Config(), overwrite=True).close()
    assert sorted(path.name for path in run.iterdir()) == [".lock", "config.yaml", "run.sqlite"]


def test_a_run_that_cannot_be_resumed_is_not_locked(run: Path) -> None:
    change(run, "DELETE FROM meta WHERE key = 'settings'")
    with pytest.raises(RunError) as refused:
        resume_run(run)
    lock_folder(run).close()
    # Until here, the error kept all that the failed call had opened.
    assert "must hold its settings" in str(refused.value)


@pytest.mark.parametrize(
    "name", ["notes.txt", "chosen/knee/bundle/notes.txt", "chosen/photo.jpg", "chosen/knee/other/a", "tensorboard/x"]
)
def test_a_foreign_file_in_a_run_makes_overwrite_refuse_and_is_named(run: Path, name: str) -> None:
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("precious")
    before = sorted(run.rglob("*"))
    with pytest.raises(RunError, match=f"only what offramp wrote.*'{name}'"):
        create_run(run, Config(), overwrite=True)
    assert sorted(run.rglob("*")) == before
    assert (run / name).read_text() == "precious"


def test_a_folder_with_a_database_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    change(tmp_path, "CREATE TABLE meta (key TEXT, value TEXT)", "INSERT INTO meta VALUES ('schema', '5')")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="not the record of a run"):
            create_run(tmp_path, Config(), overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to])
def test_what_a_lock_file_points_to_keeps_its_content(
    run: Path, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "victim").write_bytes(b"x" * 9000)
    (run / ".lock").unlink()
    make(run / ".lock", tmp_path / "victim")
    for act in (lambda: resume_run(run), lambda: create_run(run, Config(), overwrite=True)):
        with pytest.raises(RunError, match="link"):
            act()
    assert (tmp_path / "victim").stat().st_size == 9000


def test_a_lock_file_that_holds_something_else_is_not_emptied(run: Path) -> None:
    (run / ".lock").write_text("dear diary")
    with pytest.raises(RunError, match="holds something else"):
        resume_run(run)
    assert (run / ".lock").read_text() == "dear diary"


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[" * 900, '{"pid": 1e400}', '{"pid": 10000000000000000000000, "host": "x"}'),
        *('{"pid": 0, "host": 1}', '{"pid": -1, "host": "x"}', "7", '"x"', '{"pid": [], "host": {}}', "\udcff"),
    ],
)
def test_an_odd_lock_file_means_that_no_search_is_running(tmp_path: Path, text: str) -> None:
    (tmp_path / ".lock").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert not search_is_running(tmp_path)


@pytest.mark.parametrize("name", ["run.sqlite", "run.sqlite-journal", "run.sqlite-wal", ".lock"])
def test_a_pipe_hangs_nothing(run: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    code = (
        "import sys; from pathlib import Path; from offramp.records import read_run, resume_run\n"
        "from offramp.records.folder_lock import search_is_running; from offramp.errors import RunError\n"
        "run = Path(sys.argv[1]); search_is_running(run)\n"
        "for opener in (read_run, resume_run):\n"
        "    try: opener(run).close()\n"
        "    except RunError as exc: print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "a pipe" in done.stdout


def test_a_link_as_the_record_is_not_followed(run: Path, tmp_path: Path) -> None:
    (run / "run.sqlite").rename(tmp_path / "elsewhere")
    (run / "run.sqlite").symlink_to(tmp_path / "elsewhere")
    for opener in OPENERS:
        with pytest.raises(RunError, match=r"run\.sqlite (is a link|\(a link\))"):
            opener(run)


def test_a_journal_cannot_have_another_file_deleted(run: Path, tmp_path: Path) -> None:
    """SQLite deletes the file that the end of a journal names, once it has undone what the journal holds."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    name = str(victim).encode()
    page = (run / "run.sqlite").read_bytes()[:4096]
    header = bytes.fromhex("d9d505f920a163d7") + struct.pack(">5I", 1, 0, len(page), 512, 4096)
    checksum = sum(page[place] for place in range(4096 - 200, 0, -200)) & 0xFFFFFFFF
    end = struct.pack(">I", 0x40000000 // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name))
    journal = header.ljust(512, b"\0") + struct.pack(">I", 1) + page + struct.pack(">I", checksum) + end
    (run / "run.sqlite-journal").write_bytes(journal + bytes.fromhex("d9d505f920a163d7"))
    for opener in OPENERS:
        with pytest.raises(RunError, match="names another file"):
            opener(run)
    assert victim.read_text() == "precious"


def test_a_link_among_unfinished_files_is_removed_and_its_target_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (run / ".y.part").symlink_to(tmp_path / "kept")
    resume_run(run).close()
    assert not (run / ".y.part").is_symlink()
    assert (tmp_path / "kept/file").exists()


def test_a_link_to_another_folder_is_not_written_through(run: Path, tmp_path: Path) -> None:
    (run / "chosen").rename(tmp_path / "chosen")
    (run / "chosen").symlink_to(tmp_path / "chosen")
    with pytest.raises(RunError, match=r"only files and folders.*'chosen \(a link\)'"):
        resume_run(run)
    with pytest.raises(RunError, match=r"only what offramp wrote.*'chosen \(a link\)'"):
        create_run(run, Config(), overwrite=True)
    assert (tmp_path / "chosen/knee/network.json").exists()


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS key, x AS value FROM c"


@pytest.mark.parametrize(
    "statements",
    [
        (f"CREATE VIEW endless AS {ENDLESS}",),
        ("ALTER TABLE meta RENAME TO old", f"CREATE VIEW meta AS {ENDLESS}"),
        ("CREATE TRIGGER t AFTER INSERT ON evaluations BEGIN DELETE FROM evaluations; END",),
        ("CREATE INDEX i ON evaluations (status)",),
        ("CREATE TABLE extra (x)",),
        ("DROP TABLE checkpoints",),
        ("DROP TABLE checkpoints", "CREATE TABLE checkpoints (path TEXT CHECK (abs(length(path)) > 0), s, b, e)"),
    ],
)
def test_a_record_with_views_triggers_or_other_tables_is_refused(run: Path, statements: tuple[str, ...]) -> None:
    change(run, *statements)
    for opener in OPENERS:
        with pytest.raises(RunError, match=r"tables of a run only|names its schema"):
            opener(run)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM evaluations WHERE position = 3",
        "DELETE FROM evaluations",
        "DELETE FROM proposals WHERE position = 3",
        "DELETE FROM batches",
        "INSERT INTO checkpoints VALUES ('/etc/passwd', '', 0, 0)",
        "DELETE FROM meta WHERE key = 'rows'",
        "UPDATE meta SET value = x'00' WHERE key = 'rows'",
    ],
)
def test_rows_that_were_removed_or_added_are_noticed(run: Path, statement: str) -> None:
    change(run, statement)
    for opener in OPENERS:
        with pytest.raises(RunError, match="must hold every row that was written"):
            opener(run)


@pytest.mark.parametrize(
    "statements",
    [
        ("UPDATE evaluations SET payload = (SELECT payload FROM evaluations WHERE position = 1) WHERE position = 0",),
        ("UPDATE evaluations SET seconds = 99 WHERE position = 2",),
        (
            "UPDATE evaluations SET position = 99 WHERE position = 0",
            "UPDATE evaluations SET position = 0 WHERE position = 1",
            "UPDATE evaluations SET position = 1 WHERE position = 99",
        ),
        ("UPDATE batches SET asked = 7",),
        ("DELETE FROM evaluations WHERE position = 3", "INSERT INTO evaluations VALUES (0, 3, '', '', '', 0, '')"),
        ("UPDATE meta SET value = '00' WHERE key = 'digest'",),
        ("DELETE FROM meta WHERE key = 'digest'",),
    ],
)
def test_rows_that_were_changed_or_exchanged_are_noticed(run: Path, statements: tuple[str, ...]) -> None:
    change(run, *statements)
    for opener in OPENERS:
        with pytest.raises(RunError, match="must hold every row as it was written"):
            opener(run)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE evaluations SET seconds = 'yes' WHERE position = 2", "table evaluations holds 'yes'"),
        ("UPDATE evaluations SET seconds = 9e999 WHERE position = 2", "table evaluations holds inf"),
        ("UPDATE evaluations SET worker = x'00' WHERE position = 2", "table evaluations holds b"),
        ("UPDATE batches SET asked = -1", "table batches holds -1"),
        ("INSERT INTO checkpoints VALUES ('a', 'b', 'c', 0)", "table checkpoints holds 'c'"),
        ("DELETE FROM proposals WHERE position = 1", "evaluations has a row without the row in proposals"),
        ("DELETE FROM batches", "proposals has a row without the row in batches"),
        ("UPDATE evaluations SET payload = CAST(x'ff22' AS TEXT)", "text that is not UTF-8|cannot be used"),
    ],
)
def test_rows_that_no_search_writes_are_refused_also_with_the_right_digest(
    run: Path, statement: str, words: str
) -> None:
    change(run, statement)
    connection = sqlite3.connect(run / "run.sqlite")
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    with connection, contextlib.suppress(UnicodeEncodeError):
        write_totals(connection)
    connection.close()
    for opener in OPENERS:
        with pytest.raises(RunError, match=words):
            opener(run)


def test_an_error_of_sqlite_that_quotes_no_text_is_a_sentence(run: Path) -> None:
    """The name of a table in the schema is no UTF-8, and SQLite quotes it."""
    content = (run / "run.sqlite").read_bytes()
    (run / "run.sqlite").write_bytes(content.replace(b"CREATE TABLE batches", b"CREATE TABLE b\xfftches"))
    for opener in OPENERS:
        with pytest.raises(RunError, match="cannot be used"):
            opener(run)


def test_the_digest_of_rows_follows_what_is_replaced_and_removed(run: Path) -> None:
    """The same rows have the same digest, in whatever way they came to be there."""

    def digest() -> str | None:
        store = read_run(run)
        try:
            return store.get("digest")
        finally:
            store.close()

    before = digest()
    weights = run / "chosen/knee/weights.safetensors"
    for text in ("one", "two"):
        weights.write_text(text)
        store = resume_run(run)
        store.record_checkpoint(weights, 3)
        store.close()
        assert digest() != before
    store = resume_run(run)
    store.remove_network(run / "chosen/knee")
    store.close()
    assert digest() == before


def test_pages_that_contain_themselves_are_refused_at_once(run: Path) -> None:
    """Every table of the record becomes a tree whose only inner page is its own child."""
    content = bytearray((run / "run.sqlite").read_bytes())
    connection = sqlite3.connect(run / "run.sqlite")
    roots = [row[0] for row in connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'proposals'")]
    connection.close()
    for number in roots:
        start = (number - 1) * 4096
        content[start : start + 12] = struct.pack(">BHHHBI", 5, 0, 1, 4000, 0, number)
        content[start + 12 : start + 14] = struct.pack(">H", 4000)
        content[start + 4000 : start + 4005] = struct.pack(">IB", number, 1)
    (run / "run.sqlite").write_bytes(content)
    with pytest.raises(RunError, match="cannot be used"):
        read_run(run)
