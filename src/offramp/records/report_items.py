"""What a report shows beside the networks: training curves, test images and facts about the software."""

import base64
from dataclasses import dataclass

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class TrainingCurve:
    """Loss and accuracies over the epochs of a training.

    Attributes:
        name: Name of what was trained.
        epochs: Numbers of the epochs, from 1.
        loss: Mean training loss of each epoch.
        accuracies: Validation accuracy of each exit, a share, one value per epoch; empty = not recorded.
    """

    name: str
    epochs: tuple[int, ...]
    loss: tuple[float, ...]
    accuracies: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        for values in (self.loss, *self.accuracies):
            if len(values) != len(self.epochs):
                raise ValueError(f"curves must have one value per epoch ({len(self.epochs)}), got {len(values)}.")


@dataclass(frozen=True)
class SampleDecision:
    """A test image and the decision of a network on it.

    Attributes:
        png_base64: The image, a PNG file as base64 text.
        true_label: Name of its class.
        predicted_label: Name of the predicted class.
        exit_index: Index of the exit at which it left, from 0.
        confidence: Confidence of this exit, from 0 to 1.
        network: The network, named by its `ChosenNetwork.rule`; empty = the recommended one.
    """

    png_base64: str
    true_label: str
    predicted_label: str
    exit_index: int
    confidence: float
    network: str = ""

    def __post_init__(self) -> None:
        try:
            start = base64.b64decode(self.png_base64, validate=True)[: len(PNG_SIGNATURE)]
        except ValueError as exc:
            raise ValueError(f"`png_base64` must be base64 text: {exc}.") from exc
        if start != PNG_SIGNATURE:
            raise ValueError("`png_base64` must hold a PNG image.")
        if self.exit_index < 0:
            raise ValueError(f"`exit_index` must be >= 0, got {self.exit_index}.")

    @property
    def correct(self) -> bool:
        """Whether the prediction is right."""
        return self.true_label == self.predicted_label


@dataclass(frozen=True)
class EnvironmentItem:
    """A fact about the machine or the software.

    Attributes:
        name: What it is about, for example Python.
        value: The fact, for example a version.
    """

    name: str
    value: str
