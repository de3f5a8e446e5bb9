"""Backbones from timm by name: they are built, get weights from a file, and are adopted."""

import importlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from offramp.errors import AdoptError, ConfigError, UnknownNameError
from offramp.nn.adoption.adopt import DEFAULT_MAX_TAPS, adopt
from offramp.nn.adoption.adopted_model import AdoptedModel
from offramp.nn.adoption.tracing import first_line
from offramp.registry import unknown_name_message

PREFIX = "timm:"


@dataclass(frozen=True)
class TimmSettings:
    """Settings of a backbone from timm.

    Attributes:
        name: Name of the timm model, without the prefix `timm:`.
        weights: Path of a safetensors file; None: all weights are random.
        freeze: Whether training changes the exit branches only.
        max_taps: The largest number of taps for early exits, >= 1.
        seed: Seed of the weights that come from no file.
    """

    name: str
    weights: str | None = None
    freeze: bool = False
    max_taps: int = DEFAULT_MAX_TAPS
    seed: int = 0


def adopt_timm(settings: TimmSettings, input_shape: tuple[int, int, int], num_classes: int) -> AdoptedModel:
    """Build a timm model and adopt it; nothing is downloaded.

    From a weights file for another number of classes, all weights but those of the classifier are used.

    Args:
        settings: Settings of the backbone.
        input_shape: Shape of an image: channels, height, width.
        num_classes: Number of logits.

    Returns:
        The model as a backbone family with one member.

    Raises:
        UnknownNameError: timm has no model of that name.
        ConfigError: timm cannot be imported, or the weights do not fit the model.
        AdoptError: timm cannot build the model for such images, or the model cannot be cut.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        module = _created(settings.name, input_shape, num_classes)
    if settings.weights is not None:
        _load(module, Path(settings.weights))
    example = torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(settings.seed))
    adopted = adopt(module, example, name=settings.name, max_taps=settings.max_taps, freeze=settings.freeze)
    return AdoptedModel(
        name=f"{PREFIX}{settings.name}",
        description=f"{settings.name} of timm",
        pieces=adopted.pieces,
        taps=adopted.taps,
        input_shape=adopted.input_shape,
        num_classes=adopted.num_classes,
        frozen=adopted.frozen,
        fingerprint=adopted.fingerprint,
        notes=adopted.notes,
    )


def check_timm(name: str) -> None:
    """Check that timm has a model.

    Args:
        name: Name of the model, without the prefix `timm:`.

    Raises:
        UnknownNameError: timm has no model of that name.
        ConfigError: timm cannot be imported.
    """
    timm = _timm()
    if not timm.is_model(name):
        raise UnknownNameError(unknown_name_message("timm model", name, _near(timm, name)))


def _near(timm: Any, name: str) -> list[str]:
    """Up to eight names to suggest, of the same family if there are any."""
    known = list(timm.list_models())
    family = [other for other in known if other.split("_")[0] == name.split("_")[0]]
    return (family or known)[:8]


def _timm() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("timm")
    except ImportError as exc:
        raise ConfigError(
            f"Backbones that begin with {PREFIX!r} need timm, which cannot be imported ({exc}). "
            'Install it: pip install "offramp[timm]".'
        ) from exc
    except RuntimeError as exc:
        raise ConfigError(
            f"timm cannot be imported: {first_line(exc)}. Its torchvision must be made for the installed torch; for a "
            "CPU-only one: pip install torchvision --index-url https://download.pytorch.org/whl/cpu"
        ) from exc


def _created(name: str, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    check_timm(name)
    channels, height, width = input_shape
    create = _timm().create_model
    try:
        try:
            module = create(
                name, pretrained=False, num_classes=num_classes, in_chans=channels, img_size=(height, width)
            )
        except TypeError:  # convolutional networks have no image size
            module = create(name, pretrained=False, num_classes=num_classes, in_chans=channels)
    # timm's own code builds the model and may raise anything.
    except Exception as exc:
        raise AdoptError(
            f"timm cannot build {name!r} for images of shape {input_shape}: {first_line(exc)}. Try another "
            "data.image_size."
        ) from exc
    assert isinstance(module, nn.Module)
    return module


def _load(module: nn.Module, path: Path) -> None:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as exc:
        raise ConfigError(f"Weights {str(path)!r} must be a safetensors file that can be read, but: {exc}.") from exc
    own = module.state_dict()
    head = _classifier_names(module)
    wrong = sorted(own.keys() ^ tensors.keys())
    wrong += [key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape]
    wrong = [key for key in wrong if not key.startswith(head)]
    if wrong:
        raise ConfigError(
            f"Weights {str(path)!r} do not fit the model: {len(wrong)} tensors differ in name or shape, the first is "
            f"{wrong[0]!r}. They must be of the same model, with the channels and image size of the data."
        )
    fitting = {key: value for key, value in tensors.items() if key in own and own[key].shape == value.shape}
    module.load_state_dict(fitting, strict=False)


def _classifier_names(module: nn.Module) -> tuple[str, ...]:
    settings = getattr(module, "default_cfg", None) or {}
    names = settings.get("classifier") or ()
    return tuple(f"{name}." for name in ((names,) if isinstance(names, str) else names))
