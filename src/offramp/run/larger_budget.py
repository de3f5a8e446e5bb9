"""A search that ended goes on with a larger budget: what that means for its record and for finished networks."""

from collections.abc import Sequence

from offramp.errors import ConfigError
from offramp.files.safe_files import read_file
from offramp.jsonio import loads
from offramp.records import RunStore
from offramp.records.run_summary import ChosenNetwork
from offramp.run.finishing.finisher import RECORD
from offramp.run.finishing.targets import FinishTarget
from offramp.settings.config import Config

SEARCHED = "searched"
"""Where a record says that the search came to its end."""


def check_budget(store: RunStore, config: Config) -> bool:
    """Check a budget that is given to a run when it is resumed.

    Args:
        store: The record of the run.
        config: The settings with the new budget.

    Returns:
        Whether a search that ended goes on.

    Raises:
        ConfigError: The budget is not larger than what was evaluated.
    """
    wanted, done = config.budget.evaluations, len(store.evaluations())
    if wanted is not None and wanted <= done:
        raise ConfigError(
            f"The budget of a run that goes on must be larger than what was done, {done} evaluations, got {wanted}. "
            "It counts all evaluations of the run."
        )
    return store.get(SEARCHED) is not None


def continue_search(store: RunStore) -> None:
    """Let a search go on that came to its end.

    Networks that were being fine-tuned are removed: the front may pick others. Finished ones stay until the front is
    known, and the reference is the same for any front.

    Args:
        store: The record of the run, open for writing.
    """
    chosen = store.network_folder("x").parent
    for folder in sorted(chosen.iterdir()) if chosen.is_dir() else ():
        if folder.is_dir() and not (folder / RECORD).exists():
            store.remove_network(folder)
    store.forget(SEARCHED)


def remove_other_networks(store: RunStore, targets: Sequence[FinishTarget]) -> None:
    """Remove finished networks that the front does not pick any more.

    Args:
        store: The record of the run, open for writing.
        targets: What the run finishes now.
    """
    chosen = store.network_folder("x").parent
    wanted = {target.folder: target.selection for target in targets}
    for folder in sorted(chosen.iterdir()) if chosen.is_dir() else ():
        if not folder.is_dir():
            continue
        selection = wanted.get(folder)
        if folder in wanted and selection is None:
            continue  # the reference
        file = folder / RECORD
        if selection is not None and file.exists():
            record = loads(ChosenNetwork, read_file(file, follow_links=False), what=f"Record {file}")
            if record.candidate == selection.evaluation.architecture:
                continue
        elif selection is not None:
            continue  # being fine-tuned, for this front
        store.remove_network(folder)
