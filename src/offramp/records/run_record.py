"""The record of a run: settings, proposals, evaluations and checkpoints, each on disk before the run continues."""

import hashlib
import itertools
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from urllib.parse import quote

from offramp.errors import RunError
from offramp.files.safe_files import kind_of, open_to_read, remove
from offramp.jsonio import dumps, loads
from offramp.objectives.evaluation import Evaluation
from offramp.objectives.fronts import Fronts, split_fronts
from offramp.objectives.parse import parse_objectives
from offramp.records.disk_faults import readable_errors
from offramp.records.folder_lock import unlock_folder
from offramp.records.own_runs import is_signed, signature
from offramp.records.record_rows import delete_checkpoints, insert_row
from offramp.records.stored_rows import EvaluationOrigin, StoredBatch, StoredCheckpoint, StoredProposal
from offramp.settings.config import Config
from offramp.space.architecture import Architecture

SETTINGS_FILE = "config.yaml"
"""Name of the file with the settings of a run, in its folder."""
_SIGNATURE = "signature"
_BLOCK_BYTES = 1 << 20


class RunStore:
    """A run folder. Open it with `create_run`, `resume_run` (both for writing) or `read_run`.

    Attributes:
        folder: The run folder.
        config: The settings of the run.
    """

    def __init__(self, folder: Path, config: Config, connection: sqlite3.Connection, lock: IO[str] | None) -> None:
        """Take over an open record; the functions above do so.

        Args:
            folder: The run folder.
            config: The settings of the run.
            connection: The open database.
            lock: The open and locked file of the run; None = the run is open for reading.
        """
        self.folder = folder
        self.config = config
        self._connection = connection
        self._lock = lock

    @property
    def checkpoint(self) -> Path:
        """The file of the supernet's weights."""
        return self.folder / "supernet.safetensors"

    @property
    def summary(self) -> Path:
        """The file of the run's summary."""
        return self.folder / "summary.json"

    @property
    def report(self) -> Path:
        """The file of the report, an HTML page."""
        return self.folder / "report.html"

    def network_folder(self, rule: str) -> Path:
        """The folder of a finished network's weights, record and bundle.

        Args:
            rule: The name of the network: the rules that picked it, or ``reference``.

        Returns:
            A folder inside the run folder; different names have different folders.
        """
        return self.folder / "chosen" / quote(rule, safe="+").replace(".", "%2E")

    def propose(self, batch: int, architectures: Sequence[Architecture]) -> None:
        """Record a batch of proposals; they are on disk when this returns. Recorded proposals stay as they are.

        Args:
            batch: Number of the batch, counted from 0.
            architectures: The candidates of the batch, in order.

        Raises:
            RunError: The record cannot be written.
        """
        with readable_errors(self.folder), self._connection:
            insert_row(self._connection, "batches", (batch, len(architectures)), keep=True)
            for position, item in enumerate(architectures):
                insert_row(self._connection, "proposals", (batch, position, dumps(item)), keep=True)

    def append(
        self,
        batch: int,
        position: int,
        evaluation: Evaluation,
        *,
        seconds: float | None = None,
        worker: str = "",
        statics: Sequence[Evaluation] = (),
    ) -> None:
        """Record the evaluation of a proposal; it is on disk when this returns.

        Args:
            batch: Number of the batch.
            position: Position of the proposal in its batch, counted from 0.
            evaluation: The evaluation: of the proposal, or of the static network that the proposal is in effect.
            seconds: Seconds that the evaluation took; None = unknown.
            worker: Which worker made it; empty for the process of the search.
            statics: Evaluations of static networks that came along; those that are recorded stay as they are.

        Raises:
            RunError: The proposal has an evaluation already or is not recorded, or the record cannot be written.
        """
        with readable_errors(self.folder), self._connection:
            status, payload = evaluation.status.value, dumps(evaluation)
            row = (batch, position, status, evaluation.error, payload, seconds, worker)
            insert_row(self._connection, "evaluations", row)
            self._insert_statics(statics)

    def append_statics(self, statics: Sequence[Evaluation]) -> None:
        """Record evaluations of static networks; those that are recorded stay as they are.

        Args:
            statics: The evaluations.

        Raises:
            RunError: The record cannot be written.
        """
        with readable_errors(self.folder), self._connection:
            self._insert_statics(statics)

    def _insert_statics(self, statics: Sequence[Evaluation]) -> None:
        for item in statics:
            insert_row(self._connection, "static_candidates", (dumps(item.architecture), dumps(item)), keep=True)

    def static_candidates(self) -> tuple[Evaluation, ...]:
        """The evaluations of all static networks, in the order of their architectures as text.

        Returns:
            One evaluation per network.

        Raises:
            RunError: The record cannot be read.
        """
        with readable_errors(self.folder):
            rows = self._connection.execute("SELECT payload FROM static_candidates ORDER BY architecture").fetchall()
        what = f"A static candidate in {self.folder}"
        return tuple(loads(Evaluation, payload, what=what, error=RunError) for (payload,) in rows)

    def batches(self) -> tuple[StoredBatch, ...]:
        """All batches with their proposals and evaluations, in the order of the proposals.

        Returns:
            The batches.

        Raises:
            RunError: The record cannot be read.
        """
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
        proposed = loads(Architecture, text, what=f"A proposal in {self.folder}", error=RunError)
        if payload is None:
            return StoredProposal(proposed, None)
        what = f"An evaluation in {self.folder}"
        return StoredProposal(proposed, loads(Evaluation, payload, what=what, error=RunError))

    def evaluations(self) -> tuple[Evaluation, ...]:
        """All evaluations in the order of the proposals, whichever worker made them and when.

        Returns:
            The evaluations.

        Raises:
            RunError: The record cannot be read.
        """
        return tuple(evaluation for batch in self.batches() for evaluation in batch.evaluations)

    def fronts(self) -> Fronts:
        """Both fronts by the objectives of the run: of its candidates with early exits, and of its static networks.

        Returns:
            The fronts, as far as the search came.

        Raises:
            RunError: The record cannot be read.
        """
        early = (item for item in self.evaluations() if not item.architecture.is_static)
        objectives = parse_objectives(self.config.search.objectives)
        return split_fronts((*early, *self.static_candidates()), objectives)

    def origins(self) -> tuple[EvaluationOrigin, ...]:
        """The origin of each of ``evaluations``, in the same order.

        Returns:
            One origin per evaluation.

        Raises:
            RunError: The record cannot be read.
        """
        query = "SELECT batch, position, seconds, worker FROM evaluations ORDER BY batch, position"
        with readable_errors(self.folder):
            rows = self._connection.execute(query).fetchall()
        return tuple(
            EvaluationOrigin(batch, position, seconds, worker or "") for batch, position, seconds, worker in rows
        )

    def record_checkpoint(self, path: Path, epochs: int) -> None:
        """Record the content of a file of weights, so that `verify_checkpoints` notices a change.

        Args:
            path: The file, inside the run folder.
            epochs: Epochs of training after which it was written.

        Raises:
            RunError: The file cannot be read, or the record cannot be written.
        """
        with readable_errors(self.folder), self._connection:
            row = (str(path.relative_to(self.folder)), _sha256(path), path.stat().st_size, epochs)
            delete_checkpoints(self._connection, row[0], whole=True)
            insert_row(self._connection, "checkpoints", row)

    def checkpoints(self) -> tuple[StoredCheckpoint, ...]:
        """The recorded files of weights, in the order of their paths.

        Returns:
            The checkpoints.

        Raises:
            RunError: The record cannot be read.
        """
        with readable_errors(self.folder):
            rows = self._connection.execute("SELECT path, sha256, bytes, epochs FROM checkpoints ORDER BY path")
            return tuple(StoredCheckpoint(*row) for row in rows.fetchall())

    def verify_checkpoints(self) -> None:
        """Compare the recorded files of weights with the folder.

        Raises:
            RunError: A file is missing or has another content.
        """
        for checkpoint in self.checkpoints():
            path = self.folder / checkpoint.path
            with readable_errors(self.folder):
                found = _sha256(path) if kind_of(path) is not None else None
            if found != checkpoint.sha256:
                fault = "is missing" if found is None else "was changed"
                raise RunError(
                    f"The results of run {str(self.folder)!r} depend on its file {checkpoint.path}, which {fault}. "
                    "Put the file back, or start a new run."
                )

    def set(self, key: str, value: str) -> None:
        """Record a value by name, such as the phase of the run; an earlier one is replaced.

        Args:
            key: The name.
            value: The value.

        Raises:
            RunError: The record cannot be written.
        """
        with readable_errors(self.folder), self._connection:
            self._connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def get(self, key: str) -> str | None:
        """Read a value that `set` recorded.

        Args:
            key: The name.

        Returns:
            The value; None = there is none.

        Raises:
            RunError: The record cannot be read.
        """
        with readable_errors(self.folder):
            row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def forget(self, key: str) -> None:
        """Remove a value that `set` recorded, if it is there.

        Args:
            key: The name.

        Raises:
            RunError: The record cannot be written.
        """
        with readable_errors(self.folder), self._connection:
            self._connection.execute("DELETE FROM meta WHERE key = ?", (key,))

    def change_settings(self, config: Config) -> None:
        """Replace the settings of the run, in its record and in its file of settings.

        Args:
            config: The new settings.

        Raises:
            RunError: The record cannot be written.
        """
        recorded = config.for_record()
        for key, value in settings_facts(recorded).items():
            self.set(key, value)
        with readable_errors(self.folder):
            recorded.save(self.folder / SETTINGS_FILE)
        self.config = config

    @property
    def is_own(self) -> bool:
        """Whether this user began the run, on a machine with the same cache folder, and its settings are unchanged."""
        return is_signed(self.get("settings") or "", self.get(_SIGNATURE))

    def remove_network(self, folder: Path) -> None:
        """Remove the folder of a finished network, and its weights from the recorded files.

        Args:
            folder: The folder, inside the run folder.

        Raises:
            RunError: The folder or the record cannot be written.
        """
        inside = f"{folder.relative_to(self.folder)}/"
        with readable_errors(self.folder):
            with self._connection:
                delete_checkpoints(self._connection, inside)
            remove(folder)

    def close(self) -> None:
        """Close the record and release the lock of the folder."""
        self._connection.close()
        if self._lock is not None:
            unlock_folder(self._lock)


def settings_facts(config: Config) -> dict[str, str]:
    """What the record holds of the settings.

    Args:
        config: The settings, as from `Config.for_record`.

    Returns:
        Values by name, for the table ``meta``.
    """
    text = config.to_yaml()
    signed = signature(text)
    return {"settings": text, **({} if signed is None else {_SIGNATURE: signed})}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_to_read(path, follow_links=False) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
