"""One script per claim; each prints a table and writes JSON to `benchmarks/results/`."""
