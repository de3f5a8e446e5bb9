"""A small bundle of every kind: weights of floats, 8 bits, 4 bits, ternary and mixed; exits that reuse earlier ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.exits.calibration.class_offsets import ClassOffsets
from offramp.exits.confidence_measures import confidence
from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.exit_link import ExitReuse, build_link
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import prepare_
from offramp.space.architecture import Precision
from tests.deploy import toys

EIGHT, FOUR, FLOAT = Precision(8, 8), Precision(4, 4), Precision(32, 32)
TERNARY = Precision(2, 8, ternary=True)

# Bit widths of the backbone and of the branches, and the oldest onnxruntime that runs such files.
PRECISIONS = {
    "float": (FLOAT, FLOAT, "1.15.0"),
    "int8": (EIGHT, EIGHT, "1.15.0"),
    "4_bit": (FOUR, FOUR, "1.23.0"),
    "4_bit_branches": (EIGHT, Precision(4, 6), "1.23.0"),
    "ternary": (TERNARY, EIGHT, "1.24.1"),
    "cascade": (FLOAT, FLOAT, "1.15.0"),
    "int8_mean": (EIGHT, EIGHT, "1.15.0"),
}
REUSE: dict[str, ExitReuse] = {"cascade": "cascade", "int8_mean": "geometric_mean"}

TEMPERATURES = (0.5, 2.0)
# Of the first exit, for each class.
OFFSETS: dict[str, ClassOffsets] = {"int8_mean": ((0.1, -0.2, 0.0, 0.3, -0.1),)}


def quantised(backbone: Precision, branches: Precision, reuse: ExitReuse = "none") -> EarlyExitNetwork:
    network = toys.network(2)
    if reuse != "none":
        link = build_link(reuse, len(toys.CLASSES))
        torch.nn.init.normal_(next(link.parameters()), generator=torch.Generator().manual_seed(3))
        network.links["1"] = link
    if FLOAT == backbone == branches:
        return network.eval()
    network.architecture = replace(network.architecture, precision=backbone, branch_precision=branches)
    prepare_(network, [torch.from_numpy(toys.samples(64, seed=5))])
    return network.eval()


def write_kind(kind: str, folder: Path) -> None:
    """Write a bundle of two exits; samples and what the network says to them lie beside it in ``<kind>.npz``."""
    backbone, branches, _ = PRECISIONS[kind]
    network = quantised(backbone, branches, REUSE.get(kind, "none"))
    inputs = toys.samples(60, seed=11)
    logits = toys.logits_of(network, inputs)
    # Half of the samples are surer.
    surest = np.sort(confidence(logits[0] / TEMPERATURES[0], "margin"))
    rule = ExitPolicy("margin", (float(surest[29:31].mean()),), TEMPERATURES, OFFSETS.get(kind, ()))
    export_bundle(
        network,
        folder / kind,
        policy=rule,
        class_names=toys.CLASSES,
        mean=toys.MEAN,
        std=toys.STD,
        checks=toys.samples(70),
        name=kind,
        seed=7,
    )
    np.savez(folder / f"{kind}.npz", inputs=inputs, exits=rule.decide(logits), logits=np.stack(logits))
