"""A layer engine with a cache in memory and in an SQLite file that several processes may share."""

import hashlib
import math
import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from offramp import jsonio
from offramp.cost.report import LayerCost, LayerEngine
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.errors import InputError
from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape

BATCH_SIZE = 32
"""Jobs priced between two writes: what an interruption can cost."""

_BUSY_TIMEOUT_S = 30.0
_QUERY_SIZE = 500
_TABLE = "CREATE TABLE IF NOT EXISTS layer_costs (key TEXT PRIMARY KEY, engine TEXT NOT NULL, cost TEXT NOT NULL)"


def default_cache_path() -> Path:
    """``layer_costs.sqlite`` in the folder OFFRAMP_CACHE, or else in offramp's folder of the user's cache directory."""
    folder = os.environ.get("OFFRAMP_CACHE")
    if folder:
        return Path(folder).expanduser() / "layer_costs.sqlite"
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification wants relative paths to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path("~/.cache").expanduser()
    return root / "offramp" / "layer_costs.sqlite"


class CachedEngine:
    """Asks ``engine`` only for layers that were never priced before.

    Keys hold the engine's name and version, the whole layer shape with its bits, and the whole core but its name and
    source. A file that cannot be written costs persistence, never the run; a damaged one is set aside and rebuilt.
    ``path`` None keeps prices in memory only.
    """

    def __init__(self, engine: LayerEngine, path: Path | None) -> None:
        self._engine = engine
        self._path = path
        self._known: dict[tuple[LayerShape, Core], LayerCost] = {}
        self._writable = path is not None
        self._shared: sqlite3.Connection | None = None
        self._together = False
        self._pending: dict[tuple[LayerShape, Core], LayerCost] = {}

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def version(self) -> str:
        return self._engine.version

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """One cost per job, in order; as the engine beneath, but each job is asked of it once in a lifetime."""
        missing = [job for job in dict.fromkeys(jobs) if job not in self._known]
        if missing:
            self._recall(missing)
            self._price_missing([job for job in missing if job not in self._known])
        return [self._known[job] for job in jobs]

    @contextmanager
    def together(self) -> Iterator[None]:
        """For many small questions: inside, the file stays open, and what is new is written in batches."""
        if self._together:
            yield
            return
        self._together = True
        try:
            yield
        finally:
            self._flush()
            self._together = False
            self._close()

    def _close(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        if pending:
            self._write(pending)

    def _price_missing(self, missing: list[tuple[LayerShape, Core]]) -> None:
        unpriced: list[UnpricedJob] = []
        for start in range(0, len(missing), BATCH_SIZE):
            batch = missing[start : start + BATCH_SIZE]
            try:
                costs = self._engine.price(batch)
            except UnpricedJobsError as exc:
                unpriced += exc.jobs
                continue
            priced = dict(zip(batch, costs, strict=True))
            self._known.update(priced)
            self._remember(priced)
        if unpriced:
            raise UnpricedJobsError(self._engine.name, unpriced)

    def _key(self, job: tuple[LayerShape, Core]) -> str:
        text = "\n".join((self._engine.name, self._engine.version, _shape_json(job[0]), _core_json(job[1])))
        return hashlib.sha256(text.encode()).hexdigest()

    def _recall(self, jobs: list[tuple[LayerShape, Core]]) -> None:
        """Take over what the file knows of ``jobs``; an entry that makes no sense counts as unknown."""
        by_key: dict[str, list[tuple[LayerShape, Core]]] = {}
        for job in jobs:
            by_key.setdefault(self._key(job), []).append(job)
        keys = list(by_key)
        with self._open() as connection:
            if connection is None:
                return
            for start in range(0, len(keys), _QUERY_SIZE):
                part = keys[start : start + _QUERY_SIZE]
                marks = ",".join("?" * len(part))
                rows = connection.execute(f"SELECT key, cost FROM layer_costs WHERE key IN ({marks})", part)
                for key, text in rows.fetchall():
                    cost = _parse(text)
                    if cost is not None:
                        self._known.update((job, cost) for job in by_key[key])

    def _remember(self, priced: dict[tuple[LayerShape, Core], LayerCost]) -> None:
        if not self._writable:
            return
        if not self._together:
            self._write(priced)
            return
        self._pending |= priced
        if len(self._pending) >= BATCH_SIZE:
            self._flush()

    def _write(self, priced: dict[tuple[LayerShape, Core], LayerCost]) -> None:
        engine = f"{self._engine.name} {self._engine.version}"
        rows = [(self._key(job), engine, jsonio.dumps(cost)) for job, cost in priced.items()]
        with self._open() as connection:
            if connection is not None:
                # Replacing heals entries that could not be read; two processes write the same figures anyway.
                connection.executemany("INSERT OR REPLACE INTO layer_costs VALUES (?, ?, ?)", rows)
                connection.commit()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for one batch, None without a usable file; errors inside switch persistence off or heal."""
        connection = self._shared or self._connect()
        if connection is None:
            yield None
            return
        try:
            yield connection
        except sqlite3.OperationalError as exc:
            self._give_up(exc)
        except sqlite3.DatabaseError as exc:
            connection.close()
            self._shared = None
            self._set_aside(exc)
            return
        if self._together:
            self._shared = connection
        else:
            connection.close()

    def _connect(self) -> sqlite3.Connection | None:
        if self._path is None:
            return None
        if self._writable:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return _connect_writable(self._path)
            except sqlite3.OperationalError as exc:
                self._give_up(exc)
            except sqlite3.DatabaseError as exc:
                self._set_aside(exc)
                return self._connect()
            except OSError as exc:
                self._give_up(exc)
        return _connect_read_only(self._path)

    def _give_up(self, exc: Exception) -> None:
        if self._writable:
            self._writable = False
            warnings.warn(
                f"The cost cache {self._path} cannot be written ({exc}); prices of this run are not kept.", stacklevel=2
            )

    def _set_aside(self, exc: Exception) -> None:
        """Move a damaged file out of the way; without the right to do that, do without persistence."""
        assert self._path is not None
        aside = self._path.with_name(f"{self._path.name}.damaged")
        try:
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._path.replace(aside)
        except OSError:
            self._give_up(exc)
            return
        warnings.warn(f"The cost cache {self._path} was damaged ({exc}); it is kept as {aside.name}.", stacklevel=2)


def _connect_writable(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(_TABLE)
        connection.commit()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection | None:
    """A file in a folder that may only be read: opened as unchanging, since WAL needs files beside it."""
    if not path.is_file():
        return None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
        connection.execute("SELECT key, cost FROM layer_costs LIMIT 1").fetchone()
    except sqlite3.Error:
        return None
    return connection


def _parse(text: object) -> LayerCost | None:
    if not isinstance(text, str):
        return None
    try:
        cost = jsonio.loads(LayerCost, text)
    except InputError:
        return None
    figures = (cost.latency_cycles, cost.energy_pj)
    return cost if all(math.isfinite(x) and x >= 0 for x in figures) else None


@lru_cache(maxsize=4096)
def _shape_json(shape: LayerShape) -> str:
    return jsonio.dumps(shape)


@lru_cache(maxsize=256)
def _core_json(core: Core) -> str:
    return jsonio.dumps(replace(core, name="", source=""))
