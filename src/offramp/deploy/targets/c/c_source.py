"""The text of the C files."""

import math
from functools import singledispatch
from importlib.resources import files as package_files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bundle.manifest import Manifest
from offramp.deploy.runtime.sample_inputs import normalise
from offramp.deploy.targets.c.arena_plan import ArenaPlan
from offramp.deploy.targets.c.integer_reference import quantised_inputs
from offramp.deploy.targets.c.program import (
    Addition,
    AveragePool,
    Convolution,
    FeatureMap,
    Layer,
    MaxPool,
    Program,
    Requantisation,
    Window,
    grid_of,
)
from offramp.deploy.targets.c.scalings import scaling_of
from offramp.version import __version__

_KERNELS = (
    "arithmetic.h",
    "windows.h",
    "convolution.h",
    "convolve.h",
    "convolve_sums.h",
    "depthwise.h",
    "pooling.h",
    "elementwise.h",
    "decision.h",
)
_MEASURES = {"max_probability": 0, "entropy": 1, "margin": 2}
_RULES = {"threshold": 0, "cumulative": 1, "patience": 2}
_LOGIT_BITS = 60
RULES = tuple(_RULES)
"""The exit rules that C is written for."""


def c_files(program: Program, plan: ArenaPlan, manifest: Manifest, prefix: str) -> dict[str, str]:
    """Write the C files.

    Args:
        program: The network.
        plan: Where its maps lie.
        manifest: The manifest of the bundle.
        prefix: The prefix of all names that are visible outside.

    Returns:
        Texts by file name.
    """
    return {
        "network.h": _header(program, plan, manifest, prefix),
        "network.c": _network(program, plan, manifest, prefix),
        "kernels.h": _kernels(),
        "main.c": template("main.c", prefix, {}),
    }


def check_program(program: Program, prefix: str) -> str:
    """Write the program that compares: it runs samples and prints what the network answers.

    Args:
        program: The network.
        prefix: The prefix of all names that are visible outside.

    Returns:
        The text of a C file.
    """
    names = ", ".join(f"{prefix}_stage_{index}" for index in range(len(program.stages)))
    return template("check.c", prefix, {"STAGES": names})


def template(name: str, prefix: str, values: dict[str, object]) -> str:
    """Fill in a file of this package.

    Args:
        name: Its name.
        prefix: What stands for PREFIX and, in capitals, for UPPER.
        values: What stands for each ``@NAME@``.

    Returns:
        The text.
    """
    text = package_files("offramp.deploy.targets.c").joinpath("kernels", name).read_text(encoding="ascii")
    for macro in ("HEIGHT", "WIDTH", "CHANNELS", "EXITS", "CLASSES", "RULE"):
        text = text.replace(f"PREFIX_{macro}", f"UPPER_{macro}")
    text = text.replace("PREFIX_", f"{prefix}_").replace("UPPER_", f"{prefix.upper()}_")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def _kernels() -> str:
    table = ", ".join(f"{round(2.0 ** (31 - k / 64))}u" for k in range(64))
    parts = "\n".join(template(name, "", {}) for name in _KERNELS).replace("POWER_TABLE", table)
    return (
        f"/* The layers in integers, C99. Written by offramp {__version__}; do not edit. */\n"
        "#ifndef OFFRAMP_KERNELS_H\n#define OFFRAMP_KERNELS_H\n\n"
        f"#include <stdint.h>\n#include <string.h>\n\n{parts}\n#endif\n"
    )


def _header(program: Program, plan: ArenaPlan, manifest: Manifest, prefix: str) -> str:
    image, grid = program.image, grid_of(program.image)
    stages = "".join(f"void {prefix}_stage_{index}(int32_t *sums);\n" for index in range(len(program.stages)))
    name = "".join(c if c.isalnum() or c in " ._-" else "_" for c in manifest.name.encode("ascii", "replace").decode())
    return template(
        "network.h",
        prefix,
        {
            "NAME": name[:100],
            "VERSION": __version__,
            "EXITS": len(program.stages),
            "CLASSES": len(manifest.class_names),
            "HEIGHT": image.height,
            "WIDTH": image.width,
            "CHANNELS": image.channels,
            "STEP": f"{float(grid.step):.9g}",
            "ZERO": grid.zero_point,
            "TOP": grid.top,
            "LIVE": plan.live_bytes,
            "ARENA": plan.arena_bytes,
            "COLUMNS": plan.column_bytes,
            "STAGES": stages,
        },
    )


def _network(program: Program, plan: ArenaPlan, manifest: Manifest, prefix: str) -> str:
    upper = prefix.upper()
    parts = [
        f"/* Written by offramp {__version__}; do not edit. */",
        '#include "network.h"\n#include "kernels.h"\n',
        f"static uint8_t arena[{upper}_ARENA_BYTES];",
        f"static int16_t columns[{max(1, plan.column_bytes // 2)}];\n",
        _array("static const uint8_t", f"pixel_table[{program.image.channels}]", _pixel_table(program, manifest)),
    ]
    number = 0
    for index, stage in enumerate(program.stages):
        calls = []
        for layer in stage.layers:
            constants, call = _emit(layer, f"{index}_{number}", plan)
            parts.append(constants)
            calls.append(f"    /* {_comment(layer.name)} */\n    {call}\n")
            number += 1
        body = "".join(calls)
        parts.append(f"void {prefix}_stage_{index}(int32_t *sums)\n{{\n{body}}}\n")
    parts.append(_logit_scales(program))
    steps = [f"{{{', '.join(_float(step) for step in stage.logits.steps)}}}" for stage in program.stages]
    parts.append(
        f"const float {prefix}_steps[{upper}_EXITS][{upper}_CLASSES] = {{\n    " + ",\n    ".join(steps) + "\n};\n"
    )
    settings, offsets = _settings(manifest)
    classes = len(manifest.class_names)
    inverse = 0 if classes == 1 else round(2**32 / math.log2(classes))
    parts.append(f"{offsets}#define INVERSE_LOG ((uint64_t){inverse}u)\n")
    runs = []
    for index in range(len(program.stages)):
        ends = index == len(program.stages) - 1
        call = f"leaves({index}, result, &state)"
        runs.append(f"    {prefix}_stage_{index}(result->sums);")
        runs.append(f"    (void){call};" if ends else f"    if ({call} != 0) {{\n        return {index};\n    }}")
    values = {"SETTINGS": settings, "IMAGE": plan.offsets[program.image], "STAGES": "\n".join(runs)}
    parts.append(template("runtime.c", prefix, values))
    return "\n".join(parts)


def _pixel_table(program: Program, manifest: Manifest) -> NDArray[np.uint8]:
    """The quantised input of each pixel value, (channels, 256)."""
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, program.image.channels, 1, 1))
    inputs = normalise(np.ascontiguousarray(pixels), manifest.preprocessing)
    return quantised_inputs(inputs, program.image).reshape(256, -1).T


def _settings(manifest: Manifest) -> tuple[str, str]:
    """The first values of the settings, and the constant that they point to."""
    notation, exits = manifest.rule_notation, len(manifest.exits)
    patience = notation.name == "patience"
    limits = [0 if patience else math.floor((1.0 - t) * 2.0**48) for t in notation.thresholds] + [0]
    scales = [_mantissa(math.log2(math.e) / notation.temperature(index)) for index in range(exits)]
    measure = 0 if len(manifest.class_names) == 1 else _MEASURES[notation.measure]
    fields = [
        str(_RULES[notation.name]),
        str(measure),
        str(int(notation.thresholds[0]) if patience and notation.thresholds else 1),
        f"{{{', '.join(f'INT64_C({value})' for value in limits)}}}",
        f"{{{', '.join(f'{mantissa}u' for mantissa, _ in scales)}}}",
        f"{{{', '.join(str(exponent) for _, exponent in scales)}}}",
        "class_offsets" if notation.class_offsets else "NULL",
    ]
    text = ""
    if notation.class_offsets:
        rows = [round(value * 2.0**48) for row in notation.class_offsets for value in row]
        listed = ", ".join(f"INT64_C({value})" for value in rows)
        text = f"static const int64_t class_offsets[{len(rows)}] = {{{listed}}};\n"
    return ", ".join(fields), text


def _mantissa(value: float) -> tuple[int, int]:
    """``mantissa * 2**-exponent`` with 32 bits."""
    fraction, exponent = math.frexp(value)
    mantissa = round(fraction * 2**32)
    return (mantissa, 32 - exponent) if mantissa < 2**32 else (mantissa // 2, 31 - exponent)


def _logit_scales(program: Program) -> str:
    texts, entries = [], []
    for index, stage in enumerate(program.stages):
        layer = stage.logits
        largest = float((layer.largest_sums * layer.steps.astype(np.float64)).max())
        bits = min(56, _LOGIT_BITS - max(0, math.ceil(math.log2(largest))) if largest > 0 else 56)
        scaling = scaling_of(layer.steps)
        rise = bits - scaling.shift
        vanishing = (rise < -63) | (scaling.multiplier == 0)
        texts.append(
            _array("static const int32_t", f"logit_multiplier_{index}", np.where(vanishing, 0, scaling.multiplier))
        )
        texts.append(_array("static const int8_t", f"logit_rise_{index}", np.where(vanishing, 0, rise)))
        entries.append(f"{{logit_multiplier_{index}, logit_rise_{index}, {bits}}}")
    listed = ", ".join(entries)
    return "".join(texts) + f"static const logit_scale logit_scales[{len(entries)}] = {{{listed}}};\n"


@singledispatch
def _emit(layer: Layer, label: str, plan: ArenaPlan) -> tuple[str, str]:
    """Constants of a layer, and the call."""
    raise TypeError(type(layer).__name__)


@_emit.register
def _(layer: Convolution, label: str, plan: ArenaPlan) -> tuple[str, str]:
    depthwise = layer.is_depthwise and layer.scaling is not None
    weight = layer.weight.transpose(3, 1, 2, 0) if depthwise else layer.weight
    names = [f"weight_{label}", f"bias_{label}", "NULL", "NULL"]
    texts = [
        _array("static const int8_t", names[0], weight.reshape(-1)),
        _array("static const int32_t", names[1], layer.bias),
    ]
    zero, top = 0, 0
    if layer.scaling is not None:
        names[2:] = [f"multiplier_{label}", f"shift_{label}"]
        texts.append(_array("static const int32_t", names[2], layer.scaling.multiplier))
        texts.append(_array("static const uint8_t", names[3], layer.scaling.shift))
        zero, top = grid_of(layer.output).zero_point, grid_of(layer.output).top
    window = _window(layer.source, layer.output, layer.window)
    fields = f"{window}, {layer.groups}, {grid_of(layer.source).zero_point}, {zero}, {top}, {', '.join(names)}"
    texts.append(f"static const convolution layer_{label} = {{{fields}}};\n")
    source = _place(layer.source, plan)
    if layer.scaling is None:
        return "".join(texts), f"convolve_sums(&layer_{label}, {source}, columns, sums);"
    target = _place(layer.output, plan)
    if depthwise:
        return "".join(texts), f"convolve_depthwise(&layer_{label}, {source}, {target});"
    return "".join(texts), f"convolve(&layer_{label}, {source}, columns, {target});"


@_emit.register
def _(layer: Addition, label: str, plan: ArenaPlan) -> tuple[str, str]:
    first, second = layer.sources
    output, scaling = grid_of(layer.output), layer.scaling
    numbers: tuple[Any, ...] = (
        layer.output.size,
        grid_of(first).zero_point,
        grid_of(second).zero_point,
        *scaling.multiplier,
        f"{scaling.shift[0]}u",
        output.zero_point,
        output.top,
    )
    places = [_place(item, plan) for item in (first, second, layer.output)]
    return "", f"add({places[0]}, {places[1]}, {', '.join(map(str, numbers))}, {places[2]});"


@_emit.register
def _(layer: AveragePool, label: str, plan: ArenaPlan) -> tuple[str, str]:
    text = f"static const window window_{label} = {_window(layer.source, layer.output, layer.window)};\n"
    return text, f"pool_average(&window_{label}, {_place(layer.source, plan)}, {_requantised(layer, plan)}"


@_emit.register
def _(layer: MaxPool, label: str, plan: ArenaPlan) -> tuple[str, str]:
    text = f"static const window window_{label} = {_window(layer.source, layer.output, layer.window)};\n"
    return text, f"pool_max(&window_{label}, {_place(layer.source, plan)}, {_place(layer.output, plan)});"


@_emit.register
def _(layer: Requantisation, label: str, plan: ArenaPlan) -> tuple[str, str]:
    source = _place(layer.source, plan)
    return "", f"change_grid({source}, {layer.output.size}, {_requantised(layer, plan)}"


def _requantised(layer: AveragePool | Requantisation, plan: ArenaPlan) -> str:
    """The last arguments of a call that requantises."""
    output, scaling = grid_of(layer.output), layer.scaling
    numbers = f"{int(scaling.multiplier)}, {int(scaling.shift)}u, {output.zero_point}, {output.top}"
    return f"{grid_of(layer.source).zero_point}, {numbers}, {_place(layer.output, plan)});"


def _place(item: FeatureMap, plan: ArenaPlan) -> str:
    return f"arena + {plan.offsets[item]}"


def _window(source: FeatureMap, output: FeatureMap, window: Window) -> str:
    numbers = (
        *(source.height, source.width, source.channels, output.height, output.width, output.channels),
        *(*window.kernel, *window.stride, *window.dilation, *window.padding),
    )
    return f"{{{', '.join(map(str, numbers))}}}"


def _array(kind: str, name: str, values: NDArray[Any]) -> str:
    """A constant array; of two dimensions where the values have two."""
    if values.ndim == 2:
        rows = ",\n".join(f"    {{{_wrapped(row)}}}" for row in values)
        return f"{kind} {name}[{values.shape[1]}] = {{\n{rows}\n}};\n"
    return f"{kind} {name}[{values.size}] = {{\n{_wrapped(values)}\n}};\n"


def _wrapped(values: NDArray[Any]) -> str:
    numbers = [str(int(value)) for value in values]
    return ",\n".join(", ".join(numbers[start : start + 24]) for start in range(0, len(numbers), 24))


def _float(value: np.float32) -> str:
    text = f"{float(value):.9g}"
    return f"{text if '.' in text or 'e' in text else text + '.0'}f"


def _comment(name: str) -> str:
    """A name from a bundle, which must not end the comment."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name)[:100]
