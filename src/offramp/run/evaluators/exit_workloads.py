"""Workloads of all early-exit networks of one backbone, assembled from a few lowered ones.

Lowering runs a network; choosing among its exits only leaves out the branches that are not there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from offramp.errors import InputError
from offramp.space.architecture import ExitChoice
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload

_NUMBERED = re.compile(r"(stages|branches|links)\.(\d+)\.")
_LINK = "links."


def exit_groups(options: Sequence[ExitChoice]) -> list[list[int]]:
    """Groups of options with one option per tap, so that one network can have all exits of a group.

    Args:
        options: The exits that a backbone may have, in the order of their taps.

    Returns:
        Positions in ``options`` for each group. Every option is in at least one group.
    """
    at_tap: dict[int, list[int]] = {}
    for place, option in enumerate(options):
        at_tap.setdefault(option.tap, []).append(place)
    most = max((len(places) for places in at_tap.values()), default=0)
    return [[places[min(number, len(places) - 1)] for places in at_tap.values()] for number in range(most)]


@dataclass(frozen=True)
class _Branch:
    """The layers of an exit: those of its own branch, which end at ``end``, and those of its link, if it has one."""

    layers: tuple[Layer, ...]
    end: str
    link: tuple[Layer, ...]

    @classmethod
    def of(cls, workload: Workload, stage: int) -> "_Branch":
        every = workload.stage_layers(stage, Role.BRANCH)
        link = tuple(layer for layer in every if layer.name.startswith(_LINK))
        # The last layer of a link adds what the link computes and the logits of the branch.
        own = [name for name in link[-1].inputs if not name.startswith(_LINK)] if link else [workload.exits[stage]]
        return cls(tuple(layer for layer in every if layer not in link), own[0], link)

    def add_to(self, layers: list[Layer], number: int, names: dict[str, str], before: str | None) -> str:
        """Append the layers of exit ``number``, behind an exit that ends at the layer ``before``; returns its end."""
        layers += [_renamed(layer, number, names) for layer in self.layers]
        if before is None or not self.link:
            return names[self.end]
        # Whatever exit came before in the lowered network, it is another one here.
        inside = {self.end, *(layer.name for layer in self.link)}
        names |= {name: before for layer in self.link for name in layer.inputs if name not in inside}
        layers += [_renamed(layer, number, names) for layer in self.link]
        return layers[-1].name


class ExitWorkloads:
    """Assembles the workload of any early-exit network of one backbone."""

    def __init__(self, options: Sequence[ExitChoice], lowered: Sequence[Workload]) -> None:
        """Take the branches from lowered networks.

        Args:
            options: The exits that the backbone may have, in the order of their taps.
            lowered: One workload per group of `exit_groups`, each with an exit at every tap.
        """
        self._taps = list(dict.fromkeys(option.tap for option in options))
        self._options = tuple(options)
        self._full = lowered[0]
        self._branches: dict[ExitChoice, _Branch] = {}
        for places, workload in zip(exit_groups(options), lowered, strict=False):
            for stage, place in enumerate(places):
                self._branches.setdefault(options[place], _Branch.of(workload, stage))
        self._final = _Branch.of(self._full, self._full.num_stages - 1)

    def workload(self, exits: Sequence[ExitChoice], head: ExitChoice | None = None) -> Workload:
        """Assemble the workload that `lower` would return for the network with some of the exits.

        Args:
            exits: The early exits of the network.
            head: The option at which the network ends, behind these exits; None: it ends with the final classifier.

        Returns:
            The workload.

        Raises:
            InputError: An exit is not among the options of the backbone.
        """
        ends_at = () if head is None else (head,)
        unknown = [choice for choice in (*exits, *ends_at) if choice not in self._branches]
        if unknown:
            raise InputError(f"exits must be among the options of the backbone, got {unknown}.")
        at_tap = {choice.tap: choice for choice in (*exits, *ends_at)}
        layers: list[Layer] = []
        ends: list[str] = []
        names = {GRAPH_INPUT: GRAPH_INPUT}
        for stage, tap in enumerate([*self._taps, None]):
            number = len(ends)
            layers += [_renamed(layer, number, names) for layer in self._full.stage_layers(stage, Role.BACKBONE)]
            if tap is None or tap in at_tap:
                branch = self._final if tap is None else self._branches[at_tap[tap]]
                ends.append(branch.add_to(layers, number, names, ends[-1] if ends else None))
            if head is not None and tap == head.tap:
                break
        return Workload(self._full.name, tuple(layers), tuple(ends))


def _renamed(layer: Layer, stage: int, names: dict[str, str]) -> Layer:
    """The layer in its new stage; ``names`` maps old names to new ones and grows."""
    name = _NUMBERED.sub(lambda match: f"{match[1]}.{stage}.", layer.name, count=1)
    names[layer.name] = name
    return replace(
        layer,
        name=name,
        inputs=tuple(names[item] for item in layer.inputs),
        stage=stage,
    )
