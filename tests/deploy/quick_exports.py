"""Stage graphs by the older exporter of torch, which takes a tenth of the time, for tests of what is done with them.

That the exporter of users writes the same function is shown in `tests/deploy`, and by the shared run of all tests.
"""

import io
import warnings
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from offramp.deploy.onnx import stage_graphs
from offramp.deploy.onnx.finish_model import EXPORT_OPSET
from offramp.deploy.onnx.value_names import BATCH

_SLOW = stage_graphs._export


def quick_stage_graph(
    part: nn.Module, examples: tuple[Tensor, ...], sources: list[str], results: list[str], what: str
) -> Any:
    """Stands for `stage_graphs._export`; quantised layers only the newer exporter can write."""
    if any(type(module).__module__ == "offramp.deploy.onnx.qdq" for module in part.modules()):
        return _SLOW(part, examples, sources, results, what)
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            part,
            examples,
            written,
            dynamo=False,
            opset_version=EXPORT_OPSET,
            input_names=sources,
            output_names=results,
            dynamic_axes={name: {0: BATCH} for name in (*sources, *results)},
        )
    return stage_graphs._clean(onnx.load_from_string(written.getvalue()))
