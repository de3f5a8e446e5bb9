"""1,000 damaged and hostile bundles: each is refused with a sentence or answers harmlessly; none may do anything else.

Every bundle is loaded and used (predictions, a stream, the early-exit file, the static model) in a child process with
little memory, which reports what Python itself notes while a bundle is in use: files opened for writing, programs
started, sockets. A child that dies is a crash, and is counted as one.

    python -m benchmarks.corrupted_bundles [--count 1000] [--seed 0]
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corruptions import DAMAGES
from benchmarks.record import save_result

_MEMORY_BYTES = 6 * 2**30
_CASE_SECONDS = 120
_FORBIDDEN: tuple[str, ...] = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.",
    "os.remove",
)
_FORBIDDEN += ("os.rename", "os.mkdir", "os.symlink", "shutil.", "ctypes.dlopen", "pickle.find_class", "urllib.")


@dataclass(frozen=True)
class Outcome:
    """What became of one bundle: ``refused``, ``harmless``, ``error`` (no sentence), ``acted`` or ``crashed``."""

    case: int
    damage: str
    outcome: str
    words: str = ""


_events: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is None:
        return
    writes = event == "open" and isinstance(arguments[1], str) and any(letter in arguments[1] for letter in "wax+")
    if writes or event.startswith(_FORBIDDEN):
        _events.append(f"{event} {arguments[:2]}")


@contextlib.contextmanager
def _watched() -> Iterator[list[str]]:
    global _events
    events: list[str] = []
    _events = events
    try:
        yield events
    finally:
        _events = None


def use(bundle: Path) -> None:
    """Everything that offramp does with a bundle."""
    from offramp.deploy.bench.latency_bench import bench
    from offramp.deploy.bench.paired_timing import BenchSettings
    from offramp.deploy.runtime.session import EarlyExitSession

    session = EarlyExitSession(bundle)
    images = np.zeros((3, *session.manifest.input_shape), dtype=np.float32)
    if images.size < 2**22:
        session.predict(images)
        list(session.stream(images[:1], prefetch=1))
        bench(bundle, images=images[:2], settings=BenchSettings(rounds=2, warm_up=0))


def run_case(case: int, base: Path, seed: int) -> Outcome:
    from offramp.errors import OfframpError

    rng = np.random.default_rng([seed, case])
    damage = DAMAGES[case % len(DAMAGES)]
    with tempfile.TemporaryDirectory() as folder:
        sources = sorted(path for path in base.iterdir() if path.is_dir())
        copy = Path(shutil.copytree(sources[int(rng.integers(len(sources)))], Path(folder) / "bundle"))
        damaged = damage(copy, rng)
        before = sorted(Path(folder).rglob("*"))
        with _watched() as events:
            try:
                use(damaged)
                outcome, words = "harmless", ""
            except OfframpError as exc:
                outcome, words = "refused", str(exc)
            except MemoryError as exc:
                outcome, words = "error", f"MemoryError: {exc}"
            # Anything else is what this program looks for.
            except Exception as exc:
                outcome, words = "error", f"{type(exc).__name__}: {exc}"
        if events or sorted(Path(folder).rglob("*")) != before:
            outcome, words = "acted", "; ".join(events[:3])
        if outcome == "refused" and (not words.strip() or "Traceback" in words):
            outcome = "error"
    return Outcome(case, damage.__name__, outcome, words[:300])


def child(first: int, count: int, base: Path, seed: int) -> None:
    """Run cases and print one JSON line each; the parent sees where it stopped."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    # A first use loads what is loaded once, such as shared libraries, before anything is watched.
    for source in base.iterdir():
        use(source)
    sys.addaudithook(_watch)
    for case in range(first, count):
        print(json.dumps({"start": case}), flush=True)
        print(json.dumps(asdict(run_case(case, base, seed))), flush=True)


def run(count: int, base: Path, seed: int) -> list[Outcome]:
    """All outcomes; a child that died or hung is replaced after the case at which it did."""
    outcomes: list[Outcome] = []
    while len(outcomes) < count:
        first = len(outcomes)
        command = [sys.executable, "-m", "benchmarks.corrupted_bundles", "--child", str(first)]
        command += ["--count", str(count), "--seed", str(seed), "--base", str(base)]
        limit = _CASE_SECONDS + 2 * (count - first)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
            output, code = done.stdout, done.returncode
            reason = done.stderr[-300:]
        except subprocess.TimeoutExpired as exc:
            output = exc.stdout.decode() if isinstance(exc.stdout, bytes) else exc.stdout or ""
            code, reason = -1, "took too long"
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{") and line.endswith("}")]
        outcomes += [Outcome(**line) for line in lines if "outcome" in line]
        if len(outcomes) < count:
            if not any(line.get("start") == len(outcomes) for line in lines):
                raise RuntimeError(f"the child could not begin (exit code {code}): {reason}")
            case = len(outcomes)
            outcomes.append(Outcome(case, DAMAGES[case % len(DAMAGES)].__name__, "crashed", f"{code}: {reason}"))
    return outcomes


def tally(outcomes: list[Outcome]) -> dict[str, dict[str, int]]:
    """Counts by kind of damage and outcome."""
    counts: dict[str, Counter[str]] = {}
    for item in outcomes:
        counts.setdefault(item.damage, Counter())[item.outcome] += 1
    return {damage: dict(sorted(counter.items())) for damage, counter in sorted(counts.items())}


def make_bundles(folder: Path) -> None:
    """A small network in floating point and one in int8."""
    import torch

    from benchmarks.exit_latency import build_network, policy_for, quantised, random_inputs
    from offramp.deploy.bundle.export_bundle import export_bundle

    torch.set_num_threads(1)
    for name in ("fp32", "int8"):
        network = build_network("resnet", "smallest", 1)
        if name == "int8":
            network = quantised(network, random_inputs(64, 2))
        inputs = random_inputs(100, 0)
        classes = [str(index) for index in range(network.num_classes)]
        export_bundle(
            network,
            folder / name,
            policy=policy_for(network, inputs),
            class_names=classes,
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
            checks=inputs,
            name=name,
            seed=0,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.child is not None:
        child(options.child, options.count, options.base, options.seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_bundles(Path(folder))
        outcomes = run(options.count, Path(folder), options.seed)
    bad = [item for item in outcomes if item.outcome not in ("refused", "harmless")]
    total = Counter(item.outcome for item in outcomes)
    for damage, counts in tally(outcomes).items():
        print(f"{damage:<22} {counts}")
    print(dict(total))
    for item in bad[:20]:
        print(item)
    save_result(
        "corrupted_bundles",
        {
            "count": len(outcomes),
            "seed": options.seed,
            "outcomes": dict(total),
            "by_damage": tally(outcomes),
            "bad": [asdict(item) for item in bad],
        },
    )
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
