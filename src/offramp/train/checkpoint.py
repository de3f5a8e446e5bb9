"""Checkpoints: safetensors files with the state of a module, its optimiser and the loop."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from offramp.errors import RunError
from offramp.files.safe_files import write_atomically

_MODULE, _MOMENTUM = "module.", "momentum."


@dataclass(frozen=True)
class LoopState:
    """Progress of a training loop.

    Attributes:
        epoch: number of epochs run; one that a deadline ended early counts.
        progress: share of the training that is done, 0..1.
        loss: mean loss of each epoch, in order.
    """

    epoch: int
    progress: float
    loss: tuple[float, ...] = ()


def save_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None, state: LoopState) -> None:
    """Write all tensors and the loop state in one atomic step.

    Args:
        path: the file to write; an existing one is replaced.
        module: the module whose parameters and buffers are written.
        optimizer: the optimiser of the module, whose momentum is written; None = no momentum.
        state: progress of the loop.
    """
    tensors = {_MODULE + name: value for name, value in module.state_dict().items()}
    if optimizer is not None:
        for name, parameter in module.named_parameters():
            buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                tensors[_MOMENTUM + name] = buffer
    metadata = {"epoch": str(state.epoch), "progress": repr(state.progress), "loss": json.dumps(state.loss)}
    write_atomically(path, save(_separate(tensors), metadata=metadata))


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as safetensors files hold them: contiguous, and each with memory of its own.

    A layer with two names, a tied weight and a view of another tensor are therefore written once per name.
    """
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        shared = memory in seen
        seen.add(memory)
        # The default of `clone` keeps the strides of a tensor, which may be those of channels-last.
        kept = tensor.is_contiguous() and not shared
        separate[name] = tensor if kept else tensor.clone(memory_format=torch.contiguous_format)
    return separate


def load_checkpoint(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> LoopState:
    """Restore what ``save_checkpoint`` wrote.

    Args:
        path: the file to read.
        module: the module that receives the parameters and buffers.
        optimizer: the optimiser that receives the momentum; None = the momentum is ignored.

    Returns:
        The progress of the loop when the file was written.

    Raises:
        RunError: if the file cannot be read, is of another network, or lacks the loop state. Nothing is changed then.
    """
    tensors, metadata = _read(path)
    own = {name.removeprefix(_MODULE): value for name, value in tensors.items() if name.startswith(_MODULE)}
    expected = module.state_dict()
    wrong = sorted(own.keys() ^ expected.keys())
    wrong += [name for name in own.keys() & expected.keys() if own[name].shape != expected[name].shape]
    if wrong:
        raise RunError(
            f"Checkpoint {str(path)!r} does not belong to this network: {len(wrong)} tensors differ, "
            f"the first is {wrong[0]!r}. Use the settings it was made with, or start a new run."
        )
    try:
        state = LoopState(int(metadata["epoch"]), float(metadata["progress"]), tuple(json.loads(metadata["loss"])))
    except (KeyError, ValueError, TypeError) as exc:
        raise RunError(f"Checkpoint {str(path)!r} lacks its loop state ({exc}). Start a new run.") from exc
    module.load_state_dict(own)
    if optimizer is not None:
        for name, parameter in module.named_parameters():
            if _MOMENTUM + name in tensors:
                optimizer.state[parameter]["momentum_buffer"] = tensors[_MOMENTUM + name].to(parameter.device)
    return state


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - no iterator
    except (OSError, SafetensorError) as exc:
        raise RunError(f"Checkpoint {str(path)!r} cannot be read: {exc}. Delete it to train again.") from exc
