"""Settings that follow from the data where the user leaves them open."""

from offramp.data.labelled_data import Dataset
from offramp.run.defaults.backbone_choice import AUTO, default_backbone
from offramp.run.defaults.training_length import TrainingLength, training_length
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config


def with_data_defaults(config: Config, dataset: Dataset) -> Config:
    """Put the default backbone in place of ``auto``; other settings stay.

    Args:
        config: All settings of a search.
        dataset: The data set.

    Returns:
        The settings.
    """
    if config.space.backbone != AUTO:
        return config
    return with_settings(config, space__backbone=default_backbone(dataset).name)


def length_of(config: Config, dataset: Dataset) -> TrainingLength:
    """The length of the supernet's training.

    Args:
        config: All settings of a search.
        dataset: The data set.

    Returns:
        The length, with all that the settings leave open chosen.
    """
    train = config.train
    return training_length(len(dataset.splits.train.labels), batch_size=train.batch_size, epochs=train.epochs)


def default_notes(config: Config, dataset: Dataset) -> tuple[str, ...]:
    """Say which backbone and which length of the training follow from the data.

    Args:
        config: All settings of a search.
        dataset: The data set.

    Returns:
        Sentences; none about a backbone that is another than the default.
    """
    choice = default_backbone(dataset)
    length = length_of(config, dataset).sentence
    return (choice.reason, length) if config.space.backbone in (AUTO, choice.name) else (length,)
