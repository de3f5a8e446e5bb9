"""From an early-exit network to ONNX graphs: one per stage, and all of them joined into one."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from offramp.deploy.onnx.finish_model import EXPORT_OPSET, finish_model_, opset_of
from offramp.deploy.onnx.integer_weights import state_zero_points_, store_narrow_weights_
from offramp.deploy.onnx.plain_norms import plain_norms_
from offramp.deploy.onnx.plain_pools import plain_pools_
from offramp.deploy.onnx.qdq import to_qdq_
from offramp.deploy.onnx.simplify import use_global_pooling_
from offramp.deploy.onnx.value_names import BATCH, exit_name, input_names, output_names
from offramp.errors import ExportError
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import is_prepared

_NOISY_LOGGERS = ("torch.onnx", "torch.export", "torch._dynamo", "onnxscript", "onnx_ir")


class _Stage(nn.Module):
    """One stage with its branch, as a graph of its own."""

    def __init__(self, stage: nn.Module, branch: nn.Module, *, last: bool) -> None:
        super().__init__()
        self.backbone = stage
        self.branch = branch
        self.last = last

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        features = self.backbone(features)
        logits = self.branch(features)
        return (logits,) if self.last else (features, logits)


class _LinkedStage(nn.Module):
    """A stage whose exit also reads the logits of the exit before."""

    def __init__(self, stage: _Stage, link: nn.Module) -> None:
        super().__init__()
        self.stage = stage
        self.link = link

    def forward(self, features: Tensor, previous: Tensor) -> tuple[Tensor, ...]:
        *onward, logits = self.stage(features)
        return (*onward, self.link(previous, logits))


def frozen_copy(network: EarlyExitNetwork) -> EarlyExitNetwork:
    """The network as it is deployed: float32, on the CPU, in evaluation mode; the original stays as it is.

    Args:
        network: The network.

    Returns:
        The copy.
    """
    frozen = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    # From channels-last weights the exporter makes an index computation out of every global average pooling.
    frozen.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return frozen


def stage_models(network: EarlyExitNetwork) -> list[Any]:
    """One ONNX model per stage, the batch size left open.

    Stage ``i`` reads ``images`` or ``features_{i-1}`` and, where its exit has a link, ``exit_{i-1}``. It gives
    ``features_i`` (not the last) and ``exit_i``, the logits. One that is prepared for quantisation is written with
    QuantizeLinear and DequantizeLinear. Raises ExportError for a module that cannot be written as ONNX.

    Args:
        network: The network.

    Returns:
        One ONNX model per stage.
    """
    frozen = frozen_copy(network)
    prepared = is_prepared(frozen)
    if prepared:
        to_qdq_(frozen)
    plain_pools_(frozen)
    plain_norms_(frozen)
    # Two samples: with one, the exporter would take the batch size for a constant.
    features, logits = torch.zeros(2, *network.input_shape), torch.zeros(2, network.num_classes)
    models, links = [], dict(frozen.links.items())
    for index, (stage, branch) in enumerate(zip(frozen.stages, frozen.branches, strict=True)):
        names = output_names(index, frozen.num_exits)
        link = links.get(str(index))
        plain = _Stage(stage, branch, last=len(names) == 1)
        part = plain if link is None else _LinkedStage(plain, link)
        sources = input_names(index, reads_logits=link is not None)
        examples = (features, logits)[: len(sources)]
        models.append(_export(part.eval(), examples, sources, names, f"Stage {index}"))
        if prepared:
            store_narrow_weights_(models[-1])
            state_zero_points_(models[-1])
        finish_model_(models[-1])
        with torch.inference_mode():
            features = part(*examples)[0].clone()
    return models


def _level_versions_(models: Sequence[Any]) -> None:
    """Give graphs the highest opset and IR version that one of them needs, so that they can be joined.

    The operators keep their meaning: all were exported in one opset, which is at least as high as any of these, and
    the higher ones that narrow weights need differ from it in the permitted types.
    """
    opset = max(opset_of(model) for model in models)
    ir_version = max(model.ir_version for model in models)
    for model in models:
        del model.opset_import[:]
        model.opset_import.add(domain="", version=opset)
        model.ir_version = ir_version


def _export(part: nn.Module, examples: tuple[Tensor, ...], sources: list[str], results: list[str], what: str) -> Any:
    batch = {0: torch.export.Dim(BATCH)}
    try:
        with _quiet():
            program = torch.onnx.export(
                part,
                examples,
                dynamo=True,
                verbose=False,
                opset_version=EXPORT_OPSET,
                input_names=sources,
                output_names=results,
                dynamic_shapes=(batch,) * len(examples),
                external_data=False,
            )
    # The exporter runs the user's modules and may raise anything; whatever it is, the sentence is the same.
    except Exception as exc:
        raise ExportError(f"{what} cannot be written as ONNX: {_first_cause(exc)}") from exc
    if program is None:
        raise ExportError(f"{what} cannot be written as ONNX: the exporter gave no graph.")
    return _clean(program.model_proto)


def _first_cause(exc: BaseException) -> str:
    """First line of what went wrong at the bottom; the exporter wraps it in advice for its own developers."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return next(iter(str(exc).strip().splitlines()), type(exc).__name__)


def _clean(model: Any) -> Any:
    """Drop what does not change the result: documentation, and stack traces with names of local files."""
    import onnx.inliner

    # Functions would have to be carried along whenever stages are joined.
    model = onnx.inliner.inline_local_functions(model)
    for holder in _holders(model):
        for field in ("doc_string", "metadata_props"):
            if field in holder.DESCRIPTOR.fields_by_name:
                holder.ClearField(field)
    model.producer_name = "offramp"
    model.producer_version = ""
    use_global_pooling_(model)
    return model


def _holders(model: Any) -> Iterator[Any]:
    yield model
    for graph in [model.graph]:
        yield graph
        for group in (graph.node, graph.initializer, graph.value_info, graph.input, graph.output):
            yield from group


def joined_model(stages: Sequence[Any]) -> Any:
    """All stages in one graph whose outputs are ``exit_0``, ``exit_1``, ...; nothing is skipped in it.

    Args:
        stages: The stage graphs as ONNX models.

    Returns:
        The joined model.
    """
    import onnx

    parts = [prefixed(stage, index) for index, stage in enumerate(stages)]
    _level_versions_(parts)
    joined = parts[0]
    for index, following in enumerate(parts[1:], start=1):
        outputs = [exit_name(i) for i in range(index)] + output_names(index, len(stages))
        # Both graphs may use one name only where they are joined, so the next inputs get names of their own meanwhile.
        shared = {value.name: f"stage_{index}/input_{place}" for place, value in enumerate(following.graph.input)}
        rename_values(following.graph, shared)
        joined = onnx.compose.merge_models(joined, following, io_map=list(shared.items()), outputs=outputs)
    joined.graph.name = "early_exit_network"
    joined.producer_name = "offramp"
    finish_model_(joined)
    return joined


def prefixed(stage: Any, index: int) -> Any:
    """A copy of a stage whose inner names begin with ``stage_i/``; those of its input and outputs stay.

    Args:
        stage: A stage graph as ONNX model.
        index: Index of the stage, from 0.

    Returns:
        The copy.
    """
    import onnx

    model = onnx.compose.add_prefix(stage, f"stage_{index}/")
    ends = [value.name for value in (*stage.graph.input, *stage.graph.output)]
    rename_values(model.graph, {f"stage_{index}/{name}": name for name in ends})
    return model


def rename_values(graph: Any, names: dict[str, str]) -> None:
    """Give values of ``graph`` other names, in its subgraphs too.

    Args:
        graph: The graph; changed in place.
        names: New names by old ones.
    """
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename_values(attribute.g, names)
    for group in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in group:
            value.name = names.get(value.name, value.name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks to itself; its errors still arrive as exceptions."""
    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    # Loggers below these carry handlers of their own, so the level is raised on each that exists.
    loggers += [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and name.startswith(tuple(f"{noisy}." for noisy in _NOISY_LOGGERS))
    ]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
