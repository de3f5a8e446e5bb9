"""TensorBoard's event files, written with tensorboardX (0.5 MB; TensorBoard itself has 79 MB)."""

from collections.abc import Mapping
from pathlib import Path

from offramp.errors import InputError
from offramp.run.trackers.tracker import TRACKERS


class TensorBoardTracker:
    """Writes to ``tensorboard/`` in the run folder; look at it with ``tensorboard --logdir RUN``."""

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as exc:
            raise InputError(
                'Logging for TensorBoard needs tensorboardX. Install it with: pip install "offramp[tensorboard]"'
            ) from exc
        self._writer = SummaryWriter(str(folder / "tensorboard"), flush_secs=10)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One scalar a name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


TRACKERS.add("tensorboard", TensorBoardTracker)
