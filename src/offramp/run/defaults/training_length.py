"""The default length of a training: batch size and epochs follow from the number of samples."""

from dataclasses import dataclass

_IMAGES_TO_TRAIN_ON = 1_200_000
"""Training sees about this many samples, so that small data sets get more epochs than large ones."""

_FEWEST_EPOCHS, _USUAL_EPOCHS = 10, 40

LEAST_STEPS = 320
"""Steps that every training takes at least: on very small data sets, 40 epochs are too few to learn anything."""

_BATCHES_PER_EPOCH = 8
_SMALLEST_BATCH, _LARGEST_BATCH = 16, 128


@dataclass(frozen=True)
class TrainingLength:
    """How long the supernet and each finished network are trained without a time budget.

    Attributes:
        batch_size: Samples of a step.
        epochs: Passes over the training samples.
        num_samples: Number of training samples.
    """

    batch_size: int
    epochs: int
    num_samples: int

    @property
    def batches(self) -> int:
        """Steps of one epoch; the samples left over are not used."""
        return max(1, self.num_samples // self.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.batches

    @property
    def sentence(self) -> str:
        """The length in words."""
        steps, epochs, batches = (
            f"1 {noun}" if count == 1 else f"{count:,} {plural}"
            for count, noun, plural in (
                (self.steps, "step", "steps"),
                (self.epochs, "epoch", "epochs"),
                (self.batches, "batch", "batches"),
            )
        )
        return (
            f"Training takes {steps}: {epochs} of {batches} of {min(self.batch_size, self.num_samples)} of the "
            f"{self.num_samples:,} training samples."
        )


def training_length(num_samples: int, *, batch_size: int | None = None, epochs: int | None = None) -> TrainingLength:
    """Choose what the settings leave open.

    The batch size is the largest power of two, from 16 to 128, that gives 8 batches per epoch. The number of epochs
    lets training see about 1.2 million samples, in 10 to 40 epochs. Where that is under 320 steps, there are more.

    Args:
        num_samples: Number of training samples.
        batch_size: Samples of a step; None: chosen.
        epochs: Passes over the samples; None: chosen.

    Returns:
        The length.
    """
    if batch_size is None:
        fitting = 2 ** max(0, (num_samples // _BATCHES_PER_EPOCH).bit_length() - 1)
        batch_size = min(_LARGEST_BATCH, max(_SMALLEST_BATCH, fitting))
    if epochs is None:
        epochs = min(_USUAL_EPOCHS, max(_FEWEST_EPOCHS, round(_IMAGES_TO_TRAIN_ON / max(num_samples, 1))))
        epochs = max(epochs, -(-LEAST_STEPS // max(1, num_samples // batch_size)))
    return TrainingLength(batch_size, epochs, num_samples)
