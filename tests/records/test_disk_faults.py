"""Full disks, folders that may only be read, power cuts and kills: a sentence each, and nothing lost."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from offramp.errors import RunError
from offramp.files.safe_files import write_atomically
from offramp.records import create_run, read_run, resume_run
from offramp.records.folder_lock import search_is_running
from offramp.settings.config import Config
from tests.records.record_samples import append_all, some_evaluations

# In a name space of its own anybody may mount; `sh -c` with these arguments runs Python with the folder mounted so.
_SMALL_DISK = 'mount -t tmpfs -o size=256k none "$1" && exec "$0" -c "$2" "$1"'
_READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$0" -c "$2" "$1"'

_FILL = """
import sys
from pathlib import Path
from offramp.settings.config import Config
from offramp.errors import RunError
from offramp.records import create_run, read_run, resume_run
from tests.records.record_samples import some_evaluations
folder = Path(sys.argv[1]) / "run"
store, kept = create_run(folder, Config()), 0
evaluations = some_evaluations(400)
try:
    store.propose(0, [e.architecture for e in evaluations[:100]])
    for position, evaluation in enumerate(evaluations):
        store.append(0, position, evaluation)
        kept += 1
except RunError as exc:
    print(exc)
store.close()
reader = read_run(folder)
assert reader.evaluations() == tuple(evaluations[:kept]), len(reader.evaluations())
reader.close()
(Path(sys.argv[1]) / "ballast").unlink()
store = resume_run(folder)
store.append(0, kept, evaluations[kept])
assert len(store.evaluations()) == kept + 1
print("kept", kept)
"""

_LOOK = """
import sys
from pathlib import Path
from offramp.settings.config import Config
from offramp.errors import RunError
from offramp.records import create_run, read_run, resume_run
folder = Path(sys.argv[1])
print(len(read_run(folder / "run").evaluations()))
for act in (lambda: resume_run(folder / "run"), lambda: create_run(folder / "new", Config()),
            lambda: create_run(folder / "run", Config(), overwrite=True)):
    try:
        act()
    except RunError as exc:
        print(exc)
"""


def in_a_name_space(mount: str, folder: Path, code: str) -> list[str]:
    """Lines that ``code`` prints where ``folder`` is mounted in another way."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, sys.executable, str(folder), code]
    probe = [*command[:5], "-c", "mount -t tmpfs none /tmp"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("name spaces with mounts are not allowed here")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    code = _FILL.replace("folder = ", 'Path(sys.argv[1], "ballast").write_bytes(bytes(80_000))\nfolder = ', 1)
    lines = in_a_name_space(_SMALL_DISK, tmp_path / "disk", code)
    assert "cannot be written any further: the disk is full" in lines[0]
    assert "free some space and continue with: offramp search --run" in lines[0]
    assert int(lines[-1].split()[1]) > 0


def test_a_folder_that_may_only_be_read(tmp_path: Path) -> None:
    store = create_run(tmp_path / "disk" / "run", Config())
    append_all(store, 0, some_evaluations(3))
    store.close()
    lines = in_a_name_space(_READ_ONLY, tmp_path / "disk", _LOOK)
    assert lines[0] == "3"
    assert len(lines) == 4
    assert all("must be writable, but: Read-only file system" in line for line in lines[1:])
    reader = read_run(tmp_path / "disk" / "run")
    assert len(reader.evaluations()) == 3
    reader.close()


def killed_in_a_transaction(folder: Path) -> None:
    """A run whose last transaction reached the file in part: what a kill at a bad moment leaves."""
    store = create_run(folder, Config())
    append_all(store, 0, some_evaluations(40))
    store.close()
    code = (
        "import os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1])\n"
        "connection.execute('PRAGMA cache_size=1')\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "connection.execute(\"UPDATE evaluations SET payload = '{}'\")\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder / "run.sqlite")], check=False, timeout=60)
    assert (folder / "run.sqlite-journal").stat().st_size > 0
    raw = (folder / "run.sqlite").read_bytes()
    (folder / "run.sqlite").write_bytes(raw)


def test_a_reader_undoes_what_a_kill_left(tmp_path: Path) -> None:
    killed_in_a_transaction(tmp_path / "run")
    reader = read_run(tmp_path / "run")
    assert reader.evaluations() == tuple(some_evaluations(40))
    with pytest.raises(RunError, match="readonly"):
        reader.set("key", "value")
    reader.close()


def test_a_reader_of_a_folder_that_may_only_be_read_does_so_in_a_copy(tmp_path: Path) -> None:
    killed_in_a_transaction(tmp_path / "disk" / "run")
    lines = in_a_name_space(_READ_ONLY, tmp_path / "disk", _LOOK)
    assert lines[0] == "40"
    assert (tmp_path / "disk" / "run" / "run.sqlite-journal").exists()


def test_a_search_that_goes_on_undoes_it_too(tmp_path: Path) -> None:
    killed_in_a_transaction(tmp_path / "run")
    store = resume_run(tmp_path / "run")
    assert store.evaluations() == tuple(some_evaluations(40))
    store.close()


def test_transactions_are_durable_to_the_end(tmp_path: Path) -> None:
    store = create_run(tmp_path / "run", Config())
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (3,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    store.close()


def test_a_file_and_its_name_are_on_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def noting_sync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        events.append("folder" if path.is_dir() else f"file of {path.stat().st_size}")
        sync(handle)

    def noting_replace(self: Path, target: Path) -> Path:
        events.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_sync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    write_atomically(tmp_path / "weights", b"12345")
    assert events == ["file of 5", "name", "folder"]


@pytest.mark.parametrize("left", [(), (".lock",), (".lock", "config.yaml", "run.sqlite"), (".config.yaml.x1.part",)])
def test_a_start_that_was_killed_is_no_obstacle(tmp_path: Path, left: tuple[str, ...]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in left:
        (folder / name).touch()
    store = create_run(folder, Config())
    append_all(store, 0, some_evaluations(1))
    store.close()
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "config.yaml", "run.sqlite"]


def test_leftovers_of_a_kill_are_removed_when_the_run_goes_on(tmp_path: Path) -> None:
    create_run(tmp_path / "run", Config()).close()
    chosen = tmp_path / "run" / "chosen" / "knee"
    (chosen / ".bundle.ab12.part").mkdir(parents=True)
    (chosen / ".bundle.ab12.part" / "model.onnx").touch()
    (tmp_path / "run" / ".supernet.safetensors.x.part").touch()
    (chosen / "network.json").touch()
    resume_run(tmp_path / "run").close()
    files = [path.name for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert sorted(files) == [".lock", "config.yaml", "network.json", "run.sqlite"]


def test_one_can_tell_whether_a_search_is_running(tmp_path: Path) -> None:
    store = create_run(tmp_path / "run", Config())
    assert search_is_running(tmp_path / "run")
    store.close()
    assert not search_is_running(tmp_path / "run")
    assert not search_is_running(tmp_path)
    code = (
        "import os, sys; from pathlib import Path; from offramp.records import resume_run\n"
        "store = resume_run(Path(sys.argv[1])); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False, timeout=60)
    assert (tmp_path / "run" / ".lock").stat().st_size > 0
    assert not search_is_running(tmp_path / "run")
    (tmp_path / "run" / ".lock").write_text('{"pid": 1, "host": "far-away"}')
    assert search_is_running(tmp_path / "run")


def test_two_searches_started_at_once_on_a_new_folder(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from offramp.settings.config import Config\n"
        "from offramp.errors import RunError; from offramp.records import create_run\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try: store = create_run(Path(sys.argv[1]), Config()); print('mine'); time.sleep(0.5)\n"
        "except RunError as exc: print(exc)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        process.stdout.readline()
    answers = sorted(process.communicate("go\n", timeout=60)[0].strip() for process in both)
    assert answers[1] == "mine"
    assert "in use by another search" in answers[0] or "already holds a run" in answers[0]
    reader = sqlite3.connect(tmp_path / "run" / "run.sqlite")
    assert reader.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() == ("5",)
    reader.close()
