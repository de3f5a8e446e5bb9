"""The cache of layer prices: in memory, and in an SQLite file that several processes may share."""

import hashlib
import math
import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from offramp import jsonio
from offramp.cost.engines.cost_engine import MultiGoalEngine
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


@dataclass(frozen=True)
class _Question:
    """A job without a known price; ``text`` is what the key in the file is made of, beside the engine."""

    shape: LayerShape
    core: Core
    number: int
    text: str

    @property
    def key(self) -> tuple[LayerShape, int]:
        return self.shape, self.number


class _CoreNumbers:
    """Numbers cores, for hashing a whole core takes long. Cores that differ in name and source only are one."""

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
    source. A file that cannot be written costs persistence, never the run; a damaged one is set aside and rebuilt.
    Refusals are kept in memory only.
    """

    def __init__(self, engine: LayerEngine, path: Path | None) -> None:
        """Start with what the file knows.

        Args:
            engine: The engine that prices what is not known.
            path: The SQLite file, which several processes may share; None keeps prices in memory only.
        """
        self._engine = engine
        self._path = path
        self._prices: dict[tuple[LayerShape, int], LayerCost | UnpricedJob] = {}
        self._cores = _CoreNumbers()
        self._siblings: tuple[CachedEngine, ...] = (self,)
        self._writable = path is not None
        self._shared: sqlite3.Connection | None = None
        self._together = False
        self._pending: dict[_Question, LayerCost] = {}

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
        keys = [(shape, self._cores.number(core)) for shape, core in jobs]
        missing = {
            key: _Question(shape, core, key[1], f"{jsonio.dumps(shape)}\n{self._cores.texts[key[1]]}")
            for key, (shape, core) in dict(zip(keys, jobs, strict=True)).items()
            if key not in self._prices
        }
        if missing:
            self._recall(list(missing.values()))
            self._price_missing([question for key, question in missing.items() if key not in self._prices])
        unpriced = {
            key: replace(found, core=core.name)
            for key, (_, core) in zip(keys, jobs, strict=True)
            if isinstance(found := self._prices.get(key), UnpricedJob)
        }
        if unpriced:
            raise UnpricedJobsError(self.name, tuple(unpriced.values()))
        return [self._cost(key) for key in keys]

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
    def together(self) -> Iterator[None]:
        """Keep the file open for many small questions, and write what is new in batches.

        Yields:
            Nothing.
        """
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

    def _cost(self, key: tuple[LayerShape, int]) -> LayerCost:
        found = self._prices[key]
        assert isinstance(found, LayerCost)
        return found

    def _close(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        if pending:
            self._write(pending)

    def _price_missing(self, missing: list[_Question]) -> None:
        for start in range(0, len(missing), BATCH_SIZE):
            batch = missing[start : start + BATCH_SIZE]
            try:
                answers = self._ask([(question.shape, question.core) for question in batch])
            except UnpricedJobsError as exc:
                refused = {(job.shape, job.core): job for job in exc.jobs}
                for question in batch:
                    job = refused.get((question.shape, question.core.name))
                    if job is not None:
                        self._prices[question.key] = job
                continue
            for sibling, costs in zip(self._siblings, answers, strict=True):
                sibling._keep(dict(zip(batch, costs, strict=True)))

    def _ask(self, jobs: list[tuple[LayerShape, Core]]) -> list[list[LayerCost]]:
        """The costs for each sibling: an engine that knows several goals evaluates a layer's mappings once for all."""
        if len(self._siblings) > 1 and isinstance(self._engine, MultiGoalEngine):
            engines = [sibling._engine for sibling in self._siblings]
            goals = [engine.goal for engine in engines if isinstance(engine, MultiGoalEngine)]
            return self._engine.price_goals(jobs, goals)
        return [self._engine.price(jobs)]

    def _keep(self, priced: dict[_Question, LayerCost]) -> None:
        self._prices.update({question.key: cost for question, cost in priced.items()})
        self._remember(priced)

    def _key(self, question: _Question) -> str:
        text = "\n".join((self._engine.name, self._engine.version, question.text))
        return hashlib.sha256(text.encode()).hexdigest()

    def _recall(self, questions: list[_Question]) -> None:
        """Take over what the file knows; an entry that makes no sense counts as unknown."""
        by_key = {self._key(question): question for question in questions}
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

    def _remember(self, priced: dict[_Question, LayerCost]) -> None:
        if not self._writable:
            return
        if not self._together:
            self._write(priced)
            return
        self._pending |= priced
        if len(self._pending) >= BATCH_SIZE:
            self._flush()

    def _write(self, priced: dict[_Question, LayerCost]) -> None:
        engine = f"{self._engine.name} {self._engine.version}"
        rows = [(self._key(question), engine, jsonio.dumps(cost)) for question, cost in priced.items()]
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


def cached_engines(engines: Sequence[LayerEngine], path: Path | None) -> tuple[CachedEngine, ...]:
    """Put a cache before each engine.

    Engines that differ in their goal only share their evaluations: what one of them prices, the others then know.

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
