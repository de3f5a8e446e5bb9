"""What is sent to a worker that finishes a network, and what comes back."""

from dataclasses import dataclass

from offramp.run.finishing.finisher import RECORD, WEIGHTS
from offramp.run.finishing.targets import Selection

RETURNED_FILES = (WEIGHTS, RECORD)
"""Files of a finished network that a worker without access to the run's folder sends back, the record last."""


@dataclass(frozen=True)
class FinishJob:
    """The payload of a job of the kind ``finish``.

    Attributes:
        name: Name of the network's folder in the run.
        selection: The picked candidate; None stands for the reference.
        seconds: Seconds for fine-tuning; None = the number of epochs of the settings.
        folder: Where the files go; None = they are sent back, for caller and worker share no folder.
        resume: Whether a result or a checkpoint in the folder is used.
        teacher: The folder of the finished reference that teaches; None = no such teacher.
    """

    name: str
    selection: Selection | None
    seconds: float | None
    folder: str | None
    resume: bool
    teacher: str | None = None


@dataclass(frozen=True)
class ReturnedFile:
    """A file in a reply.

    Attributes:
        name: Its name in the network's folder.
        base64: Its content.
    """

    name: str
    base64: str
