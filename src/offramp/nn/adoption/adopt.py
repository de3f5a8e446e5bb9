"""offramp.adopt: makes a backbone with taps from a torch model that classifies images, series or vectors."""

import copy
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from offramp.errors import AdoptError, OfframpError
from offramp.nn.adoption.adopted_model import ADOPTED, AdoptedModel, Tap
from offramp.nn.adoption.cutting import call_graph, changed_in_place
from offramp.nn.adoption.final_activation import FinalActivation, are_probabilities, leave_out_final_activation_
from offramp.nn.adoption.packed_tensors import with_packed_tensors
from offramp.nn.adoption.tap_choice import TapPlan, feature_cuts, layouts, plan_taps
from offramp.nn.adoption.tracing import LogitsOf, as_map, first_line, logits_in, trace
from offramp.nn.batch_norm import add_running_statistics_
from offramp.nn.network import evaluating

DEFAULT_MAX_TAPS = 8
_CHECK_BATCHES = (2, 1, 3)
_ROUNDING_TOLERANCE = 1e-5
_STATISTICS_NOTE = (
    "Batch norms without running statistics (track_running_stats=False) get some, measured on training samples: an "
    "answer must not depend on other images."
)
_PACKED_NOTE = (
    "Several tensors go on side by side through the model. Where it is cut they are packed into one, and an exit reads "
    "the one that was computed last."
)


def adopt(
    module: nn.Module,
    example: Tensor,
    *,
    name: str | None = None,
    taps: Sequence[str] | None = None,
    max_taps: int = DEFAULT_MAX_TAPS,
    freeze: bool = False,
) -> AdoptedModel:
    """Make a backbone with taps from a model: samples to logits (batch, classes).

    Samples are images (batch, channels, height, width), series (batch, channels, steps) or vectors (batch, features).

    The model is cut into pieces. Run one after the other, they compute exactly what the model computes in evaluation
    mode. The model itself is not changed.

    Args:
        module: The model.
        example: A batch of samples as the model will read them: normalised, of the size of the data.
        name: Name of the backbone, without its prefix; None: the name of the model's class.
        taps: Names of modules behind which exits may be placed; None: taps are spread evenly over the MACs.
        max_taps: The largest number of taps for early exits, >= 1; only without ``taps``.
        freeze: Whether training changes the exit branches only.

    Returns:
        The model as a backbone family with one member.

    Raises:
        AdoptError: An argument is wrong, or the model cannot be cut; the message says why.
    """
    _check_settings(taps, max_taps)
    model = copied_model(module, example)
    added = add_running_statistics_(model)
    if added and freeze:
        raise AdoptError(
            f"A frozen model keeps the statistics of its batch norms, but {added[0]!r} has none "
            "(track_running_stats=False). Leave `freeze` out, or give it running statistics."
        )
    axes = example.ndim
    example = as_map(example_pair(example))
    with evaluating(model):
        try:
            adopted = _cut(model, example, axes, taps, max_taps)
        except OfframpError:
            raise
        # The user's code runs at every step and may raise anything.
        except Exception as exc:
            raise AdoptError(f"The model cannot be cut: running its parts failed ({first_line(exc)}).") from exc
    if added:
        adopted = replace(adopted, notes=(_STATISTICS_NOTE, *adopted.notes))
    model.train()
    label = name or type(_plain(module)).__name__
    for note in adopted.notes:
        warnings.warn(f"{label}: {note}", stacklevel=2)
    return replace(adopted, name=f"{ADOPTED}{label}", description=f"the model {label}, as given", frozen=freeze)


def _cut(model: nn.Module, example: Tensor, axes: int, taps: Sequence[str] | None, max_taps: int) -> AdoptedModel:
    """The model cut into pieces, still without a name."""
    whole = LogitsOf(model, axes).eval()
    num_classes = _num_classes(whole, example)
    traced = trace(model, example, axes)
    final = leave_out_final_activation_(traced, num_classes)
    calls = call_graph(traced, example)
    if len(feature_cuts(calls, (example.shape[2], example.shape[3]))) < 2:
        calls = with_packed_tensors(calls, example, taps, max_taps)
    plan = plan_taps(calls, example, taps, max_taps)
    plan = _without(plan, changed_in_place(calls.pieces(plan.cuts), example))
    pieces = calls.pieces(plan.cuts)
    _check_same(whole, pieces, example, final, exact=final is None and not calls.packed)
    shape = (example.shape[1], example.shape[2], example.shape[3])
    found = tuple(
        Tap(cut.name, layout, macs / max(plan.total_macs, 1))
        for cut, layout, macs in zip(plan.cuts, layouts(calls, plan, shape[1:]), plan.macs, strict=True)
    )
    left_out = (
        ()
        if final is None
        else (f"The model ends in {final.text}, which was left out: exits decide by the logits before it.",)
    )
    return AdoptedModel(
        name="",
        description="",
        pieces=pieces,
        taps=found,
        input_shape=shape,
        num_classes=num_classes,
        frozen=False,
        fingerprint=_fingerprint(pieces, shape),
        notes=(*left_out, *((_PACKED_NOTE,) if calls.packed else ()), *traced.notes),
    )


def copied_model(module: nn.Module, example: Tensor) -> nn.Module:
    """Check a user's model and its example, and copy the model.

    Args:
        module: The model.
        example: A batch of images, series or vectors.

    Returns:
        A copy of the model in float32 on the CPU, without a wrapper for several devices.

    Raises:
        AdoptError: One of them is of another kind, or the model cannot be copied or followed.
    """
    if not isinstance(module, nn.Module):
        raise AdoptError(f"The model must be a torch.nn.Module, got {type(module).__name__}.")
    _check_uncompiled(module)
    if not isinstance(example, Tensor) or example.ndim not in (2, 3, 4) or not example.numel():
        given = f"shape {tuple(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise AdoptError(
            "The example must be a tensor of images (batch, channels, height, width), series (batch, channels, steps) "
            f"or vectors (batch, features), got {given}."
        )
    _check_initialized(module)
    return _copied(_plain(module))


def example_pair(example: Tensor) -> Tensor:
    """Two images of an example.

    Args:
        example: A batch of images, at least one.

    Returns:
        The first two images, or twice the only one, in float32 on the CPU.
    """
    images = example.detach().to("cpu", torch.float32)
    return torch.cat([images, images])[:2] if len(images) == 1 else images[:2]


def _check_settings(taps: Sequence[str] | None, max_taps: int) -> None:
    if max_taps < 1:
        raise AdoptError(f"`max_taps` must be >= 1, got {max_taps}.")
    if isinstance(taps, str) or (taps is not None and not taps):
        raise AdoptError(f"`taps` must be names of modules, at least one, got {taps!r}.")


def _check_uncompiled(module: nn.Module) -> None:
    """Check that torch runs the Python code of the model, which is what is recorded."""
    for name, part in module.named_modules():
        where = f"its part {name!r}" if name else "it"
        if isinstance(part, torch.jit.ScriptModule):
            raise AdoptError(
                f"The model must be one of plain torch code, but {where} is a module of torch.jit, which has no Python "
                "code that could be cut. Give the model as it was before torch.jit.script or torch.jit.trace."
            )
        # The class of compiled modules takes seconds to import; this is the name of its only part.
        if hasattr(part, "_orig_mod") or part._compiled_call_impl is not None:
            raise AdoptError(
                f"The model must be one of plain torch code, but {where} was compiled with torch.compile. Give the "
                "model as it was before; of a compiled one that is `model._orig_mod`."
            )


def _check_initialized(module: nn.Module) -> None:
    """Check that all weights have values; those of lazy modules and of the device meta have none."""
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(value):
            raise AdoptError(
                f"All weights of the model must have a shape, but {name!r} has none: it belongs to a lazy module that "
                "has not run yet. Run the model once on the example, or load its weights, before it is adopted."
            )
        if value.is_meta:
            raise AdoptError(
                f"All weights of the model must have values, but {name!r} lies on the device 'meta', which holds none. "
                "Use `model.to_empty(device='cpu')` and load the weights."
            )


def _plain(module: nn.Module) -> nn.Module:
    """The model itself, where it is wrapped for training on several devices."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return cast(nn.Module, module.module)
    return module


def _copied(module: nn.Module) -> nn.Module:
    try:
        model = copy.deepcopy(module).to("cpu", torch.float32)
    # A user's module may do anything when it is copied.
    except Exception as exc:
        raise AdoptError(f"The model must be one that copy.deepcopy can copy, but: {first_line(exc)}.") from exc
    for value in (*model.parameters(), *model.buffers()):
        # An expanded tensor has several elements at one address, which nothing can be loaded into.
        if 0 in value.stride():
            value.data = value.data.clone(memory_format=torch.contiguous_format)
    return model


def _num_classes(model: LogitsOf, example: Tensor) -> int:
    try:
        with torch.no_grad():
            result = model(example.clone())
    except Exception as exc:
        what = {2: "vectors (batch, features)", 3: "series (batch, channels, steps)"}.get(model.axes)
        hint = f" An example of {model.axes} axes is a batch of {what}; images have 4." if what else ""
        raise AdoptError(f"The model must run on the example, but it failed: {first_line(exc)}.{hint}") from exc
    if isinstance(result, list | tuple | Mapping) and len(result) > 1:
        raise AdoptError(
            "The model must give one tensor of logits (batch, classes), got several. A model with exits of its own is "
            "taken by offramp.adopt_exits; of another one, wrap it in a module that returns the logits alone."
        )
    if not isinstance(result, Tensor):
        raise AdoptError(
            f"The model must give one tensor of logits (batch, classes), or an object with such `logits`, got "
            f"{type(result).__name__}. Wrap it in a module that returns the logits alone."
        )
    if result.ndim != 2 or len(result) != len(example) or result.shape[1] < 2:
        raise AdoptError(
            f"The model must give logits (batch, classes) of at least two classes, got shape {tuple(result.shape)} for "
            f"a batch of {len(example)}."
        )
    return int(result.shape[1])


def _without(plan: TapPlan, changed: frozenset[int]) -> TapPlan:
    """The plan without the taps whose features a later layer overwrites: a branch could not learn from them."""
    kept = [index for index in range(len(plan.cuts)) if index not in changed]
    if len(kept) < 2:
        raise AdoptError(
            "The model cannot be cut: wherever one tensor alone goes on, a later layer overwrites it (inplace=True). "
            "Set inplace=False in those layers."
        )
    return TapPlan(tuple(plan.cuts[i] for i in kept), tuple(plan.macs[i] for i in kept), plan.total_macs)


def _check_same(
    model: nn.Module, pieces: Sequence[nn.Module], example: Tensor, final: FinalActivation | None, *, exact: bool
) -> None:
    """Check that the pieces compute what the model computes, also for other images and batch sizes.

    Behind a final activation that was left out, and where tensors are packed and so lie otherwise in memory, sums are
    rounded otherwise: then the logits need not be equal to the bit.
    """
    generator = torch.Generator().manual_seed(0)
    batches = [example, *(torch.randn(n, *example.shape[1:], generator=generator) for n in _CHECK_BATCHES)]
    all_logits = []
    for images in (*batches, 10 * batches[1], torch.zeros_like(example)):
        try:
            with torch.no_grad():
                expected, features = logits_in(model(images.clone())), images.clone()
                for piece in pieces:
                    features = piece(features)
        except Exception as exc:
            raise AdoptError(
                f"The model cannot be cut: its code depends on the batch size or on the images ({first_line(exc)})."
            ) from exc
        all_logits.append(features)
        found = features if final is None else final(features)
        tolerance = 0.0 if exact else _ROUNDING_TOLERANCE
        if found.shape != expected.shape or not torch.allclose(
            found, expected, rtol=tolerance, atol=tolerance, equal_nan=True
        ):
            difference = (
                f"largest difference {float((found - expected).abs().max()):.3g}"
                if found.shape == expected.shape
                else f"shape {tuple(found.shape)}, not {tuple(expected.shape)}"
            )
            raise AdoptError(
                f"The model cannot be cut: its pieces do not give exactly what it gives ({difference}). Its code "
                "decides by the values of its input, draws random numbers (such as dropout in evaluation mode), or "
                "keeps a state between calls."
            )
    if are_probabilities(torch.cat(all_logits)):
        raise AdoptError(
            "The model must give logits, but it gives probabilities: nothing is negative and every row has the sum 1. "
            "The code that makes them cannot be told from the rest. Return the values before it (before softmax)."
        )


def _fingerprint(pieces: Sequence[nn.Module], shape: tuple[int, int, int]) -> str:
    """Short hash of the calls, the cuts and the weights."""
    digest = hashlib.sha256(repr(shape).encode())
    for piece in pieces:
        assert isinstance(piece, fx.GraphModule)
        for node in piece.graph.nodes:
            digest.update(repr((node.op, getattr(node.target, "__name__", node.target), str(node.args))).encode())
        for name, value in piece.state_dict().items():
            digest.update(name.encode() + repr((tuple(value.shape), value.dtype)).encode())
            digest.update(value.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
