"""Preparation of a network for quantisation-aware training, and conversion to integer arithmetic."""

import copy
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, fx, nn

from offramp.errors import ConfigError, InputError, UnsupportedLayerError
from offramp.nn.network import EarlyExitNetwork, evaluating
from offramp.nn.quantization.activation_layers import QuantizedLayer
from offramp.nn.quantization.integer_layers import Dequantize, to_integer
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer
from offramp.nn.quantization.precision_marks import IMAGE_BITS, marked_precision, precision_at
from offramp.nn.quantization.rewrite_graph import output_source, rewrite_part
from offramp.space.architecture import FLOAT_BITS, Architecture, Precision

_MIN_BITS, _MAX_BITS = 2, 8


def check_precision(precision: Precision, what: str) -> None:
    """Raise ConfigError for bit widths that quantisation-aware training does not offer."""
    for name, bits in (("weights", precision.weight_bits), ("activations", precision.activation_bits)):
        if bits != FLOAT_BITS and not _MIN_BITS <= bits <= _MAX_BITS:
            raise ConfigError(
                f"To be quantised, {name} of the {what} must have {_MIN_BITS} to {_MAX_BITS} bits, or {FLOAT_BITS} for "
                f"floating point, got {bits}."
            )


def prepare_(network: EarlyExitNetwork, images: Iterable[Tensor]) -> None:
    """Make a float network one that trains, and is evaluated, at the bit widths its architecture and parts state.

    Batch norms become a part of their convolutions; the image is quantised to 8 bits; sums and averages get a grid of
    their own; logits stay as wide as their sums. What has 32 bits for weights and activations is left as it is.
    ``images`` are batches to choose the grids on. Optimisers must be made afterwards. Raises ConfigError for other bit
    widths, UnsupportedLayerError for layers that cannot be quantised; the network is then what it was.
    """
    architecture = network.architecture
    if is_prepared(network):
        raise ConfigError("This network is prepared for quantisation already. Prepare a float network.")
    check_architecture_precisions(architecture)
    stages, branches = network.stages, network.branches
    mode, device = network.training, next((p.device for p in network.parameters()), torch.device("cpu"))
    network.stages, network.branches = _rewritten(network)
    network.to(device).train(mode)
    try:
        _fit_grids(network, images)
    except BaseException:
        network.stages, network.branches = stages, branches
        raise


def check_architecture_precisions(architecture: Architecture) -> None:
    """Raise ConfigError for bit widths of any part that quantisation-aware training does not offer."""
    check_precision(architecture.precision, "backbone")
    for stage in architecture.stages:
        for precision in stage.precisions:
            check_precision(precision, "backbone")
    for index in range(len(architecture.exits) + 1):
        check_precision(architecture.exit_precision(index), "branches")


def _rewritten(network: EarlyExitNetwork) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Copies of stages and branches in quantised form."""
    architecture = network.architecture
    source: QuantizedLayer | None = None
    stages: list[nn.Module] = []
    branches: list[nn.Module] = []
    for index, (stage, branch) in enumerate(zip(network.stages, network.branches, strict=True)):
        stage, branch = copy.deepcopy(stage), copy.deepcopy(branch)
        precision = architecture.precision
        if _is_quantised(stage, precision):
            bits = _image_bits(stage, precision) if index == 0 else None
            part = rewrite_part(stage, f"stage {index}", precision, source, input_bits=bits, logits=False)
            stage, source = part.module, part.source
        else:
            source = None
        precision = architecture.exit_precision(index)
        if _is_quantised(branch, precision):
            bits = None if precision.activation_bits == FLOAT_BITS else precision.activation_bits
            name = f"the branch of exit {index}"
            branch = rewrite_part(branch, name, precision, source, input_bits=bits, logits=True).module
        stages.append(stage)
        branches.append(branch)
    return nn.ModuleList(stages), nn.ModuleList(branches)


def _is_quantised(part: nn.Module, precision: Precision) -> bool:
    """Whether anything in the part is not in floating point."""
    marks = [marked_precision(module) for module in part.modules()]
    return not all(mark.is_float for mark in (precision, *marks) if mark is not None)


def _image_bits(stage: nn.Module, precision: Precision) -> int | None:
    """Those of the image, None for floating point: as the first layer that works on it needs them."""
    layers = (name for name, module in stage.named_modules() if isinstance(module, nn.Conv2d | nn.Linear))
    first = precision_at(stage, next(layers, ""), precision)
    return None if first.activation_bits == FLOAT_BITS else IMAGE_BITS


def is_prepared(network: nn.Module) -> bool:
    """Whether ``prepare_`` made some part of the network quantised."""
    return any(isinstance(module, QuantizedLayer) for module in network.modules())


def narrowest_activation_bits(network: nn.Module) -> int | None:
    """The fewest bits of any quantised activation; None where there is none."""
    widths = [m.bits for m in network.modules() if isinstance(m, QuantizedLayer) and m.bits is not None]
    return min(widths, default=None)


@torch.no_grad()
def _fit_grids(network: EarlyExitNetwork, images: Iterable[Tensor]) -> None:
    layers = [module for module in network.modules() if isinstance(module, QuantizedLayer)]
    for layer in layers:
        layer.observe_()
    seen = 0
    try:
        with evaluating(network):
            for batch in images:
                network(batch)
                seen += len(batch)
    finally:
        for layer in layers:
            layer.fit_()
    if not seen:
        raise InputError("To choose the quantisation grids, at least one batch of images is needed, got none.")


def convert_(network: EarlyExitNetwork) -> None:
    """Make a prepared network compute with integers: int8 weights, uint8 between layers, int32 sums.

    Same inputs (float images) and outputs (float logits). It gives exactly what the prepared network gives in
    evaluation mode, and cannot be trained. Raises UnsupportedLayerError where a part has quantised weights but float
    activations, or the other way round; parts that are in floating point altogether stay so.
    """
    if not is_prepared(network):
        raise ConfigError("Only a network that was prepared for quantisation can be converted. Call prepare_ first.")
    halves = [n for n, m in network.named_modules() if isinstance(m, QuantizedLayer) and not m.is_exact]
    if halves:
        raise UnsupportedLayerError(
            "Integers can compute only layers whose weights and activations both are quantised, which does not hold "
            f"for {len(halves)} layer(s), the first is {halves[0]}. Choose bits below 32 for both."
        )
    analog = [n for n, m in network.named_modules() if isinstance(m, QuantizedMatrixLayer) and m.analog is not None]
    if analog:
        raise UnsupportedLayerError(
            f"Integers cannot compute {len(analog)} layer(s) with analog channels, the first is {analog[0]}: "
            "converters read with a step of their own. Keep the network as it is; its export computes without noise."
        )
    before: QuantizedLayer | None = None
    sources = stage_sources(network)
    for index, (stage, branch) in enumerate(zip(network.stages, network.branches, strict=True)):
        for parts, part, source in ((network.stages, stage, before), (network.branches, branch, sources[index])):
            _convert_layers_(part)
            if source is not None and not isinstance(part, fx.GraphModule):
                parts[index] = nn.Sequential(Dequantize(source), part)
        before = sources[index]
    network.eval().requires_grad_(False)


def stage_sources(network: EarlyExitNetwork) -> tuple[QuantizedLayer | None, ...]:
    """Of each stage, the layer on whose grid its output lies; None = floating point."""
    sources: list[QuantizedLayer | None] = []
    for stage in network.stages:
        before = sources[-1] if sources else None
        sources.append(output_source(stage, before) if isinstance(stage, fx.GraphModule) else None)
    return tuple(sources)


def _convert_layers_(part: nn.Module) -> None:
    for name, module in list(part.named_modules()):
        new = to_integer(module)
        if new is not module:
            cast(fx.GraphModule, part).add_submodule(name, new)
