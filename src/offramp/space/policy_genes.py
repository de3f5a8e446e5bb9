"""Genes of the exit policy: confidence measure and accuracy drop."""

from dataclasses import dataclass

import numpy as np

from offramp.errors import InputError
from offramp.exits.confidence_measures import Measure
from offramp.space.architecture import PolicyChoice
from offramp.space.genes import GeneReader, index_of, pick


@dataclass(frozen=True)
class PolicyGenes:
    """Genes of the exit policy, in order: measure, accuracy drop.

    A network without exits has the default policy, whatever its genes are.

    Attributes:
        measures: Confidence measures to choose among.
        accuracy_drops: Accuracy drops to choose among, 0 to 1.
    """

    measures: tuple[Measure, ...]
    accuracy_drops: tuple[float, ...]

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of choices of each gene."""
        return len(self.measures), len(self.accuracy_drops)

    def decode(self, reader: GeneReader, num_exits: int) -> PolicyChoice:
        """Read the policy.

        Args:
            reader: Genes; the next ones are those of the policy.
            num_exits: Number of early exits of the network.

        Returns:
            The policy.
        """
        policy = PolicyChoice(reader.choose(self.measures), reader.choose(self.accuracy_drops))
        return policy if num_exits else PolicyChoice()

    def encode(self, policy: PolicyChoice, num_exits: int) -> list[int]:
        """Find the canonical genes of a policy.

        Args:
            policy: The policy.
            num_exits: Number of early exits of the network.

        Returns:
            Two genes.

        Raises:
            InputError: The policy lies outside the space, or a network without exits has another than the default
                policy.
        """
        if num_exits:
            return [
                index_of(self.measures, policy.measure, "measure"),
                index_of(self.accuracy_drops, policy.accuracy_drop, "accuracy drop"),
            ]
        if policy != PolicyChoice():
            raise InputError(
                f"an architecture without exits must have the default policy, got {policy}; "
                f"use Architecture.without_exits()."
            )
        return [0, 0]

    def sample(self, rng: np.random.Generator, num_exits: int) -> PolicyChoice:
        """Draw a policy at random.

        Args:
            rng: Source of randomness.
            num_exits: Number of early exits of the network.

        Returns:
            The policy.
        """
        policy = PolicyChoice(pick(self.measures, rng), pick(self.accuracy_drops, rng))
        return policy if num_exits else PolicyChoice()

    def num_choices(self, num_exits: int) -> int:
        """Count the distinct policies.

        Args:
            num_exits: Number of early exits of the network.

        Returns:
            The exact number.
        """
        return len(self.measures) * len(self.accuracy_drops) if num_exits else 1
