"""Export of a network with its thresholds as a verified bundle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from offramp.cost.expected import expected_cost
from offramp.cost.report import CostReport
from offramp.data.sample_kinds import BYTE_KINDS, InputKind, dtype_of, sample_shape, scale_of
from offramp.data.sound.feature_settings import SoundFeatures
from offramp.data.sound.windows import LongSounds
from offramp.deploy.bundle.bundle_files import MANIFEST_FILE
from offramp.deploy.bundle.bundle_folder import checked_target, new_bundle, write_files
from offramp.deploy.bundle.check_inputs import NUM_CHECKS, checks_from
from offramp.deploy.bundle.described_exits import cost_origin, described_exits, stage_file
from offramp.deploy.bundle.licence import LICENCE_FILE, read_licence
from offramp.deploy.bundle.manifest import (
    EARLY_EXIT_FILE,
    MODEL_FILE,
    SCHEMA,
    SCHEMA_WITH_FLOATS,
    SCHEMA_WITH_LINKS,
    SCHEMA_WITH_RULE,
    Manifest,
    color_mode_of,
    manifest_text,
)
from offramp.deploy.bundle.manifest_records import BundleFile, Preprocessing, Verification
from offramp.deploy.bundle.verification import Agreement, network_logits, rounding_tolerance, verify_bundle
from offramp.deploy.onnx.finish_model import opset_of
from offramp.deploy.onnx.nested_if import early_exit_model
from offramp.deploy.onnx.stage_graphs import joined_model, stage_models
from offramp.deploy.runtime.graph_sessions import listed_file
from offramp.deploy.runtime.oldest_runtime import oldest_runtime
from offramp.errors import BundleError, ExportError, InputError
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.exits.exit_policy import ExitProfile
from offramp.exits.exit_rule import EXIT_RULES, ExitRule, RuleNotation
from offramp.nn.network import EarlyExitNetwork
from offramp.nn.quantization.quantize import is_prepared, narrowest_activation_bits

_FLOAT_TOLERANCE = 1e-4
_QUANTISED_STRAYS = 0.05


@dataclass(frozen=True)
class ExportRecord:
    """What was written, and how well it agrees with the network.

    Attributes:
        path: The folder of the bundle.
        num_compared: On how many inputs it was compared.
        agreement: How well it agrees.
        manifest: The manifest that was written.
    """

    path: Path
    num_compared: int
    agreement: Agreement
    manifest: Manifest

    @property
    def largest_difference(self) -> float:
        """Over all logits of all exits."""
        return self.agreement.largest_difference

    @property
    def decisions_equal(self) -> bool:
        """Whether every sample left where the network says; False only for samples that sit on a threshold."""
        return self.agreement.num_moved == 0


def export_bundle(
    network: EarlyExitNetwork,
    destination: Path,
    *,
    policy: ExitRule,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    checks: NDArray[np.float32],
    name: str,
    seed: int,
    cost: CostReport | None = None,
    profile: ExitProfile | None = None,
    test_accuracy: float | None = None,
    guarantee: Guarantee | None = None,
    licence: str | None = None,
    input_kind: InputKind = "pixels",
    long_sounds: LongSounds = "loudest",
    padded: bool = False,
    sound: SoundFeatures | None = None,
    overwrite: bool = False,
    tolerance: float | None = None,
) -> ExportRecord:
    """Write the network as stage graphs, the same joined into one file in two ways, and a manifest.

    ``model.onnx`` gives the logits of every exit; ``model_early_exit.onnx`` takes one sample and leaves early. All
    forms are compared with the network first, on ``checks`` and, where these are fewer, on disturbed copies of them,
    1,000 inputs in all; the manifest says how many there were of each.

    Args:
        network: The network, with or without quantisation.
        destination: The folder to write; one that is there is replaced only with ``overwrite``.
        policy: A registered exit rule, which all forms then follow.
        class_names: Names of the classes.
        mean: Mean per channel, of samples divided by their scale: pixels in 0..1 units, floats as they are.
        std: Standard deviation per channel, in the same units.
        checks: Normalised inputs, (samples, channels, height, width).
        name: Name of the network.
        seed: Seed of the run, also of the disturbances.
        cost: Costs of the exits; None for none.
        profile: What the rule did to validation samples; None for nothing.
        test_accuracy: Accuracy on test samples; None for none.
        guarantee: What was certified for the rule; None for nothing.
        licence: A name, or the path of a text file that goes along; see `read_licence`.
        input_kind: What the numbers of a sample are.
        long_sounds: Which part is taken of a sound that is longer than the window, as in training.
        padded: Whether series that are shorter than the input are taken, as in training.
        sound: How a window of a sound becomes a sample; None where files are no sounds, or those of ``mfcc``.
        overwrite: Whether a bundle that is there is replaced.
        tolerance: The share of the largest logit by which logits may differ. None for 1e-4 in floating point, or ten
            times as much as float32 differs from float64 where that is more (at most 1 %), since no file can agree
            better than the rounding of its network allows. For a network prepared for quantisation, None means one step
            of its narrowest activations (8 bits: 1/128), for 19 of 20 samples: a value halfway between two steps may be
            rounded to either.

    Returns:
        What was written, and how well it agrees.

    Raises:
        ExportError: If a file does not reproduce the network; nothing is written.
        InputError: If the parts do not fit together, or the folder cannot be written.
    """
    rule = _notation(policy, network.num_exits)
    given = _checked_inputs(network, checks)
    _check_sizes(network, rule, class_names, cost, profile)
    target = checked_target(destination, overwrite=overwrite)
    stated = read_licence(licence)
    graphs = _graphs(network, rule)
    contents = {file: model.SerializeToString(deterministic=True) for file, model in graphs.items()}
    if stated.content is not None:
        contents[LICENCE_FILE] = stated.content
    channels, height, width = network.input_shape
    opset = max(opset_of(model) for model in graphs.values())
    try:
        manifest = Manifest(
            name=name,
            architecture=network.architecture,
            input_shape=network.input_shape,
            class_names=tuple(class_names),
            preprocessing=Preprocessing(
                height,
                width,
                color_mode_of(channels, input_kind),
                tuple(mean),
                tuple(std),
                input_kind=input_kind,
                long_sounds=long_sounds,
                dtype=dtype_of(input_kind),
                scale=scale_of(dtype_of(input_kind)),
                shape=sample_shape(input_kind, network.input_shape),
                padded=padded,
                sound=sound,
            ),
            measure=rule.measure,
            exits=described_exits(network, rule, cost, profile),
            files=_listed(contents),
            seed=seed,
            opset=opset,
            oldest_runtime=oldest_runtime(opset),
            offramp_version=version("offramp"),
            created_by=_created_by(),
            licence=stated.statement,
            cost_origin=None if cost is None else cost_origin(cost),
            expected_cost=None if cost is None or profile is None else expected_cost(cost, profile.rates),
            validation_accuracy=None if profile is None else profile.top1,
            test_accuracy=test_accuracy,
            guarantee=guarantee,
            rule=rule.name,
            schema=_schema(network, rule, input_kind),
        )
    except ValueError as exc:
        raise InputError(f"The bundle cannot be described: {exc}.") from exc
    draft = _Draft(network, target, contents, manifest, rule.rule, checks_from(given, NUM_CHECKS, seed), len(given))
    return draft.write_verified(tolerance)


def _schema(network: EarlyExitNetwork, rule: RuleNotation, kind: InputKind) -> Literal[1, 2, 3, 4]:
    """The lowest version of the format whose readers run the bundle as it is meant."""
    if kind not in BYTE_KINDS:
        return SCHEMA_WITH_FLOATS
    if len(network.links) or rule.class_offsets:
        return SCHEMA_WITH_LINKS
    return SCHEMA if rule.name == "threshold" else SCHEMA_WITH_RULE


def _listed(contents: dict[str, bytes]) -> tuple[BundleFile, ...]:
    """Entries of all files; what no session would load must not be written."""
    try:
        return tuple(listed_file(name, content) for name, content in contents.items())
    except BundleError as exc:
        raise ExportError(f"The network cannot be written as a bundle that loads: {exc} Nothing was written.") from exc


def _graphs(network: EarlyExitNetwork, rule: RuleNotation) -> dict[str, Any]:
    """All ONNX models of the bundle by the names of their files."""
    stages = stage_models(network)
    return {
        **{stage_file(index): model for index, model in enumerate(stages)},
        MODEL_FILE: joined_model(stages),
        # What decides in the file is what a reader of the manifest makes of it.
        EARLY_EXIT_FILE: early_exit_model(stages, rule.rule, network.num_classes),
    }


@dataclass(frozen=True, eq=False)
class _Draft:
    """A bundle before it is compared with its network. The first ``num_given`` inputs are the caller's own."""

    network: EarlyExitNetwork
    target: Path
    contents: dict[str, bytes]
    manifest: Manifest
    policy: ExitRule
    inputs: NDArray[np.float32]
    num_given: int

    def write_verified(self, tolerance: float | None) -> ExportRecord:
        """Write and compare; without a tolerance, a float network gets as much as its own rounding needs."""
        if tolerance is not None:
            return self._write(tolerance)
        bits = narrowest_activation_bits(self.network)
        usual = _FLOAT_TOLERANCE if bits is None else 2.0 ** (1 - bits)
        try:
            return self._write(usual)
        except ExportError:
            wider = 0.0 if is_prepared(self.network) else rounding_tolerance(self.network, self.inputs)
            if wider <= usual:
                raise
            return self._write(wider)

    def _write(self, tolerance: float) -> ExportRecord:
        strays = _QUANTISED_STRAYS if is_prepared(self.network) else 0.0
        with new_bundle(self.target) as draft:
            write_files(draft, {**self.contents, MANIFEST_FILE: manifest_text(self.manifest).encode()})
            expected = network_logits(self.network, self.inputs)
            agreement = verify_bundle(draft, expected, self.inputs, self.policy, tolerance, strays)
            verification = Verification(
                num_inputs=len(self.inputs),
                num_from_data=self.num_given,
                tolerance=tolerance,
                stray_share=strays,
                largest_difference=agreement.largest_difference,
                num_strays=agreement.num_strays,
                num_on_threshold=agreement.num_on_threshold,
                num_moved=agreement.num_moved,
            )
            manifest = replace(self.manifest, verification=verification)
            write_files(draft, {MANIFEST_FILE: manifest_text(manifest).encode()})
        return ExportRecord(self.target, len(self.inputs), agreement, manifest)


def _checked_inputs(network: EarlyExitNetwork, checks: NDArray[np.float32]) -> NDArray[np.float32]:
    shape = tuple(network.input_shape)
    if checks.ndim != 4 or checks.shape[1:] != shape or not len(checks) or not np.issubdtype(checks.dtype, np.floating):
        raise InputError(
            f"`checks` must be normalised inputs of shape (N, {', '.join(map(str, shape))}) with N >= 1, "
            f"got {checks.dtype} of shape {checks.shape}."
        )
    inputs = np.ascontiguousarray(checks, dtype=np.float32)
    if not np.isfinite(inputs).all():
        raise InputError("`checks` must hold finite numbers, got NaN or infinity.")
    return inputs


def _notation(policy: ExitRule, num_exits: int) -> RuleNotation:
    if not isinstance(policy, ExitRule) or EXIT_RULES.get(policy.name) is not type(policy):
        raise InputError(
            f"A bundle's rule must be a registered exit rule ({', '.join(EXIT_RULES)}), got {type(policy).__name__}. "
            "Register the class in EXIT_RULES, or give the rule to EarlyExitSession(bundle, rule=...)."
        )
    return policy.notation(num_exits)


def _check_sizes(
    network: EarlyExitNetwork,
    rule: RuleNotation,
    class_names: Sequence[str],
    cost: CostReport | None,
    profile: ExitProfile | None,
) -> None:
    exits = network.num_exits
    wanted = [
        ("`class_names`", network.num_classes, len(class_names)),
        ("`policy.thresholds`, one per early exit,", exits - 1, len(rule.thresholds)),
        ("`network.architecture.exits`, the early exits,", exits - 1, len(network.architecture.exits)),
        ("`cost.stages`", exits, exits if cost is None else len(cost.stages)),
        ("`profile.rates`", exits, exits if profile is None else len(profile.rates)),
    ]
    faults = [f"{what} must have {right} entries, got {given}" for what, right, given in wanted if right != given]
    faults += [f"thresholds must be numbers, got {t}" for t in rule.thresholds if math.isnan(t)]
    if faults:
        raise InputError(f"The bundle's parts must fit the network: {'; '.join(faults)}.")


def _created_by() -> str:
    packages = ("offramp", "torch", "onnxscript", "onnx", "onnxruntime")
    return ", ".join(f"{package} {version(package)}" for package in packages)
