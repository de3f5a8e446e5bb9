"""From stored samples to mini-batches: order, augmentation, normalisation."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from offramp.data.augmentation import Augmentation, augment
from offramp.data.labelled_data import Preprocessing, Split
from offramp.data.sample_kinds import Samples
from offramp.data.stored_samples import StoredSamples


class Batch(NamedTuple):
    """A mini-batch.

    Attributes:
        inputs: Normalised float32 samples, (batch, channels, height, width).
        labels: Class numbers, int64, (batch,).
    """

    inputs: Tensor
    labels: Tensor


def to_tensor(samples: Samples | Tensor, preprocessing: Preprocessing, device: torch.device | str = "cpu") -> Tensor:
    """Normalise samples.

    Args:
        samples: Stored samples of the type that the preprocessing states, (batch, channels, height, width).
        preprocessing: Mean and standard deviation of each channel.
        device: Device of the result.

    Returns:
        Float32 inputs of the same shape.

    Raises:
        ValueError: The samples have another type, number of axes or number of channels.
    """
    stored = torch.as_tensor(samples[:] if isinstance(samples, StoredSamples) else samples)
    if stored.dtype != getattr(torch, preprocessing.dtype) or stored.ndim != 4:
        raise ValueError(
            f"`samples` must be {preprocessing.dtype} of 4 axes, got {stored.dtype} of {tuple(stored.shape)}."
        )
    if stored.shape[1] != len(preprocessing.mean):
        raise ValueError(
            f"`samples` must have {len(preprocessing.mean)} channels, as `preprocessing` has, got {stored.shape[1]}."
        )
    mean = torch.tensor(preprocessing.mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    # Bytes are sent to the device instead of floats: a quarter of the traffic. Floats are copied, not changed.
    inputs = stored.to(device).to(torch.float32, copy=True)
    return inputs.sub_(preprocessing.scale * mean).div_(preprocessing.scale * std)


def batches(
    split: Split,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    generator: torch.Generator | None = None,
    augmentation: Augmentation | None = None,
    shuffle: bool = False,
    drop_last: bool = False,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Iterate over a split once, as normalised mini-batches.

    The same seed of the generator gives the same batches. The samples stay as they are in memory.

    Args:
        split: Samples and labels.
        preprocessing: Mean and standard deviation of each channel.
        batch_size: Samples per batch, at least 1.
        generator: Source of randomness; required for ``shuffle`` and ``augmentation``.
        augmentation: Random changes; None: no changes.
        shuffle: Whether the samples are shuffled.
        drop_last: Whether an incomplete last batch is left out.
        device: Device of the batches.

    Yields:
        The batches.

    Raises:
        ValueError: The batch size is below 1, or the generator is missing.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be 1 or more, got {batch_size}.")
    if generator is None and (shuffle or augmentation is not None):
        raise ValueError("`generator` must be given to shuffle or augment; pass a seeded torch.Generator.")
    # Samples on disk are read batch by batch.
    stored = split.samples if isinstance(split.samples, StoredSamples) else None
    whole = None if stored is not None else torch.as_tensor(split.samples)
    labels = torch.as_tensor(split.labels)
    order = None
    if shuffle and generator is not None:
        order = torch.randperm(len(labels), generator=generator, device=generator.device).cpu()
    stop = len(labels) - len(labels) % batch_size if drop_last else len(labels)
    for start in range(0, stop, batch_size):
        end = min(start + batch_size, len(labels))
        chosen = slice(start, end) if order is None else order[start:end]
        if stored is not None:
            some = torch.from_numpy(stored[chosen if isinstance(chosen, slice) else chosen.numpy()])
        else:
            assert whole is not None
            some = whole[chosen]
        if augmentation is None or generator is None:
            inputs = to_tensor(some, preprocessing, device)
        elif augmentation.on_inputs:
            inputs = augment(to_tensor(some, preprocessing, device), augmentation, generator)
        else:
            inputs = to_tensor(augment(some, augmentation, generator), preprocessing, device)
        yield Batch(inputs, labels[chosen].to(device))
