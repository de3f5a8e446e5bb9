"""The auto-encoder of MLPerf Tiny with early exits, each a shortened decoder.

Source: Banbury et al. 2021, "MLPerf Tiny Benchmark", section 4.4; layer shapes from the reference TFLite file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from offramp.errors import ConfigError
from offramp.nn.network import EarlyExitNetwork
from offramp.space.architecture import Architecture, ExitChoice, StageChoice

INPUT_SHAPE = (1, 5, 128)
"""Five frames of 128 bands: 640 features, frame by frame."""

_NUM_FEATURES = 640
_WIDTHS = (128, 128, 128, 128, 8, 128, 128, 128, 128)
_BOTTLENECK_TAP = 5
NUM_TAPS = len(_WIDTHS)


@dataclass(frozen=True)
class TapInfo:
    """A place for an exit: behind the ``tap``-th layer (from 1), of ``width`` units."""

    tap: int
    width: int


def tap_info(tap: int) -> TapInfo:
    """Raises ConfigError for a tap that is not there."""
    if not 1 <= tap <= NUM_TAPS:
        raise ConfigError(f"an exit of the auto-encoder must sit behind one of its layers 1 to {NUM_TAPS}, got {tap}.")
    return TapInfo(tap, _WIDTHS[tap - 1])


def build_autoencoder(taps: Sequence[int] = (), *, seed: int) -> EarlyExitNetwork:
    """The reference network (no ``taps``), or with a shortened decoder behind each of the given layers.

    Every output is a rebuilt input (batch, 640), the last one the reference's. Layer 5 is the bottleneck of 8: an exit
    there or behind it is one linear layer to 640; one before it has a bottleneck of its own.
    """
    if list(taps) != sorted(set(taps)):
        raise ConfigError(f"taps of the exits must strictly increase, got {tuple(taps)}.")
    places = [tap_info(tap) for tap in taps]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        units = [_unit(before, after) for before, after in zip((_NUM_FEATURES, *_WIDTHS), _WIDTHS, strict=False)]
        heads: list[nn.Module] = [_head(place) for place in places]
        heads.append(nn.Sequential(nn.Linear(_WIDTHS[-1], _NUM_FEATURES)))
    ends = [*taps, NUM_TAPS]
    stages: list[nn.Module] = []
    begin = 0
    for end in ends:
        stages.append(nn.Sequential(*([nn.Flatten()] if not stages else []), *units[begin:end]))
        begin = end
    return _network(taps, stages, heads)


def keep_exits(network: EarlyExitNetwork, kept: Sequence[int]) -> EarlyExitNetwork:
    """The same network with only some of its exits, by index; the last one must stay. Weights are shared."""
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


def _head(place: TapInfo) -> nn.Module:
    if place.tap >= _BOTTLENECK_TAP:
        return nn.Sequential(nn.Linear(place.width, _NUM_FEATURES))
    bottleneck = _WIDTHS[_BOTTLENECK_TAP - 1]
    return nn.Sequential(_unit(place.width, bottleneck), nn.Linear(bottleneck, _NUM_FEATURES))
