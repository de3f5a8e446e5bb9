"""Preparation of a network for quantisation-aware training, and conversion to integer arithmetic."""

import copy
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, fx, nn

from offramp.errors import ConfigError, InputError, UnsupportedLayerError
from offramp.nn.exit_link import ExitLink
from offramp.nn.network import EarlyExitNetwork, evaluating
from offramp.nn.quantization.activation_layers import QuantizedLayer
from offramp.nn.quantization.integer_layers import Dequantize, to_integer
from offramp.nn.quantization.matrix_layers import QuantizedMatrixLayer
from offramp.nn.quantization.precision_marks import IMAGE_BITS, marked_precision, precision_at
from offramp.nn.quantization.rewrite_graph import output_source, rewrite_part
from offramp.space.architecture import FLOAT_BITS, Architecture, Precision

_MIN_BITS, _MAX_BITS = 2, 8


def check_precision(precision: Precision, what: str) -> None:
    """Check that quantisation-aware training supports some bit widths.

    Args:
        precision: the bit widths; each must be 2 to 8, or 32.
        what: name of the part in the error message.

    Raises:
        ConfigError: if a bit width is not supported.
    """
    for name, bits in (("weights", precision.weight_bits), ("activations", precision.activation_bits)):
        if bits != FLOAT_BITS and not _MIN_BITS <= bits <= _MAX_BITS:
            raise ConfigError(
                f"To be quantised, {name} of the {what} must have {_MIN_BITS} to {_MAX_BITS} bits, or {FLOAT_BITS} for "
                f"floating point, got {bits}."
            )


def prepare_(network: EarlyExitNetwork, images: Iterable[Tensor]) -> None:
    """Prepare a float network for quantisation-aware training at the bit widths of its architecture and its marks.

    Batch norms are merged with their convolutions, the image is quantised to 8 bits, and sums and averages get grids.
    Logits of matrix layers are not quantised, and what a link adds to them is added in floating point. Parts with
    weights and activations of 32 bits do not change.
    Optimisers must be made afterwards, because parameters change.

    Args:
        network: the network; it is not changed if an error is raised.
        images: batches of images (batch, channels, height, width) on which the grids are chosen.

    Raises:
        ConfigError: if the network is prepared already, or a bit width is not supported.
        UnsupportedLayerError: if a layer cannot be quantised.
        InputError: if there are no images.
    """
    architecture = network.architecture
    if is_prepared(network):
        raise ConfigError("This network is prepared for quantisation already. Prepare a float network.")
    check_architecture_precisions(architecture)
    before = network.stages, network.branches, network.links
    mode, device = network.training, next((p.device for p in network.parameters()), torch.device("cpu"))
    network.stages, network.branches, network.links = _rewritten(network)
    network.to(device).train(mode)
    try:
        _fit_grids(network, images)
    except BaseException:
        network.stages, network.branches, network.links = before
        raise


def check_architecture_precisions(architecture: Architecture) -> None:
    """Check that quantisation-aware training supports the bit widths of all parts.

    Args:
        architecture: the architecture to check.

    Raises:
        ConfigError: if a bit width is not supported.
    """
    check_precision(architecture.precision, "backbone")
    for stage in architecture.stages:
        for precision in stage.precisions:
            check_precision(precision, "backbone")
    for index in range(len(architecture.exits) + 1):
        check_precision(architecture.exit_precision(index), "branches")


def _rewritten(network: EarlyExitNetwork) -> tuple[nn.ModuleList, nn.ModuleList, nn.ModuleDict]:
    """Copies of stages, branches and links in quantised form."""
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
    links = {key: _rewritten_link(network, int(key)) for key in network.links}
    return nn.ModuleList(stages), nn.ModuleList(branches), nn.ModuleDict(links)


def _rewritten_link(network: EarlyExitNetwork, index: int) -> nn.Module:
    """A copy of a link whose weights are quantised, and the logits that enter them."""
    link = copy.deepcopy(cast(ExitLink, network.links[str(index)]))
    precision = network.architecture.exit_precision(index)
    if _is_quantised(link, precision):
        bits = None if precision.activation_bits == FLOAT_BITS else precision.activation_bits
        name = f"the link of exit {index}"
        link.weights = rewrite_part(link.weights, name, precision, None, input_bits=bits, logits=True).module
    return link


def _is_quantised(part: nn.Module, precision: Precision) -> bool:
    """Whether any layer of the part has bit widths below 32."""
    marks = [marked_precision(module) for module in part.modules()]
    return not all(mark.is_float for mark in (precision, *marks) if mark is not None)


def _image_bits(stage: nn.Module, precision: Precision) -> int | None:
    """Bit width of the image, as its first layer needs it; None = floating point."""
    layers = (name for name, module in stage.named_modules() if isinstance(module, nn.Conv2d | nn.Linear))
    first = precision_at(stage, next(layers, ""), precision)
    return None if first.activation_bits == FLOAT_BITS else IMAGE_BITS


def is_prepared(network: nn.Module) -> bool:
    """Whether a network is prepared for quantisation.

    Args:
        network: the network.

    Returns:
        True if it contains a quantised layer.
    """
    return any(isinstance(module, QuantizedLayer) for module in network.modules())


def narrowest_activation_bits(network: nn.Module) -> int | None:
    """Find the smallest bit width of activations.

    Args:
        network: the network.

    Returns:
        The smallest bit width of quantised activations; None if there are none.
    """
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
        raise InputError("The choice of quantisation grids needs at least one batch of images, got none.")


def convert_(network: EarlyExitNetwork) -> None:
    """Convert a prepared network to integer arithmetic: int8 weights, uint8 activations, int32 sums.

    Images and logits stay floats. The results equal those of the prepared network in evaluation mode. The
    converted network cannot be trained. Parts in floating point do not change.

    Args:
        network: the network.

    Raises:
        ConfigError: if the network is not prepared.
        UnsupportedLayerError: if a layer has only weights or only activations quantised, analog channels, or sums that
            may reach 2**28.
    """
    if not is_prepared(network):
        raise ConfigError("Only a network that was prepared for quantisation can be converted. Call prepare_ first.")
    partial = [n for n, m in network.named_modules() if isinstance(m, QuantizedLayer) and not m.is_exact]
    if partial:
        raise UnsupportedLayerError(
            "Integers can compute only layers whose weights and activations are both quantised, which does not hold "
            f"for {len(partial)} layer(s), the first is {partial[0]}. Choose bits below 32 for both."
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
    for link in network.links.values():
        _convert_layers_(cast(ExitLink, link).weights)
    network.eval().requires_grad_(False)


def stage_sources(network: EarlyExitNetwork) -> tuple[QuantizedLayer | None, ...]:
    """Find the layers that quantise the outputs of stages.

    Args:
        network: a prepared network.

    Returns:
        For each stage the layer on whose grid its output lies; None = floating point.
    """
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
