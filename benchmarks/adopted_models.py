"""Claim: five timm backbones are adopted, trained briefly, exported, and run again by onnxruntime, with equal answers.

Small variants on the digits at 32x32 pixels, from random weights, for six epochs: what is shown is that every
step works, not how accurate such models can be. Needs timm and torchvision (extra `timm`).
"""

import argparse
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tests.nn.adoption.timm_here import import_timm

from benchmarks.record import save_result
from offramp.data.mini_batches import to_tensor
from offramp.deploy.bundle.manifest import load_manifest
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.nn.adoption.timm_models import TimmSettings, adopt_timm
from offramp.progress import SilentReporter
from offramp.run.api import search
from offramp.run.factory import build_dataset
from offramp.settings.by_name import with_settings
from offramp.settings.config import Config

BACKBONES = (
    "resnet10t",
    "mobilenetv3_small_050",
    "efficientnet_b0",
    "convnext_atto",
    "vit_tiny_patch16_224",
)
_SIZE = 32
_SETTINGS = {
    "data.source": "digits",
    "data.image_size": _SIZE,
    "data.augment": False,
    "space.branches": ("global_pool", "conv"),
    "space.max_taps": 4,
    "train.epochs": 6,
    "train.random_subnets": 0,
    "train.precision": "fp32",
    "train.learning_rate": 0.03,
    "train.batch_size": 32,
    "search.algorithm": "nsga2",
    "search.evaluations": 6,
    "search.batch": 6,
    "search.validation_samples": 200,
    "search.calibration_samples": 1024,
    "fine_tune.epochs": 1,
    "fine_tune.learning_rate": 0.005,
    "fine_tune.picks": ("cheapest",),
}


@dataclass(frozen=True)
class Row:
    """One model; ``cut_difference`` is between the uncut model and the pieces in a row, on random images.

    ``runtime_difference`` is the largest of all logits of all exits between torch and onnxruntime, over the test
    split; ``exported_within`` what the export allowed, as a share of the largest logit; ``same_exits`` whether every
    image left where the network says.
    """

    model: str
    seconds: float
    taps: tuple[str, ...]
    cut_difference: float
    evaluated: int
    test_accuracy: float
    static_test_accuracy: float
    exit_rates: tuple[float, ...]
    macs_to_exit: tuple[int, ...]
    exported_within: float
    images_run_again: int
    runtime_difference: float
    largest_logit: float
    same_exits: bool


def measure(name: str, folder: Path, seed: int) -> Row:
    began = time.monotonic()
    config = with_settings(Config(), {**_SETTINGS, "space.backbone": f"timm:{name}", "seed": seed})
    result = search(config, run=folder / name)
    (item,) = result.finished
    record, network = item.record, item.network.cpu().eval()
    assert record.test is not None
    assert result.summary is not None
    dataset = build_dataset(config, SilentReporter())
    images = to_tensor(dataset.splits.test.samples, dataset.preprocessing)
    with torch.no_grad():
        ours = [logits.numpy() for logits in network(images)]
    bundle = result.folder / record.bundle
    verification = load_manifest(bundle).verification
    theirs = _run_again(bundle, images.numpy())
    taken = np.array([answer.exit for answer in EarlyExitSession(bundle).predict(images.numpy())])
    adopted = adopt_timm(TimmSettings(name, max_taps=4, seed=seed), dataset.input_shape, dataset.num_classes)
    return Row(
        model=name,
        seconds=time.monotonic() - began,
        taps=tuple(tap.name for tap in adopted.taps),
        cut_difference=_cut_difference(name, adopted.pieces, dataset.input_shape, dataset.num_classes, seed),
        evaluated=len(result.summary.evaluations),
        test_accuracy=record.test.top1,
        static_test_accuracy=result.summary.static_reference.accuracy_test or 0.0,
        exit_rates=record.test.rates,
        macs_to_exit=tuple(stage.macs_to_exit for stage in record.cost.stages),
        exported_within=0.0 if verification is None else verification.tolerance,
        images_run_again=len(images),
        runtime_difference=max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True)),
        largest_logit=max(float(np.abs(a).max()) for a in ours),
        same_exits=bool((taken == record.policy.decide(ours)).all()),
    )


def _run_again(bundle: Path, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Logits of every exit from the chain of stage files, in onnxruntime alone."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    values, logits = images, []
    for file in sorted(bundle.glob("stage_*.onnx")):
        stage = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        *features, exit_logits = stage.run(None, {stage.get_inputs()[0].name: values})
        values = features[0] if features else values
        logits.append(exit_logits)
    return logits


def _cut_difference(
    name: str, pieces: tuple[torch.nn.Module, ...], shape: tuple[int, int, int], classes: int, seed: int
) -> float:
    """Between the model as timm builds it, with the same weights, and the pieces."""
    timm = import_timm()
    assert timm is not None
    sized = {"img_size": shape[1:]} if name.startswith("vit") else {}
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=classes, in_chans=shape[0], **sized).eval()
    images = torch.randn(16, *shape)
    with torch.no_grad():
        features = images
        for piece in pieces:
            features = piece.eval()(features)
        return float((features - model(images)).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=BACKBONES)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if import_timm() is None:
        raise SystemExit('This benchmark needs timm and torchvision: pip install "offramp[timm]"')
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            rows.append(measure(name, Path(folder), arguments.seed))
            print(rows[-1])
    table = Table(title="timm models on the digits at 32x32: cut, searched, trained briefly, exported, run again")
    columns = (
        "model", "seconds", "cut_difference", "test_accuracy", "static_test_accuracy", "runtime_difference",
        "largest_logit", "same_exits",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        values = [asdict(row)[column] for column in columns]
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values))
    Console(width=160).print(table)
    met = all(row.cut_difference == 0.0 and row.same_exits for row in rows)
    figures = {"settings": _SETTINGS, "timm": version("timm"), "rows": [asdict(row) for row in rows], "met": met}
    print("goal met" if met else "GOAL MISSED", save_result("adopted_models", figures))


if __name__ == "__main__":
    main()
