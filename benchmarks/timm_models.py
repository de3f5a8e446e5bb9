"""Which models of timm can be adopted and priced, and for what reason the others are refused.

First, every model is built on the device "meta", which needs no memory for weights: that finds the smallest square
input that it takes, its weights and its MACs by torch's FlopCounterMode. Then, in order of size, each is built with
random weights in a process of its own, adopted, lowered and priced; the MACs of both ways are compared. All rows are
kept as they come, so that a run which was stopped goes on. Needs timm and torchvision (extra `timm`).
"""

import argparse
import gc
import json
import multiprocessing
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.progress import track
from tests.nn.adoption.timm_here import import_timm
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.record import save_result
from benchmarks.timm_builds import (
    ImageFlops,
    Measured,
    cheap_weights,
    create,
    measure,
    noisy,
    own_size,
    quick_batch_norm,
    structure_of,
    untouched,
)
from offramp.cost.engines.native.engine import NativeEngine
from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.price_cache import CachedEngine
from offramp.cost.pricing import build_cost_model
from offramp.errors import AdoptError, OfframpError, UnsupportedLayerError
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.loader import load_accelerator
from offramp.nn.adoption import adopt as adoption
from offramp.nn.adoption import tracing
from offramp.nn.adoption.adopt import adopt
from offramp.nn.adoption.adopted_model import ADOPTED, AdoptedModel
from offramp.nn.adoption.tap_choice import products_of_attention
from offramp.nn.lowering.lower import lower
from offramp.nn.network import evaluating
from offramp.nn.supernet.supernet import Supernet
from offramp.settings.cost_config import CostConfig
from offramp.space.early_exit_space import EarlyExitSpace

CHIP = "edge-tpu-quad"
MOST_WITH_VALUES = 400_000_000
"""Weights of the largest model that is tried with values where it cannot be priced without."""
MOST_WAITING = 20
"""How often the limit of its processor time a model may take by the clock."""


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
        image_macs: The same without operators that do not depend on the image, where the former differs from ``macs``.
        seconds: Time that the model took.
        device: "cpu", or "meta": adopted and priced without values of weights.
        structure: Hash of the layers with all their settings, the shapes of the weights, and the size of the input.
        same_as: A model with the same structure, whose row this is; empty if there is none before it.
        mapping: "layer_by_layer", or "optimized" where a layer is larger than a memory; empty unless it is priced.
    """

    model: str
    outcome: str
    reason: str = ""
    size: int = 0
    parameters: int = 0
    taps: int = 0
    macs: int = 0
    counted_macs: int | None = None
    image_macs: int | None = None
    seconds: float = 0.0
    device: str = "cpu"
    structure: str = ""
    same_as: str = ""
    mapping: str = ""


@cache
def chip() -> Accelerator:
    return load_accelerator(CHIP)


def examine(known: Measured, most_parameters: int, prices: Path | None, seen: dict[str, Row]) -> Row:
    """Adopt and price a model without memory for its weights; where that fails, with random weights."""
    if known.parameters > most_parameters:
        return Row(known.model, "too large", f"{known.parameters:,} weights", known.size, known.parameters)
    row = _without_values(known, prices, seen) if known.size else None
    return row or _with_values(known, prices)


def _without_values(known: Measured, prices: Path | None, seen: dict[str, Row]) -> Row | None:
    """The row of a model on the device "meta"; None where it must be tried with values."""
    row = Row(known.model, "refused", "", known.size, known.parameters, counted_macs=known.macs, device="meta")
    try:
        with torch.device("meta"), cheap_weights(untouched):
            model = create(known.model, known.size)
            structure = structure_of(model, known)
            if structure in seen:
                return replace(seen[structure], model=known.model, same_as=seen[structure].model)
            found = _priced(_cut_without_values, model, known, prices)
        return replace(found, device="meta", structure=structure)
    except OfframpError as exc:
        # Only code that is recorded may fail for want of values.
        again = isinstance(exc, AdoptError) and known.parameters <= MOST_WITH_VALUES
        return None if again else replace(row, reason=str(exc))
    # Only what needs the values of a tensor fails on the meta device.
    except Exception as exc:
        reason = f"needs its weights: {type(exc).__name__}: {exc}"
        return replace(row, outcome="too large", reason=reason) if known.parameters > MOST_WITH_VALUES else None


def _with_values(known: Measured, prices: Path | None) -> Row:
    # Some models cannot be built on the meta device; they are tried at their own size.
    name, size, counted = known.model, known.size or own_size(known.model) or 224, known.macs
    try:
        with torch.no_grad(), cheap_weights(noisy):
            model, images = create(name, size), torch.randn(2, 3, size, size)
            model(images)
    except Exception as exc:
        return Row(name, "not built", f"{type(exc).__name__}: {str(exc)[:200]}", size, known.parameters)
    if counted is None:
        # Of the fused kernels of attention on CPUs the counter sees nothing.
        with products_of_attention(), FlopCounterMode(display=False) as counter, torch.no_grad():
            model(images[:1])
        counted = counter.get_total_flops() // 2
    known = Measured(name, size, sum(weight.numel() for weight in model.parameters()), counted)
    try:
        with cheap_weights(noisy):
            return _priced(partial(adopt, name=name), model, known, prices)
    except OfframpError as exc:
        return Row(name, "refused", str(exc), size, known.parameters, counted_macs=counted)


def image_macs(row: Row) -> Row:
    """The row with the counter's MACs without those of constants, such as tables of positions."""
    with torch.device("meta"), cheap_weights(untouched), torch.no_grad():
        model, images = create(row.model, row.size), torch.empty(1, 3, row.size, row.size)
        with ImageFlops(images) as counter:
            model(images)
    return replace(row, image_macs=counter.flops // 2)


def _priced(
    cut: Callable[[nn.Module, Tensor], AdoptedModel], model: nn.Module, known: Measured, prices: Path | None
) -> Row:
    adopted = cut(model, torch.randn(2, 3, known.size, known.size))
    del model
    classes, shape, taps = adopted.num_classes, adopted.input_shape, len(adopted.taps)
    space = EarlyExitSpace(adopted.space(shape), ("global_pool",), final_branch="own_head")
    supernet = Supernet(adopted.space(shape), ("global_pool",), shape, classes, seed=0, family=adopted)
    del adopted
    workload = lower(supernet.extract(space.max_architecture().without_exits()).eval())
    mapping = "layer_by_layer"
    try:
        LayerByLayerModel(CachedEngine(NativeEngine(), prices)).estimate(workload, chip())
    except UnsupportedLayerError:
        # One of its layers is larger than a memory; the optimized mapping cuts it into tiles.
        mapping = "optimized"
        build_cost_model(CostConfig(accelerator=CHIP, mapping="optimized"), cache=prices).estimate(workload, chip())
    macs = workload.macs_to_exit()[-1]
    return Row(known.model, "priced", "", known.size, known.parameters, taps, macs, known.macs, mapping=mapping)


def _cut_without_values(model: nn.Module, example: Tensor) -> AdoptedModel:
    """As `adopt`, but for the steps that need the values of weights, and for the notes about training."""
    with (
        mock.patch.object(adoption, "_check_same", return_value=None),
        mock.patch.object(adoption, "_fingerprint", return_value=""),
        mock.patch.object(tracing, "_training_notes", return_value=()),
        evaluating(model),
    ):
        adopted = adoption._cut(model, example, example.ndim, None, adoption.DEFAULT_MAX_TAPS)
    model.train()
    return replace(adopted, name=f"{ADOPTED}meta", description="a model without weights")


def _in_child(task: Callable[[], Row | Measured], name: str, limit_s: float, answer: Connection) -> None:
    gc.disable()  # the process ends soon, and the collector takes a fifth of its time
    # Processor time, so that what else the machine does decides nothing.
    signal.signal(signal.SIGXCPU, _out_of_time)
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(limit_s), resource.RLIM_INFINITY))
    try:
        answer.send(task())
    except _OutOfTimeError:
        answer.send(Row(name, "timeout", f"{limit_s:.0f} s"))
    except BaseException:
        answer.send(Row(name, "traceback", traceback.format_exc()[-1500:]))


class _OutOfTimeError(BaseException):
    """The limit is reached; no handler of exceptions within a task takes it for a fault."""


def _out_of_time(*_: object) -> None:
    raise _OutOfTimeError


def isolated(task: Callable[[], Row | Measured], name: str, limit_s: float) -> Row | Measured:
    """Run a task in a forked process, so that one that hangs or eats the memory ends nothing but itself.

    The limit is that of its processor time.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(task, name, limit_s, theirs))
    child.start()
    theirs.close()
    try:
        waits = ours.poll(MOST_WAITING * limit_s)
        row: Row | Measured = ours.recv() if waits else Row(name, "timeout", f"{limit_s:.0f} s")
    except EOFError:
        row = Row(name, "traceback", "the process died")
    child.kill()
    child.join()
    return row


def measured(names: list[str], path: Path) -> list[Measured]:
    """The sizes of all models, the smallest first."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = {row.model: row for row in (Measured(**json.loads(line)) for line in lines)}
    for name in track([name for name in names if name not in found], "sizes"):
        row = isolated(partial(measure, name), name, 60.0)
        found[name] = row if isinstance(row, Measured) else Measured(name)
        with path.open("a") as file:
            file.write(json.dumps(asdict(found[name])) + "\n")
    return sorted((found[name] for name in names), key=lambda row: (row.parameters, row.model))


def kept(path: Path) -> dict[str, Row]:
    if not path.exists():
        return {}
    rows = [Row(**json.loads(line)) for line in path.read_text().splitlines()]
    return {row.model: row for row in rows}


def figures(rows: dict[str, Row]) -> dict[str, Any]:
    found = sorted(rows.values(), key=lambda row: row.model)
    priced = [row for row in found if row.outcome == "priced"]
    unequal = [row for row in priced if row.macs != row.counted_macs]
    other = [row.model for row in unequal if row.image_macs not in (None, row.macs)]
    return {
        "timm": version("timm"),
        "accelerator": CHIP,
        "tried": len(found),
        "outcomes": dict(Counter(row.outcome for row in found)),
        "same_structure_as_another": sum(bool(row.same_as) for row in priced),
        "priced_by_the_optimized_mapping_alone": [row.model for row in priced if row.mapping == "optimized"],
        "priced_without_values": sum(row.device == "meta" for row in priced),
        "priced_with_equal_macs": sum(row.macs == row.counted_macs for row in priced),
        "equal_without_macs_of_constants": sum(row.macs == row.image_macs for row in priced),
        "priced_with_other_macs": other,
        "unequal_and_not_counted_without_constants": [row.model for row in unequal if row.image_macs is None],
        "rows": [asdict(row) for row in found],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="names or patterns, such as 'resnet*' (default: all)")
    parser.add_argument("--rows", type=Path, default=Path("runs/timm_models.jsonl"), help="where rows are kept")
    parser.add_argument("--prices", type=Path, help="file that keeps the prices of layers (default: none)")
    parser.add_argument("--most-parameters", type=int, default=6_000_000_000, help="what fits into 24 GiB")
    parser.add_argument("--limit-s", type=float, default=600.0, help="processor time for one model, seconds")
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
    batch_norm = quick_batch_norm()
    # What torch imports and builds when it is used first is there for all forked processes.
    examine(measure("resnet10t"), arguments.most_parameters, None, {})
    gc.freeze()
    todo = measured([name for name in names if name not in rows], arguments.rows.with_suffix(".sizes.jsonl"))
    for known in track(todo, "models of timm"):
        if time.monotonic() - began > arguments.stop_after_s:
            break
        start = time.monotonic()
        seen = {row.structure: row for row in rows.values() if row.structure and not row.same_as}
        task = partial(examine, known, arguments.most_parameters, arguments.prices, seen)
        row = isolated(task, known.model, arguments.limit_s)
        assert isinstance(row, Row)
        rows[known.model] = replace(row, seconds=round(time.monotonic() - start, 2))
        with arguments.rows.open("a") as file:
            file.write(json.dumps(asdict(rows[known.model])) + "\n")
    for name, row in rows.items():
        if row.outcome == "priced" and row.macs != row.counted_macs and row.image_macs is None:
            found = isolated(partial(image_macs, row), name, arguments.limit_s)
            rows[name] = found if isinstance(found, Row) and found.outcome == "priced" else row
    del batch_norm
    result = figures(rows)
    Console().print({key: value for key, value in result.items() if key != "rows"})
    print(save_result("timm_models", result))


if __name__ == "__main__":
    main()
