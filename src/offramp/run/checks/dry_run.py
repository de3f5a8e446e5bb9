"""One pass through everything a search does to a network, before the first epoch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from offramp.data.mini_batches import to_tensor
from offramp.deploy.onnx.stage_graphs import stage_models
from offramp.deploy.runtime.graph_check import check_graph
from offramp.errors import ConfigError, OfframpError
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.branches.exit_branch import EXIT_BRANCHES
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import prepare_
from offramp.progress import Reporter
from offramp.run.context import Context
from offramp.run.workloads import assigned_workload
from offramp.space.architecture import Architecture
from offramp.space.cut_networks import cut_at
from offramp.train.loss import multi_exit_loss

_SAMPLES = 4
_SAME = 1e-3
"""Share of the largest logit by which a sample's logits may depend on other samples, for rounding."""
_EXPORTED = 0.02
"""Share of the largest logit by which ONNX may differ here; the bundles of finished networks are compared closely."""
_OWN_PACKAGE = "offramp."


@dataclass(frozen=True)
class _Candidate:
    """A candidate that is tried.

    Attributes:
        title: What messages call it.
        architecture: Its architecture.
    """

    title: str
    architecture: Architecture


def check_whole_way(context: Context, reporter: Reporter) -> None:
    """Train, price, quantise and export the largest and the smallest candidate once, on a few samples.

    The weights of the supernet stay as they are. Export is tried for models and branches that do not come with offramp.

    Args:
        context: The parts of a run.
        reporter: Shows the progress.

    Raises:
        ConfigError: One of the steps cannot be done; the message says which one and why.
    """
    candidates = _candidates(context)
    with reporter.task("Checking the largest and the smallest candidate") as task, torch.random.fork_rng(devices=[]):
        for index, candidate in enumerate(candidates):
            task.update(index / len(candidates), candidate.title)
            _check(context, candidate, exports=index == 0 and _is_foreign(context))


def _candidates(context: Context) -> tuple[_Candidate, ...]:
    """The largest backbone with exits of each type, the smallest candidate, and a network that ends early."""
    space = context.space
    largest = space.max_architecture()
    found = [
        _Candidate(
            f"the largest candidate with exits of type {name!r}",
            space.with_spread_exits(largest, space.max_exits, name, largest.policy),
        )
        for name in context.config.space.branches
    ]
    found.append(_Candidate("the smallest candidate", space.min_architecture()))
    for option in space.exit_options(largest)[:1]:
        cut = cut_at(largest, option, space.max_depths)
        found.append(_Candidate(f"the static network that ends at tap {option.tap}", cut))
    return tuple(found)


def _check(context: Context, candidate: _Candidate, *, exports: bool) -> None:
    images, labels = training_samples(context, _SAMPLES)
    with _step("built", candidate):
        network = context.supernet.extract(candidate.architecture)
        context.compute.place(network)
    with _step("trained", candidate):
        train_step(context, network, images, labels)
    with _step("run with the statistics of its batch norms", candidate):
        recalibrate_batch_norm_(network, [torch.cat([images, images])])
        _check_answers(network.eval(), images)
    with _step("priced", candidate):
        context.search_cost.estimate(context.evaluator.workload(network), context.accelerator)
    if context.config.quantizes:
        with _step("quantised", candidate):
            prepare_(network, [images])
            train_step(context, network, images, labels)
            assigned_workload(network, context.accelerator)
    if exports:
        with _step("exported", candidate):
            _export(network, images)


def train_step(context: Context, network: EarlyExitNetwork, images: Tensor, labels: Tensor) -> None:
    """Run a network forward and backward on a batch; its weights stay as they are.

    Args:
        context: The parts of a run.
        network: The network, on the device of the run.
        images: The inputs, (samples, channels, height, width).
        labels: The classes, (samples,).
    """
    network.train()
    with context.compute.autocast():
        logits = network(images)
    loss = multi_exit_loss(logits, labels, context.losses())
    if loss.requires_grad:
        torch.autograd.backward(loss)
    network.zero_grad(set_to_none=True)


@torch.no_grad()
def _check_answers(network: EarlyExitNetwork, images: Tensor) -> None:
    """A sample gets the same answer whatever other samples are in its batch."""
    together, alone = network(images), network(images[:1])
    for index, (logits, own) in enumerate(zip(together, alone, strict=True)):
        scale = max(float(logits.abs().max()), 1.0)
        if float((logits[:1] - own).abs().max()) > _SAME * scale:
            raise ConfigError(
                f"Exit {index} answers a sample differently when other samples are in its batch, as with a batch norm "
                "without running statistics. Give such layers running statistics (track_running_stats=True)."
            )


@torch.no_grad()
def _export(network: EarlyExitNetwork, images: Tensor) -> None:
    """Write the stages as ONNX, check them as a bundle's reader does, and run them on one sample."""
    import onnxruntime

    before = [images[:1].cpu().contiguous().numpy()]
    expected = network.cpu().eval()(torch.from_numpy(before[0]))
    for index, model in enumerate(stage_models(network)):
        content = model.SerializeToString()
        check_graph(content, f"stage {index}")
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        # Features and, where the exit reads them, the logits of the exit before.
        names = [item.name for item in session.get_inputs()]
        results = session.run(None, dict(zip(names, before, strict=False)))
        before, logits = [results[0], results[-1]], torch.from_numpy(results[-1])
        scale = max(float(expected[index].abs().max()), 1.0)
        if float((logits - expected[index]).abs().max()) > _EXPORTED * scale:
            raise ConfigError(f"The ONNX file of stage {index} does not compute what the network computes.")


def _is_foreign(context: Context) -> bool:
    """Whether the backbone or a branch does not come with offramp."""
    makers: list[object] = [context.family, *(EXIT_BRANCHES.get(name) for name in context.config.space.branches)]
    return isinstance(context.family, AdoptedModel) or not all(
        type(maker).__module__.startswith(_OWN_PACKAGE) for maker in makers
    )


@contextmanager
def _step(done: str, candidate: _Candidate) -> Iterator[None]:
    try:
        yield
    # A user's network may raise anything.
    except Exception as exc:
        reason = str(exc).strip() if isinstance(exc, OfframpError) else _first_line(exc)
        raise ConfigError(f"This search cannot be done: {candidate.title} cannot be {done}. {reason}") from exc


def _first_line(exc: Exception) -> str:
    line = next(iter(str(exc).strip().splitlines()), type(exc).__name__).rstrip(".")
    hint = ""
    if "view size is not compatible" in line:
        hint = " Call reshape in place of view, or set train.channels_last to false."
    return f"Its code raised {type(exc).__name__}: {line}.{hint}"


def training_samples(context: Context, count: int) -> tuple[Tensor, Tensor]:
    """The first training samples; as few as a training step has where that is less.

    Args:
        context: The parts of a run.
        count: Number of samples.

    Returns:
        Images (samples, channels, height, width) and classes (samples,), on the device of the run.
    """
    train = context.dataset.splits.train
    count = min(count, context.batch_size, len(train.labels))
    images = to_tensor(train.samples[:count], context.dataset.preprocessing)
    labels = torch.from_numpy(np.asarray(train.labels[:count], dtype=np.int64))
    return context.compute.place_images(images), labels.to(context.compute.device)
