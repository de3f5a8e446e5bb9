"""The records that a manifest is made of."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from offramp.cost.report import Convention
from offramp.data.sample_kinds import BYTE_SCALE, InputKind, SampleDtype
from offramp.data.sound.feature_settings import SoundFeatures
from offramp.data.sound.windows import LongSounds
from offramp.deploy.graph_rules.graph_demand import GraphDemand

ColorMode = Literal["L", "RGB"]


@dataclass(frozen=True)
class Preprocessing:
    """From a sample to network input: resize an image, divide by ``scale``, subtract ``mean``, divide by ``std``.

    Attributes:
        height: Height of the input.
        width: Width of the input.
        color_mode: How an image file becomes pixels; None where the input is no image, or has neither one nor three
            channels: then only arrays can be given.
        mean: Mean per channel, of values divided by ``scale``.
        std: Standard deviation per channel, of values divided by ``scale``, > 0.
        resize: How images are resized.
        input_kind: What the numbers of a sample are; where they are ``mfcc``, files are sounds.
        long_sounds: Which part is taken of a sound that is longer than the window.
        dtype: Type of a sample before it is normalised.
        scale: What a sample is divided by first: 255 for bytes, 1 for floats.
        shape: Shape of a sample: that of the network's input, (channels, time) of a series or (features,) of a vector;
            empty in older bundles, which read images.
        padded: Whether series that are shorter than the input are taken; they end with ``mean``.
        sound: How a window of a sound becomes a sample; None where files are no sounds, or those of ``mfcc``.
    """

    height: int
    width: int
    color_mode: ColorMode | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Literal["bilinear"] = "bilinear"
    input_kind: InputKind = "pixels"
    long_sounds: LongSounds = "start"
    dtype: SampleDtype = "uint8"
    scale: float = BYTE_SCALE
    shape: tuple[int, ...] = ()
    padded: bool = False
    sound: SoundFeatures | None = None


@dataclass(frozen=True)
class ExitCost:
    """What a sample that leaves at an exit has spent since the input, every branch on the way charged.

    Attributes:
        latency_cycles: Cycles.
        energy_pj: Energy in pJ.
        macs: Multiply-accumulates.
    """

    latency_cycles: float
    energy_pj: float
    macs: int


@dataclass(frozen=True)
class CostOrigin:
    """Who priced the costs, by which rules and for which accelerator.

    Attributes:
        engine: The cost engine.
        engine_version: Its version.
        convention: The rules by which it counts.
        accelerator: The accelerator.
    """

    engine: str
    engine_version: str
    convention: Convention
    accelerator: str


@dataclass(frozen=True)
class BundleExit:
    """One exit and the stage graph that computes it.

    Attributes:
        index: Index of the exit, from 0.
        tap: The tap it sits at; None for the final classifier.
        branch: The type of its branch.
        file: The file of its stage graph.
        threshold: The threshold of its score; None for the final classifier.
        validation_rate: The share of validation samples that left there; None where that is not known.
        cost: What a sample costs that leaves there; None where that is not known.
        temperature: What its logits are divided by before a confidence is taken.
        class_offsets: What is added to its score for each predicted class; empty for 0. A threshold t is thus
            t - offset for a class.
        reads_logits: Whether its stage graph also reads the logits of the exit before; see `offramp.nn.exit_link`.
    """

    index: int
    tap: int | None
    branch: str
    file: str
    threshold: float | None
    validation_rate: float | None = None
    cost: ExitCost | None = None
    temperature: float = 1.0
    reads_logits: bool = False
    class_offsets: tuple[float, ...] = ()


@dataclass(frozen=True)
class BundleFile:
    """A file of the bundle.

    Attributes:
        name: Its plain name inside the folder.
        sha256: Its checksum, 64 hexadecimal digits.
        size_bytes: Its size.
        graph: What its graph takes; None for other files, and in older bundles.
    """

    name: str
    sha256: str
    size_bytes: int
    graph: GraphDemand | None = None

    @classmethod
    def of(cls, name: str, content: bytes, graph: GraphDemand | None = None) -> "BundleFile":
        """Make the entry of a file.

        Args:
            name: Its name.
            content: Its content.
            graph: What its graph takes; None for other files.

        Returns:
            The entry.
        """
        return cls(name, hashlib.sha256(content).hexdigest(), len(content), graph)


@dataclass(frozen=True)
class Verification:
    """On what all files were compared with the network before the bundle was written, and how well they agreed.

    Attributes:
        num_inputs: The number of inputs.
        num_from_data: How many of them were given; the others are disturbed copies of those.
        tolerance: The share of the largest logit of an exit by which logits may differ.
        stray_share: The share of inputs that may differ by more.
        largest_difference: The largest difference of two logits.
        num_strays: Inputs that differ by more than the tolerance.
        num_on_threshold: Inputs whose score lies so near a threshold that the difference decides.
        num_moved: Inputs that left elsewhere than in the network, all of them on a threshold.
    """

    num_inputs: int
    num_from_data: int
    tolerance: float
    stray_share: float
    largest_difference: float
    num_strays: int
    num_on_threshold: int
    num_moved: int
