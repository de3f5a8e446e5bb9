"""A threshold per exit on the confidence of that exit alone: the rule that a search chooses."""

from offramp.exits.exit_policy import ExitPolicy
from offramp.exits.exit_rule import EXIT_RULES

EXIT_RULES.add(ExitPolicy.name, ExitPolicy)
