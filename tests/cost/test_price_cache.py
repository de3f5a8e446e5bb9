import multiprocessing
import os
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from offramp.cost import price_cache as cache
from offramp.cost.price_cache import CachedEngine, default_cache_path
from offramp.cost.report import LayerCost, LayerEngine
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.hardware.accelerator import Core, CoreKind
from offramp.workload.layer import LayerShape, Op
from tests.cost.toys import ToyEngine, conv, core, dense

NPU = core("npu", CoreKind.COMPUTE)
JOBS = [(dense(16), NPU), (conv(), NPU), (dense(16), NPU)]


def test_second_engine_on_the_same_file_asks_nothing(tmp_path: Path) -> None:
    first, second = ToyEngine(), ToyEngine()
    path = tmp_path / "deep" / "down" / "cache.sqlite"
    costs = CachedEngine(first, path).price(JOBS)
    assert first.asked == JOBS[:2]
    assert CachedEngine(second, path).price(JOBS) == costs
    assert second.asked == []


def test_same_engine_asks_once_without_a_file() -> None:
    engine = ToyEngine()
    cached = CachedEngine(engine, None)
    assert cached.price(JOBS) == cached.price(JOBS)
    assert len(engine.asked) == 2


def test_name_and_source_of_a_core_do_not_matter_and_everything_else_does(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    CachedEngine(ToyEngine(), path).price([(dense(16), NPU)])
    engine = ToyEngine()
    CachedEngine(engine, path).price([(dense(16), replace(NPU, name="other", source="somewhere"))])
    assert engine.asked == []
    others = [
        (replace(dense(16), weight_bits=4), NPU),
        (replace(dense(16), activation_bits=4), NPU),
        (dense(17), NPU),
        (dense(16), replace(NPU, mac_energy_pj=0.25)),
        (dense(16), replace(NPU, memories=(replace(NPU.memories[0], size_bits=5),))),
    ]
    CachedEngine(engine, path).price(others)
    assert engine.asked == others


def test_engine_and_version_are_part_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    CachedEngine(ToyEngine(), path).price(JOBS)
    newer = ToyEngine(version="2")
    CachedEngine(newer, path).price(JOBS)
    assert len(newer.asked) == 2
    assert CachedEngine(newer, path).version == "2"
    assert CachedEngine(newer, path).name == "toy"


@pytest.mark.parametrize(
    "content",
    [b"", b"not a database at all, but long enough to look like one" * 40, b"SQLite format 3\0" + b"\1" * 900],
)
def test_damaged_file_is_set_aside_and_rebuilt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        costs = CachedEngine(ToyEngine(), path).price(JOBS)
    assert len(costs) == 3
    if content:
        assert "was damaged" in str(caught[0].message)
        assert (tmp_path / "c.sqlite.damaged").read_bytes() == content
    again = ToyEngine()
    CachedEngine(again, path).price(JOBS)
    assert again.asked == []


def test_file_damaged_in_the_middle_costs_entries_but_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    many = [(dense(size), NPU) for size in range(1, 200)]
    CachedEngine(ToyEngine(), path).price(many)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = bytearray(path.read_bytes())
    data[4096 : len(data) - 100] = b"\xff" * (len(data) - 4196)
    path.write_bytes(bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(CachedEngine(ToyEngine(), path).price(many)) == 199
        assert len(CachedEngine(ToyEngine(), path).price(many)) == 199


@pytest.mark.parametrize("text", ["", "{}", "nonsense", '{"temporal_cycles": NaN}', "[1,2]"])
def test_entry_that_makes_no_sense_is_priced_again_and_healed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.sqlite"
    CachedEngine(ToyEngine(), path).price(JOBS)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE layer_costs SET cost = ?", (text,))
    healing, after = ToyEngine(), ToyEngine()
    CachedEngine(healing, path).price(JOBS)
    CachedEngine(after, path).price(JOBS)
    assert (len(healing.asked), len(after.asked)) == (2, 0)


def test_table_of_another_layout_does_not_stop_the_run(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE layer_costs (something INTEGER)")
    with pytest.warns(UserWarning, match="cannot be written"):
        assert len(CachedEngine(ToyEngine(), path).price(JOBS)) == 3


def test_folder_that_cannot_be_made_costs_persistence_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cached = CachedEngine(ToyEngine(), tmp_path / "file" / "c.sqlite")
    with pytest.warns(UserWarning, match="prices of this run are not kept"):
        assert len(cached.price(JOBS)) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(cached.price([(dense(5), NPU)])) == 1


def test_path_that_is_a_folder_costs_persistence_only(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="cannot be written"):
        assert len(CachedEngine(ToyEngine(), tmp_path).price(JOBS)) == 3


def test_existing_file_that_may_only_be_read_still_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.sqlite"
    CachedEngine(ToyEngine(), path).price(JOBS)

    def refused(_path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    # Tests may run as root, whom no file mode stops.
    monkeypatch.setattr(cache, "_connect_writable", refused)
    engine = ToyEngine()
    with pytest.warns(UserWarning, match="readonly"):
        CachedEngine(engine, path).price([*JOBS, (dense(3), NPU)])
    assert engine.asked == [(dense(3), NPU)]


class Interrupted(ToyEngine):
    """Stops in its second batch."""

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        if self.asked:
            raise KeyboardInterrupt
        return super().price(jobs)


def test_interruption_keeps_what_was_priced(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    many = [(dense(size), NPU) for size in range(1, cache.BATCH_SIZE + 5)]
    with pytest.raises(KeyboardInterrupt):
        CachedEngine(Interrupted(), path).price(many)
    engine = ToyEngine()
    CachedEngine(engine, path).price(many)
    assert engine.asked == many[cache.BATCH_SIZE :]


class NoConvolutions(ToyEngine):
    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        bad = [UnpricedJob(shape, core.name, "no") for shape, core in jobs if shape.op is Op.CONV]
        if bad:
            raise UnpricedJobsError(self.name, bad)
        return super().price(jobs)


def test_rejected_layers_of_all_batches_are_named_together(tmp_path: Path) -> None:
    jobs = [(conv(size, size), NPU) if size in (3, 60) else (dense(size), NPU) for size in range(1, 70)]
    with pytest.raises(UnpricedJobsError) as caught:
        CachedEngine(NoConvolutions(), tmp_path / "c.sqlite").price(jobs)
    assert [job.shape for job in caught.value.jobs] == [conv(3, 3), conv(60, 60)]


def _fill(path: str, first: int) -> None:
    engine = CachedEngine(ToyEngine(), Path(path))
    for size in range(first, first + 40):
        engine.price([(dense(size), NPU)])


def test_several_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fill, args=(str(path), first)) for first in (1, 20, 30)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    engine = ToyEngine()
    CachedEngine(engine, path).price([(dense(size), NPU) for size in range(1, 70)])
    assert engine.asked == []


def test_default_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "mine"))
    assert default_cache_path() == tmp_path / "mine" / "layer_costs.sqlite"
    monkeypatch.delenv("OFFRAMP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_path() == tmp_path / "offramp" / "layer_costs.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_path() == tmp_path / ".cache" / "offramp" / "layer_costs.sqlite"


def test_another_process_finds_the_same_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    code = (
        "import sys; from pathlib import Path; from offramp.cost.price_cache import CachedEngine;"
        "from tests.cost.test_price_cache import JOBS, ToyEngine;"
        "CachedEngine(ToyEngine(), Path(sys.argv[1])).price(JOBS)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment)
    engine = ToyEngine()
    CachedEngine(engine, path).price(JOBS)
    assert engine.asked == []


def test_is_a_layer_engine() -> None:
    engine: LayerEngine = CachedEngine(ToyEngine(), None)
    assert engine.price([]) == []


def test_in_batches_the_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    connect = cache._connect_writable

    def counted(path: Path) -> sqlite3.Connection:
        opened.append(path)
        return connect(path)

    monkeypatch.setattr(cache, "_connect_writable", counted)
    path = tmp_path / "c.sqlite"
    engine = CachedEngine(ToyEngine(), path)
    shapes = [dense(size) for size in range(1, cache.BATCH_SIZE + 4)]
    with engine.batched_writes():
        for shape in shapes:
            engine.price([(shape, NPU)])
        with engine.batched_writes():
            assert engine.price([(shapes[0], NPU)])
    assert len(opened) == 1
    again = ToyEngine()
    known = CachedEngine(again, path)
    with known.batched_writes():
        assert [known.price([(shape, NPU)])[0] for shape in shapes] == [engine.price([(s, NPU)])[0] for s in shapes]
    assert again.asked == []


def test_batches_keep_what_was_priced_before_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    engine = CachedEngine(ToyEngine(), path)

    def interrupted() -> None:
        with engine.batched_writes():
            engine.price(JOBS)
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        interrupted()
    later = ToyEngine()
    CachedEngine(later, path).price(JOBS)
    assert later.asked == []


def test_batches_repair_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"\1" * 900)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = CachedEngine(ToyEngine(), path)
        with engine.batched_writes():
            costs = engine.price(JOBS)
            assert engine.price([(dense(99), NPU)])
    later = ToyEngine()
    assert CachedEngine(later, path).price(JOBS) == costs
    assert later.asked == []


def rows_in(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM layer_costs").fetchone()[0])


def test_a_full_batch_is_written_at_once(tmp_path: Path) -> None:
    """A process that is killed in a long mapping loses less than a batch."""
    path = tmp_path / "c.sqlite"
    engine = CachedEngine(ToyEngine(), path)
    with engine.batched_writes():
        for size in range(1, cache.BATCH_SIZE):
            engine.price([(dense(size), NPU)])
        assert rows_in(path) == 0
        engine.price([(dense(cache.BATCH_SIZE), NPU)])
        assert rows_in(path) == cache.BATCH_SIZE
        engine.price([(dense(cache.BATCH_SIZE + 1), NPU)])
    assert rows_in(path) == cache.BATCH_SIZE + 1
