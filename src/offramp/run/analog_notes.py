"""What a user should know about the analog layers of a search."""

from dataclasses import replace

from offramp.cost.mapping.channel_split.analog_shares import AnalogRefusal, analog_refusals
from offramp.hardware.accelerator import Accelerator
from offramp.nn.backbone import ElasticBackbone
from offramp.nn.lowering.lower import lower
from offramp.nn.supernet.supernet import Supernet
from offramp.space.architecture import PolicyChoice
from offramp.space.early_exit_space import EarlyExitSpace


def analog_notes(space: EarlyExitSpace, supernet: Supernet, accelerator: Accelerator) -> tuple[str, ...]:
    """Say which layers stay digital whatever shares are chosen.

    The layers are those of the largest backbone with an exit at every tap, for each branch type.

    Args:
        space: The search space.
        supernet: The supernet, from which the layers are taken.
        accelerator: The accelerator with the analog core.

    Returns:
        A sentence per reason; empty where no analog shares are searched.
    """
    notes = []
    if not any(space.analog_shares):
        return ()
    backbone = space.max_architecture()
    layers: dict[str, dict[str, None]] = {}
    for branch in space.branches:
        taps = len(space.active_taps(backbone))
        with_exits = replace(space, max_exits=taps).with_spread_exits(backbone, taps, branch, PolicyChoice())
        for refusal in analog_refusals(lower(supernet.extract(with_exits)), accelerator):
            named = (_with_branch(name, branch, taps) for name in refusal.layers)
            layers.setdefault(refusal.reason, {}).update(dict.fromkeys(named))
    chip = accelerator.formulas
    core = chip.analog.core if chip is not None and chip.analog is not None else ""
    notes += [AnalogRefusal(core, reason, tuple(names)).sentence for reason, names in layers.items()]
    if not isinstance(supernet.backbone, ElasticBackbone):
        notes.append(
            "Only exit branches were trained with analog shares before the search, not this backbone: what candidates "
            "lose by its analog layers is more than what the chosen networks lose after fine-tuning."
        )
    return tuple(notes)


def _with_branch(name: str, branch: str, taps: int) -> str:
    """A layer's name with the type of the branch it is in; the final classifier has one type."""
    parts = name.split(".")
    return f"{name} of {branch}" if parts[0] == "branches" and int(parts[1]) < taps else name
