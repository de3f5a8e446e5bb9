"""Settings of the training of the supernet."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from offramp.settings.section import ClosedShare, Count, Section, Share


class TrainConfig(Section):
    """Training of the supernet, the one network that contains all candidates."""

    epochs: Count | None = Field(
        default=None, description="Epochs of training (default: 10 to 40, and more where that is under 320 steps)."
    )
    batch_size: Count | None = Field(
        default=None, description="Samples of a training step (default: 16 to 128, by the number of samples)."
    )
    learning_rate: Annotated[float, Field(gt=0.0)] = Field(
        default=0.05, description="Largest learning rate of the schedule."
    )
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(default=5e-4, description="Weight decay.")
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.9, description="Momentum of gradient descent.")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="Share of a label's weight that is spread over all classes."
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="Weights of the classes in the loss: none, or balanced (rare classes count more)."
    )
    random_subnets: Annotated[int, Field(ge=0, le=8)] = Field(
        default=1, description="Random subnets trained in each step, beside the largest and the smallest."
    )
    sort_channels: bool = Field(
        default=False,
        description="Whether only full widths are trained at first and channels are then sorted by importance.",
    )
    full_width_share: Share = Field(
        default=0.15, description="Share of the training at full widths, where channels are sorted."
    )
    distillation_weight: ClosedShare = Field(
        default=0.5, description="Weight of distillation in the loss; the labels have the rest."
    )
    distillation_temperature: Annotated[float, Field(gt=0.0)] = Field(
        default=1.0, description="Temperature that softens the outputs for distillation."
    )
    sample_weighting: Literal["equal", "reaching", "boosting"] = Field(
        default="equal",
        description="Weights of samples in each exit's loss: equal, or larger where exits before are unsure (reaching) "
        "or the one before is wrong (boosting).",
    )
    gradient_equilibrium: bool = Field(
        default=False, description="Whether all exits have the same share of the gradient of the backbone."
    )
    exit_training: Literal["joint", "after_backbone"] = Field(
        default="joint",
        description="Whether early exits are trained with the backbone (joint) or on a finished one (after_backbone).",
    )
    backbone_share: Share = Field(
        default=0.6, description="Share of the training in which after_backbone trains the backbone alone."
    )
    device: str = Field(default="cpu", description="Device to train on, as torch names it: cpu, cuda, cuda:1.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="Number format of the training: auto (bf16 where it is fast), fp32 or bf16."
    )
    channels_last: bool = Field(default=True, description="Whether feature maps are laid out with channels last.")
    threads: Count | None = Field(default=None, description="Threads of torch (default: what suits the images' size).")

    @model_validator(mode="after")
    def _one_first_phase(self) -> "TrainConfig":
        if self.exit_training == "after_backbone" and self.sort_channels:
            raise ValueError(
                "exit_training after_backbone and sort_channels each need a first phase of their own: choose one"
            )
        return self
