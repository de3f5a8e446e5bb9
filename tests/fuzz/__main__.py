"""`python -m tests.fuzz --count 10000`: damaged files for every reader; what is found is kept as a regression."""

import argparse
import importlib
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import save_result

import offramp
from tests.fuzz.fuzzer import Tally, fuzz, replay
from tests.fuzz.isolation import Limits
from tests.fuzz.targets import Target, targets

REGRESSIONS = Path(__file__).parent / "regressions"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="damaged files in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="targets whose name contains this")
    parser.add_argument("--keep", type=Path, default=REGRESSIONS, help="where findings go")
    parser.add_argument("--run", type=Path, help="a finished search to take files from; without, a small one is made")
    parser.add_argument("--jobs", type=int, default=1, help="readers that are tried at the same time")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/fuzz.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["OFFRAMP_CACHE"] = f"{scratch}/cache"
        run = arguments.run or _finished_run(Path(scratch))
        chosen = [target for target in targets(run) if arguments.only in target.name]
        _import_everything()
        again = _replay(chosen, Path(scratch))
        began = time.monotonic()
        tallies: dict[str, Tally] = {}
        share = -(-arguments.count // len(chosen))
        # The processes are forked, as each forks readers of its own that must have everything imported.
        with multiprocessing.get_context("fork").Pool(arguments.jobs, maxtasksperchild=1) as pool:
            jobs = [(target.name, share, arguments.seed, run, Path(scratch)) for target in chosen]
            for name, tally in pool.imap_unordered(_fuzz_one, jobs, chunksize=1):
                tallies[name] = tally
                _show_and_keep(name, tally, arguments.keep)
    if arguments.save:
        tallies = {target.name: tallies[target.name] for target in chosen}
        rows = [
            {
                "reader": name,
                "outcomes": dict(tally.kinds),
                "different_answers": len(tally.messages),
                "slowest_s": round(tally.slowest_s, 2),
                "most_memory_mib": tally.most_memory_bytes >> 20,
            }
            for name, tally in tallies.items()
        ]
        figures = {"seed": arguments.seed, "inputs": share * len(chosen), "seconds": time.monotonic() - began}
        print(save_result("fuzz", {**figures, "readers": rows}))
    sys.exit(1 if again or any(tally.findings for tally in tallies.values()) else 0)


def _fuzz_one(job: tuple[str, int, int, Path, Path]) -> tuple[str, Tally]:
    """In a process of its own: damaged files for the reader of a name."""
    name, count, seed, run, scratch = job
    (target,) = [target for target in targets(run) if target.name == name]
    return name, fuzz(target, count, seed, scratch / name.replace(" ", "_"), Limits())


def _replay(chosen: Sequence[Target], scratch: Path) -> int:
    """Try all regressions again; how many are still not read or refused as they should."""
    still = 0
    by_name = {target.name.replace(" ", "_"): target for target in chosen}
    for index, path in enumerate(sorted(REGRESSIONS.glob("*--*--*"))):
        target, file, _ = path.name.split("--")
        if target in by_name:
            content = path.read_bytes()
            place = scratch / f"again{index}"
            outcome = replay(by_name[target], file.replace("__", "/"), content, place, Limits())
            if not outcome.good:
                still += 1
                print(f"{path.name} again: {outcome.kind}\n{outcome.message[-1500:]}")
    return still


def _finished_run(scratch: Path) -> Path:
    """A small search in a process of its own: this one must not have started any threads when it forks."""
    program = (
        "from tests.conftest import small_config; from offramp.run.api import search\n"
        f"if __name__ == '__main__': search(small_config(), run={str(scratch / 'run')!r})"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    return scratch / "run"


def _import_everything() -> None:
    """So that a forked reader need not."""
    for module in pkgutil.walk_packages(offramp.__path__, "offramp."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("onnx", "onnxruntime", "pyarrow.parquet", "PIL.Image", "scipy.io", "plotly.graph_objects", "jinja2"):
        importlib.import_module(name)


def _show_and_keep(name: str, tally: Tally, folder: Path) -> None:
    counts = ", ".join(f"{kind} {count}" for kind, count in tally.kinds.most_common())
    print(f"{name}: {counts}; {len(tally.messages)} different answers, slowest {tally.slowest_s:.1f} s, ", end="")
    print(f"most memory {tally.most_memory_bytes >> 20} MiB", flush=True)
    for finding in tally.findings:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / finding.file_name).write_bytes(finding.content)
        told = finding.outcome.message[-1500:].replace("\n", "\n    ")
        print(f"  {finding.outcome.kind}: {finding.file_name}\n    {told}")


if __name__ == "__main__":
    main()
