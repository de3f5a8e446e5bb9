"""Settings of the data: where labelled samples come from and how they are split."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from offramp.settings.section import Count, Section, Share


class DataConfig(Section):
    """Where the labelled samples come from and how they are split."""

    source: str = Field(
        default="digits",
        description="`digits`, or a file or folder with labelled images, sounds, series, tables or arrays.",
    )
    validation_share: Share = Field(
        default=0.2, description="Share of the samples for validation, where the data name none."
    )
    test_share: Share = Field(default=0.2, description="Share of the samples for the test, where the data name none.")
    kind: Literal["pixels", "feature_maps", "series", "vectors"] | None = Field(
        default=None,
        description="What the numbers of arrays and tables are (default: decided from axes and values, and printed).",
    )
    image_column: str | None = Field(
        default=None, description="Column or array that holds the samples (default: the only one that can be)."
    )
    label_column: str | None = Field(
        default=None, description="Column or array that holds the labels (default: found by its name or type)."
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
    id_column: str | None = Field(
        default=None,
        description="Column of a table that says which series a row is a step of (default: found by its name).",
    )
    window: Count | None = Field(
        default=None, description="Time steps of the windows that long series are cut into (default: not cut)."
    )
    hop: Count | None = Field(
        default=None, description="Time steps from one window to the next (default: half a window)."
    )
    duplicates: Literal["remove", "keep"] = Field(
        default="remove",
        description="What happens to training samples that are also in validation or test, equal to the bit.",
    )
    long_sounds: Literal["loudest", "start", "windows"] = Field(
        default="loudest",
        description="Part of a sound longer than a window: the loudest window, the first, or one every half window.",
    )
    sound_features: Literal["log-mel", "mfcc", "raw"] = Field(
        default="log-mel", description="What is computed of sounds; `raw` gives the samples themselves as a series."
    )
    sound_rate_hz: Count | None = Field(
        default=None, description="Samples per second (default: the most frequent rate of the sounds, at most 16000)."
    )
    sound_window_s: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="Seconds of a window of sound (default: what 95 % of the sounds fit into, at most 4)."
    )
    sound_frame_ms: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="Milliseconds of a frame (default: 30, or two hops where that is more)."
    )
    sound_hop_ms: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="Milliseconds from frame to frame (default: 10 to 20, for about 49 frames)."
    )
    sound_bands: Count | None = Field(
        default=None, description="Mel bands of sounds (default: 40; 32 below 16000 samples per second)."
    )
    sound_coefficients: Count | None = Field(default=None, description="Cepstral coefficients of `mfcc` (default: 13).")
    sound_shift: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.1, description="Share of a window by which training sounds are moved in time at most."
    )
    sound_masks: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.15,
        description="Share of frames, and of bands, of training sounds that are hidden at most (SpecAugment).",
    )
    sound_noise_db: float | None = Field(
        default=-30.0, description="Strongest noise in training sounds, in dB below their loudest part; null: none."
    )
    sound_gain_db: Annotated[float, Field(ge=0.0)] = Field(
        default=1.0, description="Spread of the strength of raw training sounds in dB; features have none."
    )
    label_pattern: str | None = Field(
        default=None,
        description="Regular expression whose one group is the class in the name of a sound (default: class folders).",
    )
    memory_mib: Count = Field(
        default=1024,
        description="Decoded images and sounds of more MiB stay on disk (OFFRAMP_CACHE) and are read by batches.",
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
