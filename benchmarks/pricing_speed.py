"""How long pricing whole networks takes: one on a cold and on a warm cache, and many that share layers.

    python -m benchmarks.pricing_speed [FOLDER]

FOLDER holds the reference networks (default: ../shared/reference/eenn beside the repository). CPU seconds of this
process, imports left out, with exit rates; a plain loop is timed beside them, since a busy machine slows both. The many
networks are the reference ones with other sets of exits. Writes benchmarks/results/pricing_speed.json and fails if a
figure exceeds what is allowed.
"""

import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.mapping import DEFAULT_FOLDER, NETWORKS
from benchmarks.record import save_result
from offramp.cost.pricing import build_cost_model, price_onnx
from offramp.hardware.loader import load_accelerator
from offramp.settings.cost_config import CostConfig
from offramp.workload.from_onnx.conversion import network_from_onnx
from offramp.workload.graph import Role, Workload

COLD_S, WARM_S, SHARED_S = 5.0, 0.5, 0.05
MANY = 100


@dataclass(frozen=True)
class Speed:
    """CPU seconds of one network, or of each of many; ``loop_s``: of a fixed loop right before."""

    name: str
    mapping: str
    case: str
    seconds: float
    worst_seconds: float
    loop_s: float
    allowed_s: float


def fixed_loop() -> float:
    start, total = time.process_time(), 0
    for number in range(500_000):
        total += number * number
    return time.process_time() - start


def timed(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def with_exits(workload: Workload, kept: Sequence[int]) -> Workload:
    """The network with the exits ``kept`` and the final one alone."""
    stages = [*kept, workload.num_stages - 1]
    stage_of = {old: next(i for i, stage in enumerate(stages) if stage >= old) for old in range(workload.num_stages)}
    layers = tuple(
        replace(layer, stage=stage_of[layer.stage])
        for layer in workload.layers
        if layer.role is Role.BACKBONE or layer.stage in stages
    )
    return Workload(f"{workload.name} {stages}", layers, tuple(workload.exits[stage] for stage in stages))


def variants(folder: Path) -> list[Workload]:
    """``MANY`` networks with other sets of exits, the first ones again if there are too few."""
    found = []
    for name in NETWORKS:
        workload = network_from_onnx(folder / name / "model.onnx").workload
        early = range(workload.num_stages - 1)
        for count in range(1, len(early) + 1):
            found += [with_exits(workload, kept) for kept in itertools.combinations(early, count)]
    return list(itertools.islice(itertools.cycle(found), MANY))


def single(folder: Path, name: str, mapping: str) -> list[Speed]:
    """One network on an empty cache and again."""
    rates = json.loads((folder / name / "stats.json").read_text(encoding="utf-8"))["exits_ratios"]
    settings = CostConfig.model_validate({"mapping": mapping})
    speeds = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["OFFRAMP_CACHE"] = cache
        for case, allowed in (("cold", COLD_S), ("warm", WARM_S)):
            loop = fixed_loop()
            seconds = timed(lambda: price_onnx(folder / name / "model.onnx", settings, rates))
            speeds.append(Speed(name, mapping, case, round(seconds, 3), round(seconds, 3), round(loop, 4), allowed))
    return speeds


def shared(networks: Sequence[Workload], mapping: str) -> Speed:
    """Mean over many networks in one process, the pricing of their layers included, nothing known before."""
    accelerator = load_accelerator("edge-tpu-quad")
    with tempfile.TemporaryDirectory() as cache:
        model = build_cost_model(
            CostConfig.model_validate({"mapping": mapping}), cache=Path(cache) / "c.sqlite", accelerator=accelerator
        )
        loop = fixed_loop()
        seconds = [timed(lambda item=item: model.estimate(item, accelerator)) for item in networks]  # type: ignore[misc]
    mean, worst = sum(seconds) / len(seconds), max(seconds)
    name = f"{len(networks)} networks that share layers"
    return Speed(name, mapping, "each", round(mean, 4), round(worst, 3), round(loop, 4), SHARED_S)


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    if not folder.is_dir():
        raise SystemExit(f"The reference networks must lie in {folder}, which does not exist. Name their folder.")
    networks = variants(folder)
    speeds: list[Speed] = []
    for mapping in ("layer_by_layer", "optimized"):
        for name in NETWORKS:
            speeds += single(folder, name, mapping)
        speeds.append(shared(networks, mapping))
    print(f"{'':34} {'mapping':16} {'':6} {'CPU s':>8} {'worst':>8} {'allowed':>8} {'loop s':>8}")
    for item in speeds:
        figures = f"{item.seconds:8.3f} {item.worst_seconds:8.3f} {item.allowed_s:8.2f} {item.loop_s:8.4f}"
        print(f"{item.name:34} {item.mapping:16} {item.case:6} {figures}")
    path = save_result("pricing_speed", [asdict(item) for item in speeds])
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0 if all(item.seconds <= item.allowed_s for item in speeds) else 1


if __name__ == "__main__":
    sys.exit(main())
