"""The auto-encoder of MLPerf Tiny with early exits, each a shortened decoder.

Source: Banbury et al. 2021, "MLPerf Tiny Benchmark", section 4.4; layer shapes from the reference TFLite file.
"""

from collections.abc import Sequence

import torch
from torch import nn

from offramp.errors import ConfigError
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, ExitChoice, StageChoice

INPUT_SHAPE = (1, 5, 128)
"""Shape of a window: five frames of 128 bands, 640 features in all."""

_NUM_FEATURES = 640
_WIDTHS = (128, 128, 128, 128, 8, 128, 128, 128, 128)
_BOTTLENECK_TAP = 5
_NUM_LAYERS = len(_WIDTHS)


def build_autoencoder(taps: Sequence[int] = (), *, seed: int) -> EarlyExitNetwork:
    """Build the reference network, with a shortened decoder as an early exit behind each of some layers.

    Every output is a rebuilt input (batch, 640); the last one is that of the reference. Layer 5 is the bottleneck of 8
    units: an exit behind it or a later layer is one linear layer to 640; an exit before it has its own bottleneck.

    Args:
        taps: Layers with an early exit behind them, from 1 to 9 and strictly increasing.
        seed: Seed of the initial weights.

    Returns:
        An untrained network with one exit more than ``taps``.

    Raises:
        ConfigError: The taps do not increase, or one is not a layer.
    """
    if list(taps) != sorted(set(taps)):
        raise ConfigError(f"taps of the exits must strictly increase, got {tuple(taps)}.")
    for tap in taps:
        if not 1 <= tap <= _NUM_LAYERS:
            raise ConfigError(
                f"an exit of the auto-encoder must sit behind one of its layers 1 to {_NUM_LAYERS}, got {tap}."
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        units = [_unit(before, after) for before, after in zip((_NUM_FEATURES, *_WIDTHS), _WIDTHS, strict=False)]
        heads: list[nn.Module] = [_head(tap) for tap in taps]
        heads.append(nn.Sequential(nn.Linear(_WIDTHS[-1], _NUM_FEATURES)))
    ends = [*taps, _NUM_LAYERS]
    stages: list[nn.Module] = []
    begin = 0
    for end in ends:
        stages.append(nn.Sequential(*([nn.Flatten()] if not stages else []), *units[begin:end]))
        begin = end
    return _network(taps, stages, heads)


def keep_exits(network: EarlyExitNetwork, kept: Sequence[int]) -> EarlyExitNetwork:
    """Remove exits from a network.

    Args:
        network: An auto-encoder of `build_autoencoder`.
        kept: Indices of the exits that stay, from 0, strictly increasing; the last exit must stay.

    Returns:
        A network that shares the weights of ``network``.

    Raises:
        ConfigError: ``kept`` does not increase, names an exit that does not exist, or leaves out the last exit.
    """
    last = network.num_exits - 1
    if list(kept) != sorted(set(kept)) or not kept or kept[-1] != last or kept[0] < 0:
        raise ConfigError(f"`kept` must be increasing numbers of exits and end with the last one ({last}), got {kept}.")
    stages: list[nn.Module] = []
    begin = 0
    for index in kept:
        parts = [part for stage in network.stages[begin : index + 1] for part in stage.children()]
        stages.append(nn.Sequential(*parts))
        begin = index + 1
    taps = [network.architecture.exits[index].tap for index in kept[:-1]]
    return _network(taps, stages, [network.branches[index] for index in kept]).train(network.training)


def _network(taps: Sequence[int], stages: Sequence[nn.Module], heads: Sequence[nn.Module]) -> EarlyExitNetwork:
    architecture = Architecture(
        backbone="mlperf-autoencoder",
        resolution=INPUT_SHAPE[1],
        stages=(StageChoice(1, max(_WIDTHS), (1,), (1,)),),
        exits=tuple(ExitChoice(tap, "decoder") for tap in taps),
        final_branch="decoder",
    )
    return EarlyExitNetwork(architecture, stages, heads, INPUT_SHAPE, _NUM_FEATURES)


def _unit(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU())


def _head(tap: int) -> nn.Module:
    width = _WIDTHS[tap - 1]
    if tap >= _BOTTLENECK_TAP:
        return nn.Sequential(nn.Linear(width, _NUM_FEATURES))
    bottleneck = _WIDTHS[_BOTTLENECK_TAP - 1]
    return nn.Sequential(_unit(width, bottleneck), nn.Linear(bottleneck, _NUM_FEATURES))
