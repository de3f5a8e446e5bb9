"""The option that allows the command of an accelerator's file."""

from typing import Annotated

import typer

from offramp.cli.setting_options import COMMON

AllowRunner = Annotated[
    bool,
    typer.Option(
        "--allow-runner",
        help="Run the command that the accelerator's file names as its runner. It is code from outside.",
        rich_help_panel=COMMON,
    ),
]
"""The option ``--allow-runner``."""


def give_permission(allowed: bool) -> None:
    """Allow commands of accelerator files in this process and its workers.

    Args:
        allowed: Whether the option was given; otherwise nothing changes.
    """
    if allowed:
        from offramp.cost.engines.measured.command_runner import allow_runners

        allow_runners()
