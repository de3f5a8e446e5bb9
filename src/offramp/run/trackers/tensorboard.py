"""The tracker for TensorBoard. It writes event files with tensorboardX, which is much smaller than TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

from offramp.errors import InputError
from offramp.run.trackers.tracker import TRACKERS


class TensorBoardTracker:
    """Writes to ``tensorboard/`` in the run folder, which ``tensorboard --logdir RUN`` shows."""

    def __init__(self, folder: Path) -> None:
        """Open the event file.

        Args:
            folder: The run folder.

        Raises:
            InputError: tensorboardX is not installed.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError as exc:
            raise InputError(
                'Logging for TensorBoard needs tensorboardX. Install it with: pip install "offramp[tensorboard]"'
            ) from exc
        self._writer = SummaryWriter(str(folder / "tensorboard"), flush_secs=10)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write each value as a scalar of its name."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._writer.close()


TRACKERS.add("tensorboard", TensorBoardTracker)
