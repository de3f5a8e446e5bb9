"""Settings of the budget of a search."""

import re
from typing import Annotated

from pydantic import Field

from offramp.errors import ConfigError
from offramp.settings.section import Count, Section

# Testing, export and report come after the last phase: this share of a time budget is kept for them, and at least
# these seconds.
CLOSING_SHARE, CLOSING_S = 0.07, 20.0
_TIME_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class BudgetConfig(Section):
    """When a search ends."""

    seconds: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="Wall time of the whole command in seconds (default: no limit)."
    )
    evaluations: Count | None = Field(default=None, description="Candidates to evaluate (default: search.evaluations).")

    @property
    def usable_seconds(self) -> float | None:
        """The part of the wall time that training, search and fine-tuning may use; None without a limit."""
        if self.seconds is None:
            return None
        return max(0.0, min(self.seconds * (1 - CLOSING_SHARE), self.seconds - CLOSING_S))


def parse_budget(text: str) -> BudgetConfig:
    """Read a budget.

    Args:
        text: Wall time of the whole command with its unit (``90s``, ``40m``, ``1.5h``), or a number of evaluations.

    Returns:
        The budget.

    Raises:
        ConfigError: The text is neither.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)?\s*", text)
    value = float(match.group(1)) if match else 0.0
    if match and value > 0:
        if match.group(2):
            return BudgetConfig(seconds=value * _TIME_UNITS[match.group(2)])
        if value == int(value):
            return BudgetConfig(evaluations=int(value))
    raise ConfigError(
        f"A budget must be a time above 0 such as 90s, 40m or 2h, or a whole number of evaluations, got {text!r}."
    )
