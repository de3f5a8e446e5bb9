"""Genes of the exit policy: confidence measure and accuracy drop."""

from dataclasses import dataclass

import numpy as np

from offramp.errors import InputError
from offramp.exits.confidence_measures import Measure
from offramp.space.architecture import PolicyChoice
from offramp.space.genes import GeneReader, index_of, pick


@dataclass(frozen=True)
class PolicyGenes:
    """In order: measure, accuracy drop. A network without exits has the default policy, whatever they are."""

    measures: tuple[Measure, ...]
    accuracy_drops: tuple[float, ...]

    @property
    def cardinalities(self) -> tuple[int, ...]:
        return len(self.measures), len(self.accuracy_drops)

    def decode(self, reader: GeneReader, num_exits: int) -> PolicyChoice:
        policy = PolicyChoice(reader.choose(self.measures), reader.choose(self.accuracy_drops))
        return policy if num_exits else PolicyChoice()

    def encode(self, policy: PolicyChoice, num_exits: int) -> list[int]:
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
        policy = PolicyChoice(pick(self.measures, rng), pick(self.accuracy_drops, rng))
        return policy if num_exits else PolicyChoice()

    def num_choices(self, num_exits: int) -> int:
        return len(self.measures) * len(self.accuracy_drops) if num_exits else 1
