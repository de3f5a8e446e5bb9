"""Rows of a run's record: proposals, batches, checkpoints and the origins of evaluations."""

from dataclasses import dataclass

from offramp.objectives.evaluation import Evaluation
from offramp.space.architecture import Architecture


@dataclass(frozen=True)
class StoredProposal:
    """A proposed candidate.

    Attributes:
        architecture: The candidate.
        evaluation: Its evaluation, or that of the static network that it is in effect; None = not evaluated yet.
    """

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
        """The evaluations so far, in the order of the proposals."""
        return tuple(item.evaluation for item in self.proposals if item.evaluation is not None)


@dataclass(frozen=True)
class StoredCheckpoint:
    """A file of weights on which later results depend.

    Attributes:
        path: Its path, relative to the run folder.
        sha256: Checksum of its content.
        num_bytes: Its size.
        epochs: Epochs of training after which it was written.
    """

    path: str
    sha256: str
    num_bytes: int
    epochs: int


@dataclass(frozen=True)
class EvaluationOrigin:
    """Where an evaluation comes from.

    Attributes:
        batch: Number of the batch.
        position: Position of the proposal in its batch.
        seconds: Seconds that the evaluation took; None = unknown.
        worker: Which worker made it; empty for the process of the search.
    """

    batch: int
    position: int
    seconds: float | None = None
    worker: str = ""
