"""Where a layer may run: on one core, or with its output channels divided between the digital and the analog core."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from offramp.cost.engines.formula.core_limits import why_not
from offramp.cost.engines.formula.engine import FormulaEngine, formulas_of
from offramp.cost.unsupported import describe
from offramp.errors import UnsupportedLayerError
from offramp.hardware.chip_formulas import ChipFormulas, CoreFormula
from offramp.workload.graph import GRAPH_INPUT, Layer, Workload
from offramp.workload.layer import LayerShape, Op

SPLIT_SHARES = (0.25, 0.5, 0.75)
"""Shares of a layer's channels that are tried on the analog core when nothing is decided."""


@dataclass(frozen=True)
class CorePart:
    """Some of a layer's output channels on one core.

    Attributes:
        core: Name of the core.
        shape: The layer with these channels only.
        first_channel: The first of the channels.
        cycles: Cycles on the core.
        weight_bits: Bits of weights to be loaded.
    """

    core: str
    shape: LayerShape
    first_channel: int
    cycles: float
    weight_bits: int

    @property
    def channels(self) -> int:
        """Number of output channels."""
        return self.shape.g * self.shape.k


@dataclass(frozen=True)
class CoreOption:
    """One way to run a layer.

    Attributes:
        parts: Parts that run at the same time, on different cores.
    """

    parts: tuple[CorePart, ...]


def layer_options(workload: Workload, engine: FormulaEngine, *, free: bool) -> dict[str, tuple[CoreOption, ...]]:
    """List all ways to run each layer but activation functions.

    Args:
        workload: The network. A layer whose ``analog_channels`` are decided has one option per digital core.
        engine: Prices layers on the cores.
        free: Whether other layers may go to the analog core; their weights would have to become ternary.

    Returns:
        At least one option per layer, by name.

    Raises:
        AcceleratorError: The accelerator has no formulas.
        UnsupportedLayerError: Decisions break a rule, or no core runs a layer; all such layers are named.
    """
    chip = formulas_of(engine.accelerator)
    found: dict[str, tuple[CoreOption, ...]] = {}
    faults: list[str] = []
    for layer in workload.layers:
        if layer.shape.op is Op.ACTIVATION:
            continue
        options, reason = _options(layer, chip, engine, free=free)
        found[layer.name] = tuple(options)
        if not options:
            faults.append(f"{layer.name} ({describe(layer.shape)}): {reason}")
    if faults:
        raise UnsupportedLayerError(
            f"Accelerator {engine.accelerator.name!r} cannot run {len(faults)} layer(s) as decided: "
            f"{'; '.join(faults)}. Leave these channels to its other cores."
        )
    return found


def analog_refusal(chip: ChipFormulas, layer: Layer) -> str:
    """Say why the analog core cannot run any of a layer's channels.

    Args:
        chip: The chip.
        layer: The layer.

    Returns:
        The reason; empty where it can.
    """
    if chip.analog is None:
        return "the accelerator has no analog core"
    return why_not(chip.analog, layer.shape, first=GRAPH_INPUT in layer.inputs)


def _options(layer: Layer, chip: ChipFormulas, engine: FormulaEngine, *, free: bool) -> tuple[list[CoreOption], str]:
    shape, first = layer.shape, GRAPH_INPUT in layer.inputs
    channels = shape.g * shape.k
    analog, refusal = chip.analog, analog_refusal(chip, layer)
    wanted = layer.analog_channels
    able = [x for x in chip.cores if not x.is_analog and not x.is_software and not why_not(x, shape, first=first)]
    able = able or [x for x in chip.cores if x.is_software and not why_not(x, shape, first=first)]
    if wanted:
        return _decided(shape, wanted, analog, able, refusal, engine)
    options = [CoreOption((_part(x, shape, 0, engine),)) for x in able]
    if wanted is None and free and analog is not None and not refusal:
        options.append(CoreOption((_part(analog, shape, 0, engine),)))
        step = chip.split_channels
        for count in sorted({round(share * channels / step) * step for share in SPLIT_SHARES} - {0, channels}):
            options += [o for x in able if (o := _split(shape, count, analog, x, engine)) is not None]
    if not options:
        return [], "no core runs it: " + "; ".join(f"{x.core}: {why_not(x, shape, first=first)}" for x in chip.cores)
    return options, ""


def _decided(
    shape: LayerShape,
    wanted: int,
    analog: CoreFormula | None,
    able: Sequence[CoreFormula],
    refusal: str,
    engine: FormulaEngine,
) -> tuple[list[CoreOption], str]:
    if analog is None or refusal:
        return [], f"{wanted} channels are to be analog, but {refusal}"
    if wanted > shape.k:
        return [], f"{wanted} channels are to be analog, but it has {shape.k}"
    if wanted == shape.k:
        return [CoreOption((_part(analog, shape, 0, engine),))], ""
    options = [_split(shape, wanted, analog, x, engine) for x in able if not x.is_software]
    found = [option for option in options if option is not None]
    return found, "" if found else "no digital core runs the rest of its channels"


def _split(
    shape: LayerShape, count: int, analog: CoreFormula, other: CoreFormula, engine: FormulaEngine
) -> CoreOption | None:
    """The first ``count`` channels analog, the rest on ``other``; None where the rest cannot run there."""
    mine, rest = replace(shape, k=count), replace(shape, k=shape.k - count)
    if other.is_software or why_not(analog, mine) or why_not(other, rest):
        return None
    return CoreOption((_part(analog, mine, 0, engine), _part(other, rest, count, engine)))


def _part(formula: CoreFormula, shape: LayerShape, first_channel: int, engine: FormulaEngine) -> CorePart:
    bits = 0
    if formula.weights:
        copies = formula.depthwise_weight_copies if shape.g > 1 else 1
        bits = shape.num_weights * max(shape.weight_bits, 8) * copies
    return CorePart(formula.core, shape, first_channel, engine.cycles(shape, formula).total, bits)
