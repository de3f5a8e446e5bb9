"""Which models of timm can be adopted and priced, and for what reason the others are refused.

Every model is built with random weights at the smallest square input that it takes, in a process of its own. Its
MACs from `offramp.adopt` and `lower` are compared with torch's FlopCounterMode on the uncut model. The rows are kept
as they come, so that a run which was stopped goes on. Needs timm and torchvision (extra `timm`).
"""

import argparse
import json
import multiprocessing
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from tests.nn.adoption.timm_here import import_timm
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.record import save_result
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.price_cache import CachedEngine
from offramp.errors import OfframpError
from offramp.hardware.loader import load_accelerator
from offramp.nn.adoption.adopt import adopt
from offramp.nn.lowering.lower import lower
from offramp.nn.supernet.supernet import Supernet
from offramp.space.early_exit_space import EarlyExitSpace

SIZES = (32, 64, 96, 128, 160, 192, 224, 256)
CHIP = "edge-tpu-quad"


@dataclass(frozen=True)
class Row:
    """What became of one model.

    Attributes:
        model: Its name in timm.
        outcome: "priced", "refused", "traceback", "too large", "timeout", or "not built" where timm itself fails.
        reason: The message; empty where the model is priced.
        size: Height and width of the input, pixels.
        parameters: Number of weights.
        taps: Number of places for exits.
        macs: Multiply-accumulates of the lowered model.
        counted_macs: What FlopCounterMode counts, halved; None where it fails.
        seconds: Time that the model took.
    """

    model: str
    outcome: str
    reason: str = ""
    size: int = 0
    parameters: int = 0
    taps: int = 0
    macs: int = 0
    counted_macs: int | None = None
    seconds: float = 0.0


def create(name: str, size: int) -> nn.Module:
    timm = import_timm()
    assert timm is not None
    try:
        model = timm.create_model(name, img_size=size)
    except TypeError:
        model = timm.create_model(name)
    assert isinstance(model, nn.Module)
    # The counter of torch fails where a parameter that has a gradient is the input of a part.
    return model.eval().requires_grad_(False)


def smallest(name: str) -> tuple[int, int, int | None]:
    """Input size, number of weights and counted MACs, found without memory for weights; size 0 if none works."""
    sizes = [*SIZES, *(s for s in (_own_size(name),) if s > max(SIZES))]
    for size in sizes:
        try:
            with torch.device("meta"):
                model, images = create(name, size), torch.empty(1, 3, size, size)
                with FlopCounterMode(display=False) as counter, torch.no_grad():
                    model(images)
        except Exception:  # whatever timm raises, this size is none
            continue
        return size, sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2
    return 0, 0, None


def _own_size(name: str) -> int:
    timm = import_timm()
    assert timm is not None
    configuration = timm.get_pretrained_cfg(name)
    return int(configuration.input_size[-1]) if configuration is not None else 0


def examine(name: str, most_parameters: int) -> Row:
    size, parameters, counted = smallest(name)
    if not size:
        # Some models cannot be built on the meta device; they are tried at their own size.
        size = _own_size(name) or 224
    elif parameters > most_parameters:
        return Row(name, "too large", f"{parameters:,} weights", size, parameters)
    try:
        model, images = create(name, size), torch.randn(2, 3, size, size)
        with torch.no_grad():
            model(images)
    except Exception as exc:
        return Row(name, "not built", f"{type(exc).__name__}: {str(exc)[:200]}", size, parameters)
    if counted is None:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images[:1])
        counted, parameters = counter.get_total_flops() // 2, sum(p.numel() for p in model.parameters())
    try:
        adopted = adopt(model, images, name=name)
        classes, shape = adopted.num_classes, adopted.input_shape
        space = EarlyExitSpace(adopted.space(shape), ("global_pool",), final_branch="own_head")
        supernet = Supernet(adopted.space(shape), ("global_pool",), shape, classes, seed=0, family=adopted)
        workload = lower(supernet.extract(space.max_architecture().without_exits()).eval())
        LayerByLayerModel(CachedEngine(NativeEngine(), None)).estimate(workload, load_accelerator(CHIP))
    except OfframpError as exc:
        return Row(name, "refused", str(exc), size, parameters, counted_macs=counted)
    macs = workload.macs_to_exit()[-1]
    return Row(name, "priced", "", size, parameters, len(adopted.taps), macs, counted)


def _in_child(name: str, most_parameters: int, answer: Connection) -> None:
    try:
        answer.send(examine(name, most_parameters))
    except BaseException:
        answer.send(Row(name, "traceback", traceback.format_exc()[-1500:]))


def isolated(name: str, most_parameters: int, limit_s: float) -> Row:
    """Examine a model in a forked process, so that one that hangs or eats the memory ends nothing but itself."""
    began = time.monotonic()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(name, most_parameters, theirs))
    child.start()
    theirs.close()
    try:
        row = ours.recv() if ours.poll(limit_s) else Row(name, "timeout", f"{limit_s:.0f} s")
    except EOFError:
        row = Row(name, "traceback", "the process died")
    child.kill()
    child.join()
    return Row(**(asdict(row) | {"seconds": round(time.monotonic() - began, 2)}))


def kept(path: Path) -> dict[str, Row]:
    if not path.exists():
        return {}
    rows = [Row(**json.loads(line)) for line in path.read_text().splitlines()]
    return {row.model: row for row in rows}


def figures(rows: dict[str, Row]) -> dict[str, Any]:
    found = sorted(rows.values(), key=lambda row: row.model)
    priced = [row for row in found if row.outcome == "priced"]
    other = [row.model for row in priced if row.counted_macs is not None and row.macs != row.counted_macs]
    return {
        "timm": version("timm"),
        "accelerator": CHIP,
        "tried": len(found),
        "outcomes": dict(Counter(row.outcome for row in found)),
        "priced_with_equal_macs": len(priced) - len(other),
        "priced_with_other_macs": other,
        "rows": [asdict(row) for row in found],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="names or patterns, such as 'resnet*' (default: all)")
    parser.add_argument("--rows", type=Path, default=Path("runs/timm_models.jsonl"), help="where rows are kept")
    parser.add_argument("--most-parameters", type=int, default=1_000_000_000)
    parser.add_argument("--limit-s", type=float, default=600.0, help="time for one model, seconds")
    parser.add_argument("--stop-after-s", type=float, default=float("inf"), help="time for all of them, seconds")
    parser.add_argument("--one-of-each", action="store_true", help="only the first model of each module of timm")
    arguments = parser.parse_args()
    timm = import_timm()
    if timm is None:
        raise SystemExit('This benchmark needs timm and torchvision: pip install "offramp[timm]"')
    names = sorted({name for pattern in arguments.models or ["*"] for name in timm.list_models(pattern)})
    if arguments.one_of_each:
        names = [min(timm.list_models(module=module), key=len) for module in timm.list_modules()]
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    rows, began = kept(arguments.rows), time.monotonic()
    for name in track([name for name in names if name not in rows], "models of timm"):
        if time.monotonic() - began > arguments.stop_after_s:
            break
        rows[name] = isolated(name, arguments.most_parameters, arguments.limit_s)
        with arguments.rows.open("a") as file:
            file.write(json.dumps(asdict(rows[name])) + "\n")
    result = figures(rows)
    Console().print({key: value for key, value in result.items() if key != "rows"})
    print(save_result("timm_models", result))


if __name__ == "__main__":
    main()
