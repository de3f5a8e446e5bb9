"""Instructions on a chip for the terminal."""

from typing import TYPE_CHECKING

from rich.table import Table

from offramp.files.escaped_text import escaped

if TYPE_CHECKING:
    from offramp.deploy.bench.device_bench import DeviceBench


def device_bench_table(result: "DeviceBench") -> Table:
    """Table of the instructions to each exit, at the exit rates, and of the static network.

    Args:
        result: The results.

    Returns:
        The table.
    """
    table = Table("", "rate", "instructions, M", "of static", title=escaped(f"{result.name} on {result.device}"))
    for index, rate in enumerate(result.exit_rates):
        table.add_row(f"exit {index}", f"{rate:.1%}", *_row(result.to_exit[index], result.static))
    table.add_section()
    table.add_row("at these rates", "", *_row(result.expected, result.static))
    table.add_row("static network", "", *_row(result.static, result.static))
    return table


def device_bench_notes(result: "DeviceBench") -> list[str]:
    """Notes below the table.

    Args:
        result: The results.

    Returns:
        The notes, one string each.
    """
    flash = result.code_bytes + result.constant_bytes
    return [
        f"Exit rates: {result.rates_from}. Instructions counted by QEMU, {result.optimisation}; "
        "cycles depend on the chip.",
        f"Flash {flash:,} bytes ({result.code_bytes:,} of code), static network {result.static_flash_bytes:,}. "
        f"RAM {result.memory_bytes:,} bytes and {result.stack_bytes:,} of stack, static network "
        f"{result.static_memory_bytes:,}.",
        f"{result.num_samples} random samples: logits of all exits equal to the integer network's to the bit.",
    ]


def _row(instructions: float, static: float) -> tuple[str, str]:
    return f"{instructions / 1e6:.3f}", f"{instructions / static:.3f}"
