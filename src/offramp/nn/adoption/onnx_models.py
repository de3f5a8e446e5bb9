"""ONNX files as backbones: converted to torch by onnx2pytorch, compared with onnxruntime, and cut into stages."""

import importlib
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from offramp.errors import AdoptError, ConfigError
from offramp.nn.adoption.adopt import adopt
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.nn.adoption.tracing import first_line

SUFFIX = ".onnx"
PREFIX = "onnx:"
_TOLERANCE = 1e-3
_NUM_CHECKS = 3
_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")


def is_onnx_file(name: str) -> bool:
    """Whether a name of a backbone is that of an ONNX file.

    Args:
        name: The value of the setting ``space.backbone``.

    Returns:
        True for names that end in ``.onnx``.
    """
    return name.lower().endswith(SUFFIX)


def check_onnx_backbone(path: Path) -> None:
    """Check that there is a file, and that it can be converted on this machine.

    Args:
        path: The file.

    Raises:
        ConfigError: There is no such file, or the converter cannot be imported.
    """
    if not path.is_file():
        raise ConfigError(f"The backbone {str(path)!r} must be an ONNX file that exists, but there is none.")
    _converter()


def adopt_onnx(path: Path, input_shape: tuple[int, int, int], *, max_taps: int, freeze: bool) -> AdoptedModel:
    """Make a backbone from an ONNX file with one input of images and one output of logits.

    Args:
        path: The file.
        input_shape: Shape of the images: channels, height, width.
        max_taps: The largest number of taps for early exits, >= 1.
        freeze: Whether training changes the exit branches only.

    Returns:
        The model as a backbone family with one member.

    Raises:
        ConfigError: The file cannot be read, or the converter cannot be imported.
        AdoptError: The file does not fit the data, or cannot be converted or cut; the message says why.
    """
    check_onnx_backbone(path)
    model = _read(path)
    name = _image_input(model, path, input_shape)
    images = torch.randn(_NUM_CHECKS, *input_shape, generator=torch.Generator().manual_seed(0))
    expected = _run_by_onnxruntime(model, path, name, images)
    _free_batch_(model)
    module = _converted(model, path)
    _check_same(module, path, images, expected)
    with warnings.catch_warnings():
        # The notes are in the report.
        warnings.simplefilter("ignore", UserWarning)
        adopted = adopt(module, images, name=path.stem, max_taps=max_taps, freeze=freeze)
    return replace(adopted, name=f"{PREFIX}{path.stem}", description=f"the ONNX file {path.name}")


def _converter() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("onnx2pytorch")
    # torchvision, which the converter imports, may fail in its own ways if it is made for another torch.
    except Exception as exc:
        raise ConfigError(
            f"An ONNX file as a backbone needs onnx2pytorch, which cannot be imported ({first_line(exc)}). Install it: "
            'pip install "offramp[onnx-backbone]". Its torchvision must be made for the installed torch.'
        ) from exc


def _read(path: Path) -> Any:
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
    # The reader of onnx has errors of several kinds.
    except Exception as exc:
        raise ConfigError(f"The backbone {str(path)!r} cannot be read as an ONNX file: {first_line(exc)}.") from exc
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise AdoptError(
            f"The backbone {str(path)!r} must hold its weights, but they are in other files. Save it as one file "
            "(onnx.save of onnx.load)."
        )
    quantised = sorted({node.op_type for node in model.graph.node if node.op_type in _QUANTISED})
    if quantised:
        raise AdoptError(
            f"The backbone {str(path)!r} must be in floating point, but it is quantised ({', '.join(quantised)}). Give "
            "the file from before quantisation; offramp trains networks for their bit widths (fine_tune.quantize)."
        )
    return model


def _image_input(model: Any, path: Path, input_shape: tuple[int, int, int]) -> str:
    """The name of the only input; its sizes must be those of the data."""
    constants = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise AdoptError(
            f"The backbone {str(path)!r} must have one input and one output, got {len(inputs)} and "
            f"{len(model.graph.output)}."
        )
    sizes = [dim.dim_value or None for dim in inputs[0].type.tensor_type.shape.dim]
    if len(sizes) != 4 or any(size not in (None, own) for size, own in zip(sizes[1:], input_shape, strict=True)):
        raise AdoptError(
            f"The backbone {str(path)!r} reads images of shape {tuple(sizes[1:])}, the data have {input_shape}. Set "
            "data.image_size, or export it for this size."
        )
    return str(inputs[0].name)


def _run_by_onnxruntime(model: Any, path: Path, name: str, images: Tensor) -> Tensor:
    """The answers of the file, one image at a time."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        rows = [session.run(None, {name: images[index : index + 1].numpy()})[0] for index in range(len(images))]
    # onnxruntime raises classes of its own.
    except Exception as exc:
        raise AdoptError(
            f"The backbone {str(path)!r} must run in onnxruntime on one image, but: {first_line(exc)}."
        ) from exc
    return torch.from_numpy(np.concatenate(rows))


def _free_batch_(model: Any) -> None:
    """Let a file for one image take any number: changes of shape copy the first axis in place of setting it to 1."""
    import onnx
    from onnx import numpy_helper

    for graph_input in model.graph.input:
        if len(graph_input.type.tensor_type.shape.dim) == 4:
            graph_input.type.tensor_type.shape.dim[0].dim_param = "batch"
    del model.graph.value_info[:]
    constants = {item.name: item for item in model.graph.initializer}
    made: list[onnx.TensorProto] = []
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape = numpy_helper.to_array(constants[node.input[1]]).copy()
        if len(shape) > 1 and shape[0] == 1:
            shape[0] = 0 if -1 in shape else -1
            name = f"{node.input[1]}_for_any_batch_{len(made)}"
            made.append(numpy_helper.from_array(shape, name))
            node.input[1] = name
    model.graph.initializer.extend(made)


def _converted(model: Any, path: Path) -> nn.Module:
    converter = _converter()
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = converter.ConvertModel(model, experimental=True)
    # The converter raises errors of several kinds for operators that it does not know.
    except Exception as exc:
        raise AdoptError(f"The backbone {str(path)!r} cannot be converted to torch: {first_line(exc)}.") from exc
    finally:
        logging.disable(previous)
    assert isinstance(module, nn.Module)
    return module.eval()


def _check_same(module: nn.Module, path: Path, images: Tensor, expected: Tensor) -> None:
    try:
        with torch.no_grad():
            found = module(images)
    # The converted code may raise anything.
    except Exception as exc:
        raise AdoptError(
            f"The backbone {str(path)!r} must take several images at once, but as a torch model it does not "
            f"({first_line(exc)}). Export it with a dynamic batch size."
        ) from exc
    scale = max(float(expected.abs().max()), 1.0)
    if found.shape != expected.shape or float((found - expected).abs().max()) > _TOLERANCE * scale:
        raise AdoptError(
            f"The backbone {str(path)!r} does not compute as a torch model what it computes in onnxruntime. Its "
            "operators cannot be converted faithfully; give the model in Python (offramp.adopt)."
        )
