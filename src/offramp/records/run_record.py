"""The record of a run: settings, proposals, evaluations and checkpoints, each on disk before it counts."""

import contextlib
import hashlib
import itertools
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote

from offramp.errors import RunError
from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Evaluation
from offramp.records.disk_faults import readable_errors
from offramp.settings.config import Config
from offramp.space.architecture import Architecture

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredProposal:
    """A candidate that was proposed, and what became of it, if anything yet."""

    architecture: Architecture
    evaluation: Evaluation | None


@dataclass(frozen=True)
class StoredBatch:
    """Candidates that were asked for together.

    Attributes:
        num_asked: Number of candidates of the batch.
        proposals: The candidates in the order in which they were proposed.
    """

    num_asked: int
    proposals: tuple[StoredProposal, ...]

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        return tuple(item.evaluation for item in self.proposals if item.evaluation is not None)


@dataclass(frozen=True)
class CheckpointNote:
    """A file of weights that what comes later rests on; ``path`` is relative to the run folder."""

    path: str
    sha256: str
    num_bytes: int
    epochs: int


class Origin(Protocol):
    """Where an evaluation was made, and in which time."""

    @property
    def seconds(self) -> float | None: ...

    @property
    def worker(self) -> str: ...


class RunStore:
    """One run folder. Open it with ``create_run``, ``resume_run`` (both for writing) or ``read_run``."""

    def __init__(self, folder: Path, config: Config, connection: sqlite3.Connection, lock: IO[str] | None) -> None:
        self.folder = folder
        self.config = config
        self._connection = connection
        self._lock = lock

    @property
    def checkpoint(self) -> Path:
        return self.folder / "supernet.safetensors"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    def network_folder(self, rule: str) -> Path:
        """Where weights and bundle of a chosen network lie; different rules never share a folder."""
        return self.folder / "chosen" / quote(rule, safe="+").replace(".", "%2E")

    def propose(self, batch: int, architectures: Sequence[Architecture]) -> None:
        """Write what was asked for together; it is on disk when this returns. Known proposals stay as they are."""
        with readable_errors(self.folder), self._connection:
            self._connection.execute("INSERT OR IGNORE INTO batches VALUES (?, ?)", (batch, len(architectures)))
            self._connection.executemany(
                "INSERT OR IGNORE INTO proposals VALUES (?, ?, ?)",
                [(batch, position, dumps(item)) for position, item in enumerate(architectures)],
            )

    def append(self, batch: int, position: int, evaluation: Evaluation, origin: Origin | None = None) -> None:
        """Write the evaluation of a proposal; it is on disk when this returns. A second one raises RunError."""
        with readable_errors(self.folder), self._connection:
            self._connection.execute(
                "INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    batch,
                    position,
                    evaluation.status.value,
                    evaluation.error,
                    dumps(evaluation),
                    origin.seconds if origin else None,
                    origin.worker if origin else None,
                ),
            )

    def batches(self) -> tuple[StoredBatch, ...]:
        """All proposals in the order in which they were made, with their evaluations."""
        query = (
            "SELECT batch, asked, architecture, payload FROM batches JOIN proposals ON batch = number "
            "LEFT JOIN evaluations USING (batch, position) ORDER BY batch, position"
        )
        with readable_errors(self.folder):
            rows = self._connection.execute(query).fetchall()
        result = []
        for (_, asked), group in itertools.groupby(rows, key=lambda row: (row[0], row[1])):
            result.append(StoredBatch(asked, tuple(self._proposal(text, payload) for _, _, text, payload in group)))
        return tuple(result)

    def _proposal(self, text: str, payload: str | None) -> StoredProposal:
        if payload is None:
            what = f"A proposal in {self.folder}"
            return StoredProposal(loads(Architecture, text, what=what, error=RunError), None)
        evaluation = loads(Evaluation, payload, what=f"An evaluation in {self.folder}", error=RunError)
        return StoredProposal(evaluation.architecture, evaluation)

    def evaluations(self) -> tuple[Evaluation, ...]:
        """In the order in which the candidates were proposed, whoever evaluated them and when."""
        return tuple(evaluation for batch in self.batches() for evaluation in batch.evaluations)

    def origins(self) -> tuple["EvaluationOrigin", ...]:
        """Where each of ``evaluations`` was made, in the same order."""
        query = "SELECT batch, position, seconds, worker FROM evaluations ORDER BY batch, position"
        with readable_errors(self.folder):
            rows = self._connection.execute(query).fetchall()
        return tuple(
            EvaluationOrigin(batch, position, seconds, worker or "") for batch, position, seconds, worker in rows
        )

    def note_checkpoint(self, path: Path, epochs: int) -> None:
        """Remember a file of the run folder by its content."""
        with readable_errors(self.folder), self._connection:
            note = (str(path.relative_to(self.folder)), _sha256(path), path.stat().st_size, epochs)
            self._connection.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?)", note)

    def checkpoints(self) -> tuple[CheckpointNote, ...]:
        with readable_errors(self.folder):
            rows = self._connection.execute("SELECT path, sha256, bytes, epochs FROM checkpoints ORDER BY path")
            return tuple(CheckpointNote(*row) for row in rows.fetchall())

    def check_checkpoints(self) -> None:
        """Raise RunError where a file that recorded results rest on is gone or is another one."""
        for note in self.checkpoints():
            path = self.folder / note.path
            with readable_errors(self.folder):
                fault = "gone" if not path.is_file() else "another one now" if _sha256(path) != note.sha256 else ""
            if fault:
                raise RunError(
                    f"The record of run {str(self.folder)!r} rests on its file {note.path}, which is {fault}. "
                    "Put the file back, or start a new run."
                )

    def set(self, key: str, value: str) -> None:
        with readable_errors(self.folder), self._connection:
            self._connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def get(self, key: str) -> str | None:
        with readable_errors(self.folder):
            row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None and not self._lock.closed:
            # An empty lock says that nobody holds it; where the disk is full it stays, and the next holder empties it.
            with contextlib.suppress(OSError):
                self._lock.truncate(0)
            with contextlib.suppress(OSError):
                self._lock.close()


@dataclass(frozen=True)
class EvaluationOrigin:
    """Which proposal an evaluation belongs to, how long it took and who made it."""

    batch: int
    position: int
    seconds: float | None = None
    worker: str = ""


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
