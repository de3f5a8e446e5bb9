"""Settings of the data: where labelled samples come from and how they are split."""

from typing import Literal

from pydantic import Field, model_validator

from offramp.settings.section import Count, Section, Share


class DataConfig(Section):
    """Where the labelled samples come from and how they are split."""

    source: str = Field(default="digits", description="`digits`, or a file or folder with labelled images or sounds.")
    validation_share: Share = Field(
        default=0.2, description="Share of the samples for validation, where the data name none."
    )
    test_share: Share = Field(default=0.2, description="Share of the samples for the test, where the data name none.")
    kind: Literal["pixels", "feature_maps", "series", "vectors"] | None = Field(
        default=None,
        description="What the numbers of arrays are (default: decided from their type and number of axes, and said).",
    )
    image_column: str | None = Field(
        default=None, description="Parquet column that holds the images (default: the only one that can be)."
    )
    label_column: str | None = Field(
        default=None, description="Parquet column that holds the labels (default: the only one that can be)."
    )
    image_size: Count | None = Field(
        default=None, description="Height and width in pixels that images are resized to (default: as they are)."
    )
    group_column: str | None = Field(
        default=None,
        description="Column or array that names a group, such as a speaker or patient: no group is in two splits.",
    )
    group_pattern: str | None = Field(
        default=None,
        description="Regular expression that finds the group in a file name, in its parentheses, such as '_(.*)_'.",
    )
    duplicates: Literal["remove", "keep"] = Field(
        default="remove",
        description="What happens to training samples that are also in validation or test, equal to the bit.",
    )
    long_sounds: Literal["loudest", "start", "windows"] = Field(
        default="loudest",
        description="Part of a sound longer than a second: the loudest second, the first, or one every half second.",
    )
    augment: bool = Field(
        default=True,
        description="Whether training samples are changed at random: images cropped, series moved, noise added.",
    )

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> "DataConfig":
        if self.validation_share + self.test_share >= 1.0:
            raise ValueError("validation_share + test_share must leave something to train on (sum below 1)")
        return self
