"""The README of an exported folder."""

from offramp.deploy.bundle.manifest import Manifest
from offramp.deploy.targets.c.arena_plan import ArenaPlan
from offramp.deploy.targets.c.program import Convolution, Program, grid_of
from offramp.deploy.targets.c.weight_rows import flash_weights, stored_bits


def readme(program: Program, plan: ArenaPlan, manifest: Manifest, prefix: str) -> str:
    """Write the README.

    Args:
        program: The network.
        plan: Where its maps lie.
        manifest: The manifest of the bundle.
        prefix: The prefix of all names.

    Returns:
        Text in Markdown.
    """
    image, upper = program.image, prefix.upper()
    layers = [layer for stage in program.stages for layer in stage.layers if isinstance(layer, Convolution)]
    weights = sum(flash_weights(layer).size for layer in layers)
    depth = "1 byte" if image.channels == 1 else f"{image.channels} bytes"
    narrow = any(stored_bits(layer) < 8 for layer in layers)
    kept = ", packed where 4 or 2 bits hold them" if narrow else ""
    return f"""# {prefix}: a network in C99

Compile `network.c` with your program, include `network.h`, and call `{prefix}_run`:

    {prefix}_result result;
    {prefix}_run(pixels, &result); /* {image.height} rows of {image.width} pixels of {depth}, 0..255 */

`result.exit` is the exit that the sample left at, `result.class_index` its class. `main.c` is an example:

    cc -std=c99 -O2 -o example main.c network.c

- The code needs `<stdint.h>` and `<string.h>` alone, allocates nothing, and computes with integers alone.
- Logits equal those of the integer network of the bundle bit for bit: sums in 32 bits, requantised by a product that is
  rounded as float32 rounds. onnxruntime may round a value halfway between two steps to the other one.
- A confidence is exact within 2^-28: only a sample this near to a threshold may leave elsewhere.
- RAM for maps: {plan.arena_bytes + plan.column_bytes:,} bytes, of which the arena takes {plan.arena_bytes:,} (at its
  peak {plan.live_bytes:,} are in use) and columns of convolutions {plan.column_bytes:,}; the columns take
  {plan.narrow_column_bytes:,} where inputs are multiplied as bytes (Helium, portable).
- Weights: {weights:,} bytes of constants, which a linker puts into flash{kept}.
- Fast paths are chosen when it is compiled: Helium (Cortex-M55, M85), DSP instructions (Cortex-M4, M7, M33), and
  portable C for all others, or everywhere with `-DOFFRAMP_PORTABLE`. All give the same answers to the bit. Use `-O3`.

`{prefix}_settings` holds the exit rule ({manifest.rule}), the measure ({manifest.measure}), thresholds and
temperatures. They can be changed between two runs: `{prefix}_settings.limit[0] = {upper}_LIMIT(0.9);`.

A quantised input is `x / {float(grid_of(image).step):.9g} + {grid_of(image).zero_point}`, rounded, from 0 to
{grid_of(image).top}; `{prefix}_run_values` takes such inputs, `{prefix}_run` makes them from pixels by a table.
The functions share one arena: one run at a time.
"""
