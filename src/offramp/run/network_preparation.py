"""Extracted networks made ready to be judged: batch norms calibrated, bit widths and analog channels set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from offramp.cost.mapping.channel_split.analog_shares import plan_analog
from offramp.data.labelled_data import Preprocessing, Split
from offramp.data.mini_batches import batches
from offramp.hardware.accelerator import Accelerator
from offramp.hardware.chip_formulas import InMemoryArray
from offramp.nn.analog.make_analog import make_analog_, set_noise_
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.lowering.lower import lower
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import is_prepared, prepare_
from offramp.train.compute import Compute

_CALIBRATION_BATCH = 256
_GRID_BATCHES = 2


@dataclass(frozen=True)
class EvaluationData:
    """The samples that candidates are judged on during the search.

    Attributes:
        calibration: A part of the training split, for batch norms and quantisation grids.
        validation: A part of the validation split, which decides.
        preprocessing: How pixels become inputs.
    """

    calibration: Split
    validation: Split
    preprocessing: Preprocessing


def calibrate_(network: torch.nn.Module, data: EvaluationData, compute: Compute) -> None:
    """Fit the batch-norm statistics of a network that inherited its weights.

    Args:
        network: The network; it is moved to the device of ``compute``.
        data: The calibration samples.
        compute: Device and number format.
    """
    compute.place(network)
    images = batches(data.calibration, data.preprocessing, batch_size=_CALIBRATION_BATCH, shuffle=False)
    with compute.autocast():
        recalibrate_batch_norm_(network, (compute.place_images(batch) for batch, _ in images))


def quantize_(network: EarlyExitNetwork, data: EvaluationData, compute: Compute) -> None:
    """Make a calibrated network compute at the bit widths of its architecture.

    Args:
        network: The network; it is moved to the device of ``compute``.
        data: The calibration samples, to which grids and statistics are fitted.
        compute: Device and number format.
    """
    compute.place(network)
    images = calibration_images(data, compute)
    prepare_(network, images[:_GRID_BATCHES])
    if is_prepared(network):
        with compute.autocast():
            recalibrate_batch_norm_(network, images)


def calibration_images(data: EvaluationData, compute: Compute) -> list[Tensor]:
    """The calibration samples as inputs of a network.

    Args:
        data: The calibration samples.
        compute: Device and number format.

    Returns:
        Batches (samples, channels, height, width) on the device.
    """
    images = batches(data.calibration, data.preprocessing, batch_size=_CALIBRATION_BATCH, shuffle=False)
    return [compute.place_images(batch.inputs) for batch in images]


def assign_analog_(network: EarlyExitNetwork, accelerator: Accelerator, images: Sequence[Tensor], seed: int) -> None:
    """Give layers their analog channels, as the architecture states, with converter noise.

    A floating-point network is prepared for its bit widths first. Nothing happens without analog shares.

    Args:
        network: The network, calibrated.
        accelerator: The accelerator with the analog core.
        images: Batches of inputs to which converter ranges are fitted.
        seed: Seed of the converter noise.

    Raises:
        ConfigError: The bit widths leave a layer in floating point.
    """
    chip = accelerator.formulas
    if chip is None or chip.analog is None or not network.architecture.has_analog_shares:
        return
    plan = plan_analog(lower(network), network.architecture, accelerator)
    if not is_prepared(network):
        prepare_(network, images)
    make_analog_(network, plan.channels, cast(InMemoryArray, chip.analog.cycles), images)
    set_noise_(network, torch.Generator().manual_seed(seed))
