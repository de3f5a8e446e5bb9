"""From a float network to one for quantisation-aware training, and from there to one that computes with integers."""

import copy
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, fx, nn

from offramp.errors import ConfigError, InputError, UnsupportedLayerError
from offramp.nn.fake_quantize import weight_range
from offramp.nn.integer_layers import Dequantize, to_integer
from offramp.nn.network import EarlyExitNetwork, evaluating
from offramp.nn.quantize_graph import PartFormat, output_source, rewrite_part
from offramp.nn.quantized_layers import QuantizedLayer
from offramp.nn.quantized_matrix import QuantizedMatrixLayer
from offramp.space.architecture import Precision

FLOAT_BITS = 32
IMAGE_BITS = 8
_MIN_BITS, _MAX_BITS = 2, 8


def check_precision(precision: Precision, what: str) -> None:
    """Raise ConfigError for bit widths that quantisation-aware training does not offer."""
    for name, bits in (("weights", precision.weight_bits), ("activations", precision.activation_bits)):
        if bits != FLOAT_BITS and not _MIN_BITS <= bits <= _MAX_BITS:
            raise ConfigError(
                f"To be quantised, {name} of the {what} must have {_MIN_BITS} to {_MAX_BITS} bits, or {FLOAT_BITS} for "
                f"floating point, got {bits}."
            )


def prepare_(network: EarlyExitNetwork, images: Iterable[Tensor], *, ternary: bool = False) -> None:
    """Make a float network one that trains, and is evaluated, at the bit widths its architecture states.

    Batch norms become a part of their convolutions; the image is quantised to 8 bits; sums and averages get a grid of
    their own; logits stay as wide as their sums. A part whose weights and activations have 32 bits is left as it is.
    ``images`` are batches to choose the grids on; with ``ternary``, weights of 2 bits are -1, 0 or 1. Optimisers must
    be made afterwards. Raises ConfigError for other bit widths, UnsupportedLayerError for layers that cannot be
    quantised; the network is then what it was.
    """
    architecture = network.architecture
    if is_prepared(network):
        raise ConfigError("This network is prepared for quantisation already. Prepare a float network.")
    check_precision(architecture.precision, "backbone")
    check_precision(architecture.branch_precision, "branches")
    stages, branches = network.stages, network.branches
    mode, device = network.training, next((p.device for p in network.parameters()), torch.device("cpu"))
    network.stages, network.branches = _rewritten(network, ternary)
    network.to(device).train(mode)
    try:
        _fit_grids(network, images)
    except BaseException:
        network.stages, network.branches = stages, branches
        raise


def _rewritten(network: EarlyExitNetwork, ternary: bool) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Copies of stages and branches in quantised form."""
    architecture = network.architecture
    source: QuantizedLayer | None = None
    stages: list[nn.Module] = []
    branches: list[nn.Module] = []
    for index, (stage, branch) in enumerate(zip(network.stages, network.branches, strict=True)):
        stage, branch = copy.deepcopy(stage), copy.deepcopy(branch)
        form = _form(architecture.precision, ternary, image=index == 0)
        if form is not None:
            part = rewrite_part(stage, f"stage {index}", form, source, logits=False)
            stage, source = part.module, part.source
        form = _form(architecture.branch_precision, ternary, image=False)
        if form is not None:
            branch = rewrite_part(branch, f"the branch of exit {index}", form, source, logits=True).module
        stages.append(stage)
        branches.append(branch)
    return nn.ModuleList(stages), nn.ModuleList(branches)


def _form(precision: Precision, ternary: bool, *, image: bool) -> PartFormat | None:
    weights, activations = precision.weight_bits, precision.activation_bits
    if weights == activations == FLOAT_BITS:
        return None
    bits = None if activations == FLOAT_BITS else activations
    return PartFormat(
        weight_limits=None if weights == FLOAT_BITS else weight_range(weights, ternary=ternary),
        activation_bits=bits,
        input_bits=IMAGE_BITS if image and bits is not None else bits,
    )


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
    sources = stage_sources(network)
    for index, (stage, branch) in enumerate(zip(network.stages, network.branches, strict=True)):
        source = sources[index]
        for module in (stage, branch):
            _convert_layers_(module)
        if source is not None and not isinstance(branch, fx.GraphModule):
            network.branches[index] = nn.Sequential(Dequantize(source), branch)
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
