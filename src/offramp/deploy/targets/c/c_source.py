"""The text of the C files."""

import math

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bundle.manifest import Manifest
from offramp.deploy.runtime.sample_inputs import normalise
from offramp.deploy.targets.c.arena_plan import ArenaPlan
from offramp.deploy.targets.c.c_text import array_text, comment_text, float_text, template
from offramp.deploy.targets.c.fast_rescaling import MIDDLE
from offramp.deploy.targets.c.integer_reference import quantised_inputs
from offramp.deploy.targets.c.layer_calls import layer_call
from offramp.deploy.targets.c.program import Program, grid_of
from offramp.deploy.targets.c.scalings import scaling_of
from offramp.deploy.targets.c.weight_rows import MOST_PLACES
from offramp.version import __version__

_KERNELS = (
    "paths.h",
    "arithmetic.h",
    "windows.h",
    "convolution.h",
    "products.h",
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
        "main.c": template("kernels/main.c", prefix, {}),
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
    return template("kernels/check.c", prefix, {"STAGES": names})


def _kernels() -> str:
    table = ", ".join(f"{round(2.0 ** (31 - k / 64))}u" for k in range(64))
    parts = "\n".join(template(f"kernels/{name}", "", {}) for name in _KERNELS).replace("POWER_TABLE", table)
    parts = parts.replace("MOST_PLACES", str(MOST_PLACES))
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
        "kernels/network.h",
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
        f"static int32_t arena_words[{upper}_ARENA_BYTES / 4];",
        "#define arena ((int8_t *)arena_words)",
        f"#define COLUMN_BYTES (sizeof(column_t) == 2u ? {plan.column_bytes} : {plan.narrow_column_bytes})",
        "static int32_t column_words[COLUMN_BYTES / 4];",
        "#define columns ((column_t *)column_words)\n",
        array_text("static const int8_t", f"pixel_table[{program.image.channels}]", _pixel_table(program, manifest)),
    ]
    number = 0
    for index, stage in enumerate(program.stages):
        calls = []
        for layer in stage.layers:
            constants, call = layer_call(layer, f"{index}_{number}", plan)
            parts.append(constants)
            calls.append(f"    /* {comment_text(layer.name)} */\n    {call}\n")
            number += 1
        body = "".join(calls)
        parts.append(f"void {prefix}_stage_{index}(int32_t *sums)\n{{\n{body}}}\n")
    parts.append(_logit_scales(program))
    steps = [f"{{{', '.join(float_text(step) for step in stage.logits.steps)}}}" for stage in program.stages]
    parts.append(
        f"const float {prefix}_steps[{upper}_EXITS][{upper}_CLASSES] = {{\n    " + ",\n    ".join(steps) + "\n};\n"
    )
    settings, offsets = _settings(manifest, len(program.stages))
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
    parts.append(template("kernels/runtime.c", prefix, values))
    return "\n".join(parts)


def _pixel_table(program: Program, manifest: Manifest) -> NDArray[np.int64]:
    """The stored input of each pixel value, (channels, 256)."""
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, program.image.channels, 1, 1))
    inputs = normalise(np.ascontiguousarray(pixels), manifest.preprocessing)
    result: NDArray[np.int64] = quantised_inputs(inputs, program.image).reshape(256, -1).T.astype(np.int64) - MIDDLE
    return result


def _settings(manifest: Manifest, exits: int) -> tuple[str, str]:
    """The first values of the settings, and the constant that they point to; ``exits`` is 1 for a static network."""
    notation, total = manifest.rule_notation, len(manifest.exits)
    patience = notation.name == "patience"
    limits = [0 if patience else math.floor((1.0 - t) * 2.0**48) for t in notation.thresholds[: exits - 1]] + [0]
    scales = [_mantissa(math.log2(math.e) / notation.temperature(index)) for index in range(total - exits, total)]
    measure = 0 if len(manifest.class_names) == 1 else _MEASURES[notation.measure]
    has_offsets = bool(notation.class_offsets) and exits > 1
    fields = [
        str(_RULES[notation.name]),
        str(measure),
        str(int(notation.thresholds[0]) if patience and notation.thresholds else 1),
        f"{{{', '.join(f'INT64_C({value})' for value in limits)}}}",
        f"{{{', '.join(f'{mantissa}u' for mantissa, _ in scales)}}}",
        f"{{{', '.join(str(exponent) for _, exponent in scales)}}}",
        "class_offsets" if has_offsets else "NULL",
    ]
    text = ""
    if has_offsets:
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
            array_text("static const int32_t", f"logit_multiplier_{index}", np.where(vanishing, 0, scaling.multiplier))
        )
        texts.append(array_text("static const int8_t", f"logit_rise_{index}", np.where(vanishing, 0, rise)))
        entries.append(f"{{logit_multiplier_{index}, logit_rise_{index}, {bits}}}")
    listed = ", ".join(entries)
    return "".join(texts) + f"static const logit_scale logit_scales[{len(entries)}] = {{{listed}}};\n"
