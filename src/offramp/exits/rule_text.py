"""Exit rules as text that a user writes, such as ``patience:2``."""

from offramp.errors import InputError
from offramp.exits.exit_rule import EXIT_RULES, ExitRule, RuleNotation
from offramp.jsonio import shortened


def parse_rule(text: str, like: RuleNotation) -> ExitRule:
    """Read a rule that a user wrote.

    Args:
        text: The name of a registered rule and its numbers, such as ``patience:2`` or ``cumulative:0.9,0.95``.
        like: The rule of the bundle, which gives the confidence measure and temperatures.

    Returns:
        The rule; whether it fits the exits of a bundle is checked by its session.

    Raises:
        UnknownNameError: If no rule of this name is registered.
        InputError: If the numbers are not those of such a rule.
    """
    name, _, numbers = text.strip().partition(":")
    kind = EXIT_RULES.get(name)
    try:
        return kind.from_numbers(tuple(float(part) for part in numbers.split(",")), like)
    except (ValueError, OverflowError) as exc:
        raise InputError(
            f"A rule {name!r} must be written as its name, a colon and {kind.numbers}, such as {kind.example}; "
            f"got {shortened(repr(text))}."
        ) from exc
