"""Names of values in exported graphs."""

IMAGES, BATCH = "images", "batch"
THRESHOLDS, LOGITS, EXIT, CONFIDENCE = "thresholds", "logits", "exit", "confidence"


def exit_name(index: int) -> str:
    """Name of the output that holds the logits of exit ``index``, in its stage and in the joined graph.

    Args:
        index: Index of the stage, from 0.

    Returns:
        The name.
    """
    return f"exit_{index}"


def features_name(index: int) -> str:
    """Name of the value that goes from stage ``index`` to the next.

    Args:
        index: Index of the stage, from 0.

    Returns:
        The name.
    """
    return f"features_{index}"


def input_name(index: int) -> str:
    """Name of the input of stage ``index``.

    Args:
        index: Index of the stage, from 0.

    Returns:
        The name.
    """
    return IMAGES if index == 0 else features_name(index - 1)


def input_names(index: int, *, reads_logits: bool) -> list[str]:
    """Names of the inputs of stage ``index``.

    Args:
        index: Index of the stage, from 0.
        reads_logits: Whether its exit reads the logits of the exit before.

    Returns:
        The names: the features, then the logits of the exit before where they are read.
    """
    return [input_name(index), exit_name(index - 1)] if reads_logits else [input_name(index)]


def output_names(index: int, num_stages: int) -> list[str]:
    """Names of the outputs of stage ``index``; the last stage hands no features on.

    Args:
        index: Index of the stage, from 0.
        num_stages: The number of stages.

    Returns:
        The names.
    """
    return [exit_name(index)] if index == num_stages - 1 else [features_name(index), exit_name(index)]
