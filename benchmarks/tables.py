"""Makes the tables for comparing search algorithms: the one of the digits that is part of the package, and others.

    python -m benchmarks.tables                                    # src/offramp/tabular/digits.npz, minutes
    python -m benchmarks.tables --data ../shared/data/cifar10 --epochs 60 --backbones 108 --output cifar10.npz  # hours

The supernet is kept in the folder, so that a run that was stopped goes on where it was. `--backbones` and `--epochs` of
a trial may be small. Prints the size of the file, the errors of confidences, and how fast candidates are evaluated.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.supernets import prepare
from offramp.progress import TerminalReporter
from offramp.tabular.benchmark_table import SHIPPED, Table
from offramp.tabular.make_table import TableOptions, write_context_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--backbone", default="resnet")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--backbones", type=int, default=32)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--bits", type=int, default=8, choices=(8, 16))
    parser.add_argument("--licence", default="CC-BY-4.0", help="of the data: the digits are CC BY 4.0")
    parser.add_argument("--folder", default="runs/table-digits")
    parser.add_argument("--output", type=Path, default=SHIPPED["digits"])
    arguments = parser.parse_args()
    changes = {
        "data.source": arguments.data,
        "space.backbone": arguments.backbone,
        "train.epochs": arguments.epochs,
        "search.validation_samples": arguments.samples,
    }
    prepared = prepare(Path(arguments.folder), changes)
    options = TableOptions(arguments.backbones, arguments.samples, arguments.bits)
    header = write_context_table(prepared.context, arguments.output, arguments.licence, options, TerminalReporter())
    table = Table.load(arguments.output)
    rng = np.random.default_rng(0)
    candidates = [table.space.sample(rng) for _ in range(5_000)]
    for backbone in table.backbones:
        table.evaluate(backbone)
    began = time.process_time()
    for candidate in candidates:
        table.evaluate(candidate)
    rate = len(candidates) / (time.process_time() - began)
    print(f"{arguments.output}: {len(table.backbones)} backbones, {arguments.output.stat().st_size / 2**20:.2f} MiB")
    print(f"largest errors of confidences: {header.confidence_errors}")
    print(f"left out: {header.left_out or 'no accelerator'}; {rate:,.0f} candidates a second on one core")


if __name__ == "__main__":
    main()
