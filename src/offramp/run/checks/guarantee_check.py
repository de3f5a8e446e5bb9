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
        raise ConfigError(
            f"The guarantee {settings.guarantee} needs at least {needed} validation samples{whose}, got {available}: "
            "half of them test it, and with fewer even thresholds that change no answer would fail. Give more samples, "
            "raise data.validation_share, or allow a larger drop or a lower confidence (--guarantee 0.05@0.9)."
        )
