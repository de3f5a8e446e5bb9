"""Choice of the weight of early exits' losses for one network, by short trainings that validation samples judge."""

from dataclasses import replace

from offramp.objectives.evaluation import Evaluation, Status
from offramp.objectives.picking import PRODUCT
from offramp.progress import Task
from offramp.run.context import Context
from offramp.run.finishing.trials.candidate_trials import after_training
from offramp.settings.by_name import with_settings

_SHARE_OF_EPOCHS = 4


def with_best_exit_weight(context: Context, evaluation: Evaluation, task: Task) -> Context:
    """Search the weight of early exits for a network, where the settings list several.

    Each weight is tried for a quarter of the epochs of fine-tuning, from the supernet's weights. The best one gives the
    highest accuracy on the validation samples of the search at no larger product of energy and latency than the
    candidate had in the search; of equal ones, the cheapest, then the first.

    Args:
        context: The parts of the run, with a trained supernet.
        evaluation: The network as the search found it.
        task: Receives the progress.

    Returns:
        The context with the best weight; as it was, where there is nothing to choose or no training succeeded.

    Raises:
        Interrupted: The user pressed Ctrl-C.
    """
    weights = context.config.fine_tune.early_exit_weights
    if not weights or not evaluation.architecture.exits or not context.fine_tune_epochs:
        return context
    epochs = max(1, context.fine_tune_epochs // _SHARE_OF_EPOCHS)
    best, best_figures = context, (0.0, 0.0)
    for weight in weights:
        config = with_settings(context.config, {"fine_tune.early_exit_weight": weight})
        tried = replace(context, config=config)
        found = after_training(tried, task, evaluation, epochs)
        if found.status is not Status.COMPLETE:
            continue
        figures = (-found.values[context.measures.chosen_by], found.values[PRODUCT])
        if best is context or figures < best_figures:
            best, best_figures = tried, figures
    return best
