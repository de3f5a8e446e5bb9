"""Results of a latency benchmark for the terminal."""

from rich.table import Table

from offramp.deploy.bench.latency_bench import BenchResult
from offramp.deploy.bench.paired_timing import Estimate
from offramp.files.escaped_text import escaped


def bench_table(result: BenchResult) -> Table:
    """Table of the latency per exit and at the exit rates, for each form and the static model.

    Args:
        result: The results.

    Returns:
        The table.
    """
    table = Table("", "rate", *(f"{form.form}, ms" for form in result.forms), "MACs", title=escaped(result.name))
    for column in table.columns:
        column.no_wrap = True
    for index, rate in enumerate(result.exit_rates):
        macs = f"{result.macs_to_exit[index] / result.static_macs:.3f}"
        table.add_row(f"exit {index}", f"{rate:.1%}", *(_times(form.exits_ms[index]) for form in result.forms), macs)
    table.add_section()
    static = _times(result.static_ms)
    table.add_row("at these rates", "", *(_times(form.expected_ms) for form in result.forms), "")
    table.add_row("static model", "", *(static for _ in result.forms), "1.000")
    relative = f"{result.relative_macs:.3f}"
    table.add_row("early / static", "", *(_times(form.relative_latency) for form in result.forms), relative)
    return table


def bench_notes(result: BenchResult) -> list[str]:
    """Notes below the table.

    Args:
        result: The results.

    Returns:
        The notes, one string each.
    """
    cores = f" on core(s) {', '.join(map(str, result.pinned_to_cores))}" if result.pinned_to_cores else ""
    plain = "Plain graphs: the layers up to each exit as if it were known where a sample leaves; the rest is overhead."
    before, after = result.load_average
    notes = [
        f"Exit rates: {result.rates_from}. Batch 1, {result.num_threads} thread(s){cores}; medians of "
        f"{result.num_rounds} rounds, all variants in turn; in brackets 95 % intervals (bootstrap).",
        plain,
        f"Load average {before:.1f} before, {after:.1f} after: above the number of cores, others were working too.",
    ]
    if result.replay is not None:
        replay = result.replay
        notes.append(
            f"{replay.num_images} images replayed: mean {_times(replay.early_exit_ms)} ms, static "
            f"{_times(replay.static_ms)} ms, ratio {_times(replay.relative_latency)}."
        )
    return notes


def _times(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
