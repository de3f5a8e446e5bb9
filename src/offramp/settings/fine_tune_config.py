"""Settings of what happens to the chosen networks."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from offramp.errors import ConfigError
from offramp.exits.accuracy_guarantee import parse_target
from offramp.settings.section import Section, Share

ACCURACY_MARGIN = 0.01
"""Accuracy that an early-exit network may lose against its match, a share."""


class FineTuneConfig(Section):
    """What happens to the chosen networks, to the static networks they are compared with, and to the largest one.

    Where bit widths are searched (``space.precision``), networks are always quantised as with ``quantize``.
    """

    epochs: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Epochs of fine-tuning (default: as many as the supernet was trained for)."
    )
    learning_rate: Annotated[float, Field(gt=0.0)] = Field(
        default=0.05, description="Largest learning rate of the schedule."
    )
    reference: bool = Field(
        default=True,
        description="Whether the largest static network is fine-tuned and tested, too; false saves its time.",
    )
    teacher: Literal["final_exit", "later_exits", "reference"] = Field(
        default="final_exit",
        description="What exits learn from beside the labels: final_exit or later_exits (early exits only), or "
        "reference (all exits).",
    )
    match: bool = Field(
        default=True,
        description="Whether the static networks that chosen ones are compared with are fine-tuned and tested, too.",
    )
    accuracy_margin: Annotated[float, Field(ge=0.0, le=0.5)] = Field(
        default=ACCURACY_MARGIN,
        description="Accuracy that early exits may lose against the static match and still pay, a share.",
    )
    early_exit_weight: Annotated[float, Field(gt=0.0, le=10.0)] = Field(
        default=4.0, description="Weight of the loss of each early exit, relative to that of the final exit."
    )
    early_exit_weights: tuple[Annotated[float, Field(gt=0.0, le=10.0)], ...] = Field(
        default=(),
        description="Values of early_exit_weight to choose among for each network, by short trainings that validation "
        "samples judge (default: none, early_exit_weight holds).",
    )
    drop_exits: bool | None = Field(
        default=None,
        description="Whether exits that do not pay for their branches are removed from a trained network (default: "
        "yes, unless there is a guarantee).",
    )
    contenders: Annotated[int, Field(ge=0, le=64)] = Field(
        default=0,
        description="Members of the front that are trained for a short time before picks are made among the best of "
        "them, by successive halving (default: 0, none).",
    )
    picks: tuple[str, ...] = Field(
        default=("knee", "most_accurate", "cheapest"),
        description="Points of the front to finish: knee, most_accurate, near_best (the cheapest within half a point "
        'of the best static network), cheapest, a number, or bounds ("macs<=2M").',
    )
    guarantee: Annotated[str, Field(max_length=40)] | None = Field(
        default=None,
        description="Accuracy that leaving early may cost, and the confidence in that: 0.01@0.95 (default: none).",
    )
    guarantee_measure: str = Field(
        default="accuracy", description="What the guarantee is about: accuracy, or recall:NAME for one class."
    )
    quantize: bool = Field(
        default=False, description="Whether the networks are trained and exported at the bit widths that are priced."
    )
    weight_density: Share | None = Field(
        default=None,
        description="Share of nonzero weights to prune to, for an accelerator that gains from zeros (default: all).",
    )

    @property
    def drops_exits(self) -> bool:
        """Whether exits are removed; a guarantee needs the validation samples that would choose them."""
        return self.guarantee is None if self.drop_exits is None else self.drop_exits

    @model_validator(mode="after")
    def _pruning_needs_training(self) -> "FineTuneConfig":
        if self.weight_density is not None and self.epochs == 0:
            raise ValueError("weight_density prunes while networks are fine-tuned, which needs epochs of at least 1")
        return self

    @model_validator(mode="after")
    def _trials_need_rules(self) -> "FineTuneConfig":
        if self.contenders and self.epochs == 0:
            raise ValueError("contenders are trained, which needs epochs of at least 1")
        if self.contenders and any(rule.strip().isdecimal() for rule in self.picks):
            raise ValueError(
                "contenders change the front, so that numbers pick nothing: use rules or bounds in `picks`"
            )
        return self

    @model_validator(mode="after")
    def _a_guarantee_is_for_fixed_exits(self) -> "FineTuneConfig":
        if self.drop_exits and self.guarantee is not None:
            raise ValueError(
                "drop_exits chooses on the validation samples that a guarantee is certified on: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _a_teacher_is_trained(self) -> "FineTuneConfig":
        if self.teacher == "reference" and not self.reference:
            raise ValueError("teacher reference needs a reference that is trained: leave `reference` true")
        return self

    @field_validator("guarantee_measure")
    @classmethod
    def _a_mean_over_samples(cls, value: str) -> str:
        if value == "accuracy" or (value.startswith("recall:") and value.removeprefix("recall:").strip()):
            return value
        if value in ("balanced_accuracy", "macro_f1"):
            raise ValueError(
                f"a guarantee is defined for a mean over samples that are drawn alike, which {value} is not: take "
                "accuracy, or recall:NAME for the class that matters most"
            )
        raise ValueError(f"must be accuracy or recall:NAME, got {value!r}")

    @field_validator("guarantee")
    @classmethod
    def _understood(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_target(value)
            except ConfigError as exc:
                raise ValueError(str(exc)) from exc
        return value
