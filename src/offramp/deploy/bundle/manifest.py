"""Manifest: everything a runtime must know to use an exported bundle, as one JSON file beside the graphs."""

import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from offramp.cost.expected import ExpectedCost
from offramp.data.sample_kinds import BYTE_KINDS, InputKind, dtype_of, sample_shape, scale_of
from offramp.deploy.bundle.bundle_files import MANIFEST_FILE, BundleFiles, open_files
from offramp.deploy.bundle.licence import NOT_STATED
from offramp.deploy.bundle.manifest_records import (
    BundleExit,
    BundleFile,
    ColorMode,
    CostOrigin,
    Preprocessing,
    Verification,
)
from offramp.deploy.runtime.oldest_runtime import is_version
from offramp.errors import BundleError
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.exits.calibration.class_offsets import LARGEST_OFFSET
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_policy import is_temperature
from offramp.exits.exit_rule import EXIT_RULES, ExitRule, RuleNotation
from offramp.jsonio import check_finite, check_integers, from_data, shortened, to_data
from offramp.space.architecture import Architecture

FORMAT: Final = "offramp-bundle"
# Readers of schema 1 know thresholds on confidences alone: what they would misread is of schema 2. Readers of schema 2
# know stages that read features alone and thresholds for all classes: others are of schema 3. Readers of schema 3 know
# samples of bytes.
SCHEMA: Final = 1
SCHEMA_WITH_RULE: Final = 2
SCHEMA_WITH_LINKS: Final = 3
SCHEMA_WITH_FLOATS: Final = 4
NEWEST_SCHEMA: Final = 4
MODEL_FILE = "model.onnx"
EARLY_EXIT_FILE = "model_early_exit.onnx"

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_MANIFEST_BYTES = 16 * 2**20
_MAX_FILE_BYTES = 2**31 - 1
_MAX_INPUT_VALUES = 2**26


@dataclass(frozen=True)
class Manifest:
    """The contents of ``manifest.json``; checks itself when built.

    Attributes:
        name: Name of the network.
        architecture: The architecture.
        input_shape: Shape of one normalised float32 sample: channels, height, width.
        class_names: Names of the classes.
        preprocessing: From pixels to network input.
        measure: The confidence measure.
        exits: The exits, the final one last.
        files: All other files of the bundle.
        seed: Seed of the run.
        opset: Version of the ONNX operators.
        offramp_version: The version of offramp that wrote the bundle.
        created_by: The versions of all packages that took part.
        licence: What is stated about the licence; None in older bundles.
        cost_origin: Who priced the costs; None where there are none.
        expected_cost: Mean cost at the validation rates; None where it is not known.
        validation_accuracy: Accuracy on validation samples; None where it is not known.
        test_accuracy: Accuracy on test samples; None where it is not known.
        guarantee: What is promised for the thresholds; None for nothing.
        verification: How the files were verified; None in older bundles.
        format: What the file is.
        schema: Version of the format: 2 where a reader must know exit rules by name, 3 where stages read the logits of
            the exit before, or thresholds differ by predicted class, 4 where samples are floats.
        rule: Name of the exit rule whose thresholds the exits have, see `RuleNotation`.
        oldest_runtime: The oldest version of onnxruntime that runs the files; None in older bundles.
    """

    name: str
    architecture: Architecture
    input_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    measure: Measure
    exits: tuple[BundleExit, ...]
    files: tuple[BundleFile, ...]
    seed: int
    opset: int
    offramp_version: str
    created_by: str
    licence: str | None = NOT_STATED
    cost_origin: CostOrigin | None = None
    expected_cost: ExpectedCost | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    guarantee: Guarantee | None = None
    verification: Verification | None = None
    format: Literal["offramp-bundle"] = FORMAT
    schema: Literal[1, 2, 3, 4] = SCHEMA
    rule: str = "threshold"
    oldest_runtime: str | None = None

    def __post_init__(self) -> None:
        faults = [
            *_input_faults(self),
            *_exit_faults(self),
            *_rule_faults(self),
            *_cost_faults(self),
            *_file_faults(self),
            *_share_faults(self),
        ]
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def rule_notation(self) -> RuleNotation:
        """The exit rule as the manifest states it."""
        temperatures = tuple(e.temperature for e in self.exits)
        return RuleNotation(
            self.rule,
            self.measure,
            tuple(e.threshold for e in self.exits if e.threshold is not None),
            () if set(temperatures) == {1.0} else temperatures,
            tuple(e.class_offsets for e in self.exits[:-1]) if self.exits[0].class_offsets else (),
        )

    @property
    def policy(self) -> ExitRule:
        """The exit rule that decides where a sample leaves."""
        return self.rule_notation.rule


def _input_faults(manifest: Manifest) -> Iterator[str]:
    channels, height, width = manifest.input_shape
    preprocessing = manifest.preprocessing
    if min(manifest.input_shape) < 1 or math.prod(manifest.input_shape) > _MAX_INPUT_VALUES:
        yield f"`input_shape` must have sizes >= 1 and at most {_MAX_INPUT_VALUES} values, got {manifest.input_shape}"
    if (preprocessing.height, preprocessing.width) != (height, width):
        yield f"`preprocessing` must make images of {height}x{width}, not {preprocessing.height}x{preprocessing.width}"
    yield from _kind_faults(manifest)
    for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
        if len(values) != channels or not all(math.isfinite(value) for value in values):
            yield f"`{name}` must have one finite number per channel ({channels}), got {values}"
    if any(value <= 0 for value in preprocessing.std):
        yield f"`std` must be > 0, got {preprocessing.std}"
    if not manifest.class_names:
        yield "`class_names` must not be empty"
    if manifest.opset < 1:
        yield f"`opset` must be >= 1, got {manifest.opset}"
    if manifest.oldest_runtime is not None and not is_version(manifest.oldest_runtime):
        yield f"`oldest_runtime` must be a version such as 1.23.0, got {shortened(repr(manifest.oldest_runtime))}"


def _kind_faults(manifest: Manifest) -> Iterator[str]:
    preprocessing, channels = manifest.preprocessing, manifest.input_shape[0]
    kind = preprocessing.input_kind
    if preprocessing.color_mode != color_mode_of(channels, kind):
        yield f"`color_mode` must fit {channels} channel(s) of {kind}, got {preprocessing.color_mode!r}"
    if preprocessing.dtype != dtype_of(kind) or preprocessing.scale != scale_of(dtype_of(kind)):
        yield (
            f"`dtype` and `scale` of {kind} must be {dtype_of(kind)} and {scale_of(dtype_of(kind)):g}, "
            f"got {preprocessing.dtype} and {preprocessing.scale:g}"
        )
    try:
        shape = sample_shape(kind, manifest.input_shape)
    except ValueError as exc:
        yield f"`input_shape` does not fit: {str(exc).rstrip('.')}"
        return
    if preprocessing.shape != shape and (preprocessing.shape or kind not in BYTE_KINDS):
        yield f"`shape` of {kind} must be {shape}, got {preprocessing.shape}"
    sound = preprocessing.sound
    if sound is not None and (sound.kind == "raw") != (kind == "series"):
        yield f"{sound.kind} features of sounds are no {kind}"
    if sound is not None and sound.shape != manifest.input_shape:
        yield f"features of sounds must have the shape of the input {manifest.input_shape}, got {sound.shape}"
    if preprocessing.padded and kind != "series":
        yield f"only series may be `padded`, got {kind}"
    if kind not in BYTE_KINDS and manifest.schema < SCHEMA_WITH_FLOATS:
        yield f"samples of floats ({kind}) need schema {SCHEMA_WITH_FLOATS}, got {manifest.schema}"


def _exit_faults(manifest: Manifest) -> Iterator[str]:
    if not manifest.exits:
        yield "`exits` must not be empty"
        return
    early = manifest.exits[:-1]
    if [e.index for e in manifest.exits] != list(range(len(manifest.exits))):
        yield f"`exits` must be numbered from 0 in order, got {[e.index for e in manifest.exits]}"
    if len({e.file for e in manifest.exits}) != len(manifest.exits):
        yield "every exit must have a stage file of its own"
    for e in early:
        if e.threshold is None or not math.isfinite(e.threshold):
            yield f"exit {e.index} must have a finite threshold, got {e.threshold}"
    for e in manifest.exits:
        if not is_temperature(e.temperature):
            yield f"exit {e.index} must have a temperature from 1e-6 to 1e6, got {e.temperature}"
    yield from _schema_3_faults(manifest)
    last = manifest.exits[-1]
    if last.threshold is not None or last.tap is not None:
        yield "the final exit must have neither a threshold nor a tap"
    chosen = [(choice.tap, choice.branch) for choice in manifest.architecture.exits]
    if chosen != [(e.tap, e.branch) for e in early] or last.branch != manifest.architecture.classifier_branch:
        yield "`exits` must be those of `architecture`"


def _schema_3_faults(manifest: Manifest) -> Iterator[str]:
    if manifest.exits[0].reads_logits:
        yield "exit 0 must not read the logits of an exit before it, since there is none"
    offsets = [e.class_offsets for e in manifest.exits[:-1] if e.class_offsets]
    if offsets and [len(row) for row in offsets] != [len(manifest.class_names)] * (len(manifest.exits) - 1):
        yield f"`class_offsets` must be none or one per class ({len(manifest.class_names)}) for each early exit"
    if not all(abs(value) <= LARGEST_OFFSET for row in offsets for value in row):
        yield f"`class_offsets` must be from -{LARGEST_OFFSET} to {LARGEST_OFFSET}"
    if manifest.exits[-1].class_offsets:
        yield "the final exit must have no `class_offsets`"
    needs = offsets or any(e.reads_logits for e in manifest.exits)
    if needs and manifest.schema < SCHEMA_WITH_LINKS:
        yield (
            "exits that read the logits of the exit before, or have offsets per class, need schema "
            f"{SCHEMA_WITH_LINKS} or later, got {manifest.schema}"
        )


def _rule_faults(manifest: Manifest) -> Iterator[str]:
    if manifest.rule not in EXIT_RULES:
        yield (
            f"`rule` {manifest.rule!r} must be a registered exit rule ({', '.join(EXIT_RULES)}); "
            "a rule of another package needs that package to be installed"
        )
        return
    if manifest.rule != "threshold" and manifest.schema < SCHEMA_WITH_RULE:
        yield f"`rule` {manifest.rule!r} needs schema {SCHEMA_WITH_RULE} or later, got {manifest.schema}"
    if manifest.exits and all(e.threshold is not None and math.isfinite(e.threshold) for e in manifest.exits[:-1]):
        yield from EXIT_RULES.get(manifest.rule).faults(manifest.rule_notation, len(manifest.exits))


def _cost_faults(manifest: Manifest) -> Iterator[str]:
    costs = [e.cost for e in manifest.exits if e.cost is not None]
    if costs and (len(costs) != len(manifest.exits) or manifest.cost_origin is None):
        yield "either all exits have a cost and `cost_origin` says whose it is, or none has"
        return
    for name in ("latency_cycles", "energy_pj", "macs"):
        values = [0.0, *(float(getattr(cost, name)) for cost in costs)]
        if not all(math.isfinite(v) for v in values) or any(b < a for a, b in itertools.pairwise(values)):
            yield f"`{name}` must be finite and must not fall from one exit to the next, got {values[1:]}"
    if manifest.expected_cost is not None and not all(
        math.isfinite(value) and value >= 0 for value in vars(manifest.expected_cost).values()
    ):
        yield "`expected_cost` must be finite and >= 0"


def _file_faults(manifest: Manifest) -> Iterator[str]:
    names = [file.name for file in manifest.files]
    yield from listing_faults(manifest.files)
    for name in (MODEL_FILE, *(e.file for e in manifest.exits)):
        if name not in names:
            yield f"`files` must list {name!r}"


def listing_faults(files: Sequence[BundleFile]) -> Iterator[str]:
    """Say what is wrong with the names, checksums and sizes of a list of files.

    Args:
        files: The files.

    Yields:
        A clause for each fault.
    """
    names = [file.name for file in files]
    if len({name.lower() for name in names}) != len(names):
        yield f"`files` must have different names, got {names}"
    for file in files:
        if not _PLAIN_NAME.fullmatch(file.name) or file.name == MANIFEST_FILE:
            yield f"file name {file.name!r} must be plain: letters, digits, '_', '-', '.', and no folder"
        if not _SHA256.fullmatch(file.sha256):
            yield f"`sha256` of {file.name!r} must be 64 hexadecimal digits"
        if not 1 <= file.size_bytes <= _MAX_FILE_BYTES:
            yield f"`size_bytes` of {file.name!r} must be from 1 to {_MAX_FILE_BYTES}, got {file.size_bytes}"


def _share_faults(manifest: Manifest) -> Iterator[str]:
    rates = [e.validation_rate for e in manifest.exits if e.validation_rate is not None]
    if rates and len(rates) != len(manifest.exits):
        yield "either all exits have a validation rate or none has"
    shares = [*rates, *(a for a in (manifest.validation_accuracy, manifest.test_accuracy) if a is not None)]
    if not all(0.0 <= share <= 1.0 for share in shares):
        yield f"rates and accuracies must be shares from 0 to 1, got {shares}"
    if rates and not abs(sum(rates) - 1.0) <= 1e-6:
        yield f"validation rates must sum to 1, got {rates}"


def color_mode_of(channels: int, kind: InputKind = "pixels") -> ColorMode | None:
    """Say how an image file's pixels become channels.

    Args:
        channels: How many channels.
        kind: What the numbers of a sample are.

    Returns:
        The mode of Pillow; None where there is none.
    """
    if kind not in BYTE_KINDS:
        return None
    return {1: "L", 3: "RGB"}.get(channels)  # type: ignore[return-value]


def manifest_text(manifest: Manifest) -> str:
    """Write the manifest as JSON; the same manifest always gives the same text.

    Args:
        manifest: The manifest.

    Returns:
        The text.
    """
    return json.dumps(to_data(manifest), indent=1, allow_nan=False) + "\n"


def parse_manifest(text: str | bytes, *, what: str = MANIFEST_FILE) -> Manifest:
    """Read a manifest.

    Args:
        text: JSON text.
        what: What it is, for messages.

    Returns:
        The manifest.

    Raises:
        BundleError: If it has faults; the message names every one.
    """
    try:
        # Not only syntax errors: a number of thousands of digits is a plain ValueError.
        data = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise BundleError(f"{what} must be JSON text, but it cannot be read: {exc}") from exc
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BundleError(f'{what} must be the manifest of an offramp bundle ("format": "{FORMAT}"), but it is not.')
    if data.get("schema") not in range(SCHEMA, NEWEST_SCHEMA + 1):
        raise BundleError(
            f"{what} has schema {shortened(repr(data.get('schema')))}; this offramp reads schemas {SCHEMA} to "
            f"{NEWEST_SCHEMA}. "
            "Use the offramp version that wrote the bundle, or export it again."
        )
    check_integers(data, what=what, error=BundleError)
    manifest = from_data(Manifest, data, what=what, error=BundleError)
    check_finite(data, what=what, error=BundleError)
    return manifest


def load_manifest(bundle: Path | BundleFiles) -> Manifest:
    """Read the manifest of a bundle; its other files are not looked at.

    Args:
        bundle: A folder, a .zip of one, or its opened files.

    Returns:
        The manifest.

    Raises:
        BundleError: If there is none, or it has faults.
    """
    files = open_files(bundle) if isinstance(bundle, Path) else bundle
    return parse_manifest(files.read(MANIFEST_FILE, _MAX_MANIFEST_BYTES), what=files.where(MANIFEST_FILE))
