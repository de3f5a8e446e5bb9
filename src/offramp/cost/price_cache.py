"""The cache of layer prices: in memory, and in an SQLite file that several processes may share."""

import hashlib
import math
import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from offramp import jsonio
from offramp.cost.engines import engine_calls
from offramp.cost.engines.cost_engine import MultiGoalEngine
from offramp.cost.report import LayerCost, LayerEngine
from offramp.cost.unsupported import UnpricedJob, UnpricedJobsError
from offramp.errors import InputError
from offramp.hardware.accelerator import Core
from offramp.workload.layer import LayerShape

BATCH_SIZE = 32
"""Jobs priced between two writes: the most that an interruption can lose."""

_BUSY_TIMEOUT_S = 30.0
_QUERY_SIZE = 500
_TABLE = "CREATE TABLE IF NOT EXISTS layer_costs (key TEXT PRIMARY KEY, engine TEXT NOT NULL, cost TEXT NOT NULL)"


def default_cache_path() -> Path:
    """Return the file of prices when none is named.

    Returns:
        ``layer_costs.sqlite`` in the folder OFFRAMP_CACHE, or else in offramp's folder of the user's cache directory.
    """
    folder = os.environ.get("OFFRAMP_CACHE")
    if folder:
        return Path(folder).expanduser() / "layer_costs.sqlite"
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification wants relative paths to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path("~/.cache").expanduser()
    return root / "offramp" / "layer_costs.sqlite"


@dataclass(frozen=True, eq=False)
class _NewJob:
    """A job whose price is not in memory. Compared by identity, since hashing a whole core takes long."""

    shape: LayerShape
    core: Core
    core_number: int
    core_text: str

    @property
    def key(self) -> tuple[LayerShape, int]:
        """The key in memory."""
        return self.shape, self.core_number

    @cached_property
    def text(self) -> str:
        """What the key in the file is made of, beside the engine."""
        return f"{jsonio.dumps(self.shape)}\n{self.core_text}"


class _CoreNumbers:
    """Numbers cores, since hashing a whole core takes long. Cores that differ only in name and source are one."""

    def __init__(self) -> None:
        self._by_identity: dict[int, tuple[Core, int]] = {}
        self._by_value: dict[Core, int] = {}
        self.texts: list[str] = []

    def number(self, core: Core) -> int:
        known = self._by_identity.get(id(core))
        if known is None or known[0] is not core:
            plain = replace(core, name="", source="")
            number = self._by_value.setdefault(plain, len(self._by_value))
            if number == len(self.texts):
                self.texts.append(jsonio.dumps(plain))
            known = self._by_identity[id(core)] = (core, number)
        return known[1]


class CachedEngine:
    """The one cache of prices: asks an engine once for each job, and keeps the answers in memory and in a file.

    Keys hold the engine's name and version, the whole layer shape with its bits, and the whole core but its name and
    source. If the file cannot be written, a warning says so and prices stay in memory; a damaged file is renamed and
    begun anew. Refusals stay in memory.
    """

    def __init__(self, engine: LayerEngine, path: Path | None) -> None:
        """Prepare the cache; the file is opened when the first price is needed.

        Args:
            engine: The engine that prices new jobs.
            path: The SQLite file, which several processes may share; None keeps prices in memory only.
        """
        self._engine = engine
        self._path = path
        self._prices: dict[tuple[LayerShape, int], LayerCost | UnpricedJob] = {}
        self._cores = _CoreNumbers()
        self._siblings: tuple[CachedEngine, ...] = (self,)
        self._writable = path is not None
        self._shared: sqlite3.Connection | None = None
        self._batches_writes = False
        self._pending: dict[_NewJob, LayerCost] = {}

    @property
    def name(self) -> str:
        """The name of the engine."""
        return self._engine.name

    @property
    def version(self) -> str:
        """The version of the engine."""
        return self._engine.version

    def price(self, jobs: Sequence[tuple[LayerShape, Core]]) -> list[LayerCost]:
        """Price layers on cores; each job is asked of the engine once in a lifetime.

        Args:
            jobs: Layers and cores.

        Returns:
            One cost per job, in order.

        Raises:
            UnpricedJobsError: The engine cannot price some jobs; the error names all of them.
        """
        # Hashing a shape takes long: a known job is looked up once.
        keys = [(shape, self._cores.number(core)) for shape, core in jobs]
        found = [self._prices.get(key) for key in keys]
        if None in found:
            new = {
                key: _NewJob(shape, core, key[1], self._cores.texts[key[1]])
                for key, (shape, core), price in zip(keys, jobs, found, strict=True)
                if price is None
            }
            self._load(list(new.values()))
            self._price_new([job for key, job in new.items() if key not in self._prices])
            found = [self._prices.get(key) for key in keys]
        refused = {
            key: replace(price, core=core.name)
            for key, (_, core), price in zip(keys, jobs, found, strict=True)
            if isinstance(price, UnpricedJob)
        }
        if refused:
            raise UnpricedJobsError(self.name, tuple(refused.values()))
        return [price for price in found if isinstance(price, LayerCost)]

    def price_or_refusal(self, shape: LayerShape, core: Core) -> LayerCost | UnpricedJob:
        """Price one layer on one core.

        Args:
            shape: The layer.
            core: The core.

        Returns:
            The cost, or why the engine has none.
        """
        # One look-up, since hashing a shape takes long.
        found = self._prices.get((shape, self._cores.number(core)))
        if found is None:
            try:
                return self.price([(shape, core)])[0]
            except UnpricedJobsError as exc:
                return exc.jobs[0]
        return replace(found, core=core.name) if isinstance(found, UnpricedJob) else found

    @contextmanager
    def batched_writes(self) -> Iterator[None]:
        """Keep the file open during many small calls of `price`, and write new prices in batches.

        Yields:
            Nothing.
        """
        if self._batches_writes:
            yield
            return
        self._batches_writes = True
        try:
            yield
        finally:
            self._flush()
            self._batches_writes = False
            self._close()

    def _close(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        if pending:
            self._write(pending)

    def _price_new(self, jobs: list[_NewJob]) -> None:
        for start in range(0, len(jobs), BATCH_SIZE):
            batch = jobs[start : start + BATCH_SIZE]
            try:
                costs = self._ask_engine([(job.shape, job.core) for job in batch])
            except UnpricedJobsError as exc:
                self._keep_refusals(batch, exc)
                continue
            for sibling, of_sibling in zip(self._siblings, costs, strict=True):
                sibling._keep(dict(zip(batch, of_sibling, strict=True)))

    def _ask_engine(self, jobs: list[tuple[LayerShape, Core]]) -> list[list[LayerCost]]:
        """The costs for each sibling: an engine that knows several goals evaluates a layer's mappings once for all."""
        if len(self._siblings) > 1 and isinstance(self._engine, MultiGoalEngine):
            engines = [sibling._engine for sibling in self._siblings]
            goals = [engine.goal for engine in engines if isinstance(engine, MultiGoalEngine)]
            return engine_calls.price_goals(self._engine, jobs, goals)
        return [engine_calls.price(self._engine, jobs)]

    def _keep_refusals(self, batch: list[_NewJob], error: UnpricedJobsError) -> None:
        """Keep refusals for all siblings: whether a layer has a price does not depend on the goal."""
        reasons = {(job.shape, job.core): job for job in error.jobs}
        refused = [job for job in batch if (job.shape, job.core.name) in reasons]
        if not refused:
            raise error
        for sibling in self._siblings:
            sibling._prices.update({job.key: reasons[job.shape, job.core.name] for job in refused})

    def _keep(self, priced: dict[_NewJob, LayerCost]) -> None:
        self._prices.update({job.key: cost for job, cost in priced.items()})
        self._store(priced)

    def _key(self, job: _NewJob) -> str:
        text = "\n".join((self._engine.name, self._engine.version, job.text))
        return hashlib.sha256(text.encode()).hexdigest()

    def _load(self, jobs: list[_NewJob]) -> None:
        """Take over the prices in the file; an entry that cannot be read counts as unknown."""
        if self._path is None:
            return
        by_key = {self._key(job): job for job in jobs}
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
                        self._prices[by_key[key].key] = cost

    def _store(self, priced: dict[_NewJob, LayerCost]) -> None:
        if not self._writable:
            return
        if not self._batches_writes:
            self._write(priced)
            return
        self._pending |= priced
        if len(self._pending) >= BATCH_SIZE:
            self._flush()

    def _write(self, priced: dict[_NewJob, LayerCost]) -> None:
        engine = f"{self._engine.name} {self._engine.version}"
        rows = [(self._key(job), engine, jsonio.dumps(cost)) for job, cost in priced.items()]
        with self._open() as connection:
            if connection is not None:
                # Replacing repairs entries that could not be read; two processes write the same figures anyway.
                connection.executemany("INSERT OR REPLACE INTO layer_costs VALUES (?, ?, ?)", rows)
                connection.commit()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection | None]:
        """A connection, or None without a usable file. After an error, writing stops or a new file is begun."""
        connection = self._shared or self._connect()
        if connection is None:
            yield None
            return
        try:
            yield connection
        except sqlite3.OperationalError as exc:
            self._stop_writing(exc)
        except sqlite3.DatabaseError as exc:
            connection.close()
            self._shared = None
            self._move_damaged_file(exc)
            return
        if self._batches_writes:
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
                self._stop_writing(exc)
            except sqlite3.DatabaseError as exc:
                self._move_damaged_file(exc)
                return self._connect()
            except OSError as exc:
                self._stop_writing(exc)
        return _connect_read_only(self._path)

    def _stop_writing(self, exc: Exception) -> None:
        if self._writable:
            self._writable = False
            warnings.warn(
                f"The cost cache {self._path} cannot be written ({exc}); prices of this run are not kept.", stacklevel=2
            )

    def _move_damaged_file(self, exc: Exception) -> None:
        """Rename a damaged file; where that is not allowed, prices are no longer stored."""
        assert self._path is not None
        aside = self._path.with_name(f"{self._path.name}.damaged")
        try:
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._path.replace(aside)
        except OSError:
            self._stop_writing(exc)
            return
        warnings.warn(f"The cost cache {self._path} was damaged ({exc}); it is kept as {aside.name}.", stacklevel=2)


def cached_engines(engines: Sequence[LayerEngine], path: Path | None) -> tuple[CachedEngine, ...]:
    """Put a cache before each engine.

    Engines that differ only in their goal share evaluations: what one of them prices is then known for all.

    Args:
        engines: The engines.
        path: The file of all of them, or None.

    Returns:
        One cached engine per engine, in order.
    """
    cached = tuple(CachedEngine(engine, path) for engine in engines)
    for one in cached:
        engine = one._engine
        if isinstance(engine, MultiGoalEngine):
            one._siblings = tuple(
                other
                for other in cached
                if isinstance(other._engine, MultiGoalEngine) and engine.with_goal(other._engine.goal) == other._engine
            )
            one._cores = one._siblings[0]._cores
    return cached


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
    """A file that may not be written: opened as immutable, since WAL needs files beside it."""
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
