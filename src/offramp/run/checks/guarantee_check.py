"""Whether the validation samples are enough for the guarantee that is asked for."""

from offramp.data.labelled_data import Dataset
from offramp.errors import ConfigError
from offramp.exits.accuracy_guarantee import parse_target
from offramp.exits.quality.quality_measures import RECALL, QualityMeasures
from offramp.exits.risk_control import fewest_validation_samples
from offramp.settings.config import Config


def check_guarantee(config: Config, dataset: Dataset) -> None:
    """Refuse a guarantee that the number of validation samples cannot give, whatever the networks.

    Args:
        config: All settings of a search.
        dataset: The data set.

    Raises:
        ConfigError: There are too few validation samples, or no number of them would suffice.
    """
    settings = config.fine_tune
    if settings.guarantee is None:
        return
    needed = fewest_validation_samples(parse_target(settings.guarantee))
    if needed is None:
        raise ConfigError(
            f"A guarantee must allow some drop, got {settings.guarantee!r}: no number of samples shows that nothing is "
            "lost. Allow a small one, such as 0.01@0.95."
        )
    labels, whose = dataset.splits.validation.labels, ""
    available = len(labels)
    if settings.guarantee_measure.startswith(RECALL):
        measures = QualityMeasures(class_names=dataset.class_names)
        available = int((labels == measures.class_index(settings.guarantee_measure)).sum())
        whose = f" of class {settings.guarantee_measure.removeprefix(RECALL)!r}"
    if available < needed:
        possible = _drop_that_can_be_given(settings.guarantee, available)
        raise ConfigError(
            f"The guarantee {settings.guarantee} needs at least {needed} validation samples{whose}, got {available}: "
            "half of them test it, and with fewer even thresholds that change no answer would fail. Give more samples, "
            f"raise data.validation_share, or allow a larger drop or a lower confidence{possible}."
        )


def _drop_that_can_be_given(target: str, available: int) -> str:
    """The smallest drop, in whole percent, that this many samples can show with the same confidence, as an option."""
    confidence = target.partition("@")[2]
    for percent in range(1, 100):
        possible = f"{percent / 100:g}@{confidence}"
        needed = fewest_validation_samples(parse_target(possible))
        if needed is not None and needed <= available:
            return f" (--guarantee {possible} is the least here)"
    return ""
