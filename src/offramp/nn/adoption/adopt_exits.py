"""offramp.adopt_exits: makes an early-exit network from a torch model that already gives logits of several exits."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from offramp.errors import AdoptError, OfframpError
from offramp.nn.adoption.adopt import copied_model, example_pair
from offramp.nn.adoption.adopted_model import ADOPTED
from offramp.nn.adoption.call_recorder import record_calls
from offramp.nn.adoption.exit_stages import ExitStages, cut_at_exits
from offramp.nn.adoption.final_activation import FinalActivation, leave_out_final_activation_
from offramp.nn.adoption.tracing import TracedModel, as_given, as_map, first_line
from offramp.nn.network import EarlyExitNetwork, evaluating
from offramp.space.architecture import Architecture, ExitChoice, StageChoice

OWN_EXIT = "own_exit"
_CHECK_BATCHES = (2, 1, 3)
_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class AdoptedExits:
    """A model with exits of its own, cut into stages.

    Attributes:
        network: The early-exit network, in evaluation mode; its weights are copies.
        names: For each exit, what the model calls it: a key, or its place among the outputs.
        notes: What a user should know about how the model was cut.
    """

    network: EarlyExitNetwork
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


class _AllLogits(nn.Module):
    """Calls a model with one argument and returns the logits of all exits."""

    def __init__(self, model: nn.Module, axes: int) -> None:
        super().__init__()
        self.model = model
        self.axes = axes

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(named_logits(self.model(as_given(images, self.axes))).values())


def named_logits(result: Any) -> dict[str, Tensor]:
    """Find the logits of all exits in what a model returns.

    Args:
        result: What the model returns.

    Returns:
        The tensors of a list, tuple or dictionary by place or key; empty where it is none of these.
    """
    if isinstance(result, Mapping):
        pairs = [(str(key), value) for key, value in result.items()]
    elif isinstance(result, list | tuple):
        names = getattr(result, "_fields", None) or [str(index) for index in range(len(result))]
        pairs = list(zip(names, result, strict=True))
    else:
        return {}
    if len(pairs) == 1 and isinstance(pairs[0][1], list | tuple):
        return named_logits(pairs[0][1])
    found: dict[str, Tensor] = {}
    for name, value in pairs:
        if isinstance(value, Tensor):
            found[name] = value
        elif isinstance(value, list | tuple) and all(isinstance(item, Tensor) for item in value):
            found |= {f"{name}.{index}": item for index, item in enumerate(value)}
    return found


def adopt_exits(module: nn.Module, example: Tensor, *, name: str | None = None) -> AdoptedExits:
    """Make an early-exit network from a model that gives the logits of several exits, such as a BranchyNet or MSDNet.

    The final exit is the output that needs the most computation; the others are ordered by where they leave the path to
    it. The network computes exactly what the model computes in evaluation mode. The model itself is not changed.

    Args:
        module: The model: images (batch, channels, height, width), series (batch, channels, steps) or vectors (batch,
            features) to a list, tuple or dictionary of logits (batch, classes).
        example: A batch of samples as the model will read them: normalised, of the size of the data.
        name: Name of the network; None: the name of the model's class.

    Returns:
        The network with its exits in order.

    Raises:
        AdoptError: An argument is wrong, or the model cannot be cut; the message says why.
    """
    model, axes = copied_model(module, example), example.ndim
    images = as_map(example_pair(example))
    with evaluating(model):
        try:
            adopted = _cut(_AllLogits(model, axes), images, name or type(module).__name__)
        except OfframpError:
            raise
        # The user's code runs at every step and may raise anything.
        except Exception as exc:
            raise AdoptError(f"The model cannot be cut: running its parts failed ({first_line(exc)}).") from exc
    for note in adopted.notes:
        warnings.warn(note, stacklevel=2)
    return adopted


def _cut(root: _AllLogits, images: Tensor, label: str) -> AdoptedExits:
    names, classes = _outputs(root, images)
    calls = record_calls(root, root.model, images)
    traced = TracedModel(root, calls.graph, calls.outputs, calls.input_facts)
    finals = [leave_out_final_activation_(traced, classes, output=index) for index in range(len(names))]
    output = next(node for node in traced.graph.nodes if node.op == "output")
    logits = [node for node in output.args[0] if isinstance(node, fx.Node)]
    parts = cut_at_exits(traced, logits)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    stage = StageChoice(len(names), 1, (1,) * len(names), (1,) * len(names))
    early = tuple(ExitChoice(index, OWN_EXIT) for index in range(len(names) - 1))
    architecture = Architecture(f"{ADOPTED}{label}", shape[1], (stage,), early, final_branch=OWN_EXIT)
    network = EarlyExitNetwork(architecture, parts.stages, parts.branches, shape, classes).eval()
    _check_same(root, network, parts, finals, images)
    notes = tuple(
        f"Exit {names[index]!r} of {label} ends in {final.text}, which was left out: exits decide by logits."
        for index, final in enumerate(finals)
        if final is not None
    )
    if parts.order != tuple(range(len(names))):
        ordered = ", ".join(names[index] for index in parts.order)
        notes += (f"The exits of {label} were put in the order in which they are computed: {ordered}.",)
    return AdoptedExits(network, tuple(names[index] for index in parts.order), notes)


def _outputs(root: _AllLogits, images: Tensor) -> tuple[tuple[str, ...], int]:
    """Names of the exits and the number of classes."""
    try:
        with torch.no_grad():
            found = named_logits(root.model(as_given(images.clone(), root.axes)))
    except Exception as exc:
        raise AdoptError(f"The model must run on the example, but it failed: {first_line(exc)}.") from exc
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    classes = {shape[1] for shape in shapes.values() if len(shape) == 2}
    fits = len(classes) == 1 and all(len(shape) == 2 and shape[0] == len(images) for shape in shapes.values())
    if len(shapes) < 2 or not fits or min(classes) < 2:
        raise AdoptError(
            "The model must give a list, tuple or dictionary of at least two tensors of logits (batch, classes) for "
            f"the same classes, got {shapes or 'none'}. For one tensor of logits, use offramp.adopt."
        )
    return tuple(shapes), classes.pop()


def _check_same(
    root: _AllLogits,
    network: EarlyExitNetwork,
    parts: ExitStages,
    finals: list[FinalActivation | None],
    example: Tensor,
) -> None:
    generator = torch.Generator().manual_seed(0)
    for count in _CHECK_BATCHES:
        images = torch.randn(count, *example.shape[1:], generator=generator)
        with torch.no_grad():
            expected, found = root(images.clone()), network(images.clone())
        for place, logits in zip(parts.order, found, strict=True):
            final = finals[place]
            given = logits if final is None else final(logits)
            tolerance = 0.0 if final is None else _TOLERANCE
            if not torch.allclose(given, expected[place], rtol=tolerance, atol=tolerance, equal_nan=True):
                raise AdoptError(
                    f"The model cannot be cut: the parts of its output {place} do not give exactly what it gives. Its "
                    "code decides by the values of its input, draws random numbers (such as dropout in evaluation "
                    "mode), or keeps a state between calls."
                )
