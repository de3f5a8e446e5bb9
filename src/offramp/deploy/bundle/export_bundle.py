"""Export of a network with its thresholds as a verified bundle."""

import math
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offramp.cost.expected import expected_cost
from offramp.cost.report import CostReport, StageCost
from offramp.data.sound.sound_features import InputKind
from offramp.deploy.bundle.bundle_files import MANIFEST_FILE
from offramp.deploy.bundle.check_inputs import NUM_CHECKS, checks_from
from offramp.deploy.bundle.licence import LICENCE_FILE, read_licence
from offramp.deploy.bundle.manifest import (
    EARLY_EXIT_FILE,
    MODEL_FILE,
    SCHEMA,
    SCHEMA_WITH_RULE,
    Manifest,
    color_mode_of,
    manifest_text,
)
from offramp.deploy.bundle.manifest_records import (
    BundleExit,
    BundleFile,
    CostOrigin,
    ExitCost,
    Preprocessing,
    Verification,
)
from offramp.deploy.bundle.verification import Agreement, network_logits, rounding_tolerance, verify_bundle
from offramp.deploy.onnx.nested_if import early_exit_model
from offramp.deploy.onnx.stage_graphs import joined_model, opset_of, stage_models
from offramp.errors import ExportError, InputError
from offramp.exits.accuracy_guarantee import Guarantee
from offramp.exits.exit_policy import ExitProfile
from offramp.exits.exit_rule import EXIT_RULES, ExitRule, RuleNotation
from offramp.jsonio import sync_folder, write_atomically
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
        mean: Mean per channel, in 0..1 units.
        std: Standard deviation per channel, in 0..1 units.
        checks: Normalised inputs, (samples, channels, height, width).
        name: Name of the network.
        seed: Seed of the run, also of the disturbances.
        cost: Costs of the exits; None for none.
        profile: What the rule did to validation samples; None for nothing.
        test_accuracy: Accuracy on test samples; None for none.
        guarantee: What was certified for the rule; None for nothing.
        licence: A name, or the path of a text file that goes along; see `read_licence`.
        input_kind: What the pixels are.
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
    # Written and compared is what a reader of the manifest makes of it.
    policy = rule.rule
    rounds = tolerance is None and not is_prepared(network)
    tolerance = _tolerance(network) if tolerance is None else tolerance
    given = _checked_inputs(network, checks)
    inputs = checks_from(given, NUM_CHECKS, seed)
    _check_sizes(network, rule, class_names, cost, profile)
    target = _checked_target(destination, overwrite=overwrite)
    stated = read_licence(licence)
    stages = stage_models(network)
    models: dict[str, Any] = {_stage_file(index): model for index, model in enumerate(stages)}
    models[MODEL_FILE] = joined_model(stages)
    models[EARLY_EXIT_FILE] = early_exit_model(stages, policy, network.num_classes)
    contents = {file: model.SerializeToString(deterministic=True) for file, model in models.items()}
    if stated.content is not None:
        contents[LICENCE_FILE] = stated.content
    channels, height, width = network.input_shape
    try:
        manifest = Manifest(
            name=name,
            architecture=network.architecture,
            input_shape=network.input_shape,
            class_names=tuple(class_names),
            preprocessing=Preprocessing(
                height, width, color_mode_of(channels), tuple(mean), tuple(std), input_kind=input_kind
            ),
            measure=rule.measure,
            exits=_exits(network, rule, cost, profile),
            files=tuple(BundleFile.of(file, content) for file, content in contents.items()),
            seed=seed,
            opset=opset_of(stages[0]),
            offramp_version=version("offramp"),
            created_by=_created_by(),
            licence=stated.statement,
            cost_origin=None if cost is None else _origin(cost),
            expected_cost=None if cost is None or profile is None else expected_cost(cost, profile.rates),
            validation_accuracy=None if profile is None else profile.top1,
            test_accuracy=test_accuracy,
            guarantee=guarantee,
            rule=rule.name,
            schema=SCHEMA if rule.name == "threshold" else SCHEMA_WITH_RULE,
        )
    except ValueError as exc:
        raise InputError(f"The bundle cannot be described: {exc}.") from exc
    compared = _Checks(inputs, len(given), policy, tolerance)
    try:
        verified = _write_verified(network, target, contents, manifest, compared)
    except ExportError:
        wider = rounding_tolerance(network, inputs) if rounds else 0.0
        if wider <= tolerance:
            raise
        verified = _write_verified(network, target, contents, manifest, replace(compared, tolerance=wider))
    return ExportRecord(target, len(inputs), verified.agreement, verified.manifest)


@dataclass(frozen=True, eq=False)
class _Checks:
    """What the files are compared on; the first ``num_given`` inputs are the caller's own."""

    inputs: NDArray[np.float32]
    num_given: int
    policy: ExitRule
    tolerance: float


@dataclass(frozen=True, eq=False)
class _Verified:
    agreement: Agreement
    manifest: Manifest


def _write_verified(
    network: EarlyExitNetwork, target: Path, contents: dict[str, bytes], manifest: Manifest, checks: _Checks
) -> _Verified:
    """Write beside the target, compare, and only then give the folder its name."""
    draft = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    inputs, tolerance = checks.inputs, checks.tolerance
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.mkdir()
            for file, content in {**contents, MANIFEST_FILE: manifest_text(manifest).encode()}.items():
                write_atomically(draft / file, content)
        except OSError as exc:
            raise InputError(f"A bundle cannot be written to {str(target)!r}: {exc.strerror or exc}.") from exc
        strays = _QUANTISED_STRAYS if is_prepared(network) else 0.0
        agreement = verify_bundle(draft, network_logits(network, inputs), inputs, checks.policy, tolerance, strays)
        manifest = replace(manifest, verification=_verification(agreement, checks, strays))
        write_atomically(draft / MANIFEST_FILE, manifest_text(manifest))
        _put_in_place(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _Verified(agreement, manifest)


def _verification(agreement: Agreement, checks: _Checks, strays: float) -> Verification:
    return Verification(
        num_inputs=len(checks.inputs),
        num_from_data=checks.num_given,
        tolerance=checks.tolerance,
        stray_share=strays,
        largest_difference=agreement.largest_difference,
        num_strays=agreement.num_strays,
        num_on_threshold=agreement.num_on_threshold,
        num_moved=agreement.num_moved,
    )


def _tolerance(network: EarlyExitNetwork) -> float:
    bits = narrowest_activation_bits(network)
    return _FLOAT_TOLERANCE if bits is None else 2.0 ** (1 - bits)


def _put_in_place(draft: Path, target: Path) -> None:
    if not target.exists():
        draft.rename(target)
        sync_folder(target.parent)
        return
    old = draft.with_suffix(".old")
    target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        old.rename(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


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


def _checked_target(destination: Path, *, overwrite: bool) -> Path:
    """Where the bundle goes; what lies there is only ever replaced if it is a bundle (or an empty folder)."""
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise InputError(f"A bundle is a folder; {str(destination)!r} is something else. Give another path.")
    target = Path(destination).resolve()
    if target.is_dir() and any(target.iterdir()):
        if not (target / MANIFEST_FILE).is_file():
            raise InputError(f"{str(destination)!r} holds other files than a bundle. Give the path of a new folder.")
        if not overwrite:
            raise InputError(f"{str(destination)!r} is a bundle already. Allow overwriting or give another path.")
    return target


def _exits(
    network: EarlyExitNetwork, rule: RuleNotation, cost: CostReport | None, profile: ExitProfile | None
) -> tuple[BundleExit, ...]:
    architecture = network.architecture
    taps = [*(choice.tap for choice in architecture.exits), None]
    branches = [*(choice.branch for choice in architecture.exits), architecture.final_branch]
    thresholds = [*rule.thresholds, None]
    result = []
    for index, (tap, branch, threshold) in enumerate(zip(taps, branches, thresholds, strict=True)):
        result.append(
            BundleExit(
                index=index,
                tap=tap,
                branch=branch,
                file=_stage_file(index),
                threshold=threshold,
                temperature=rule.temperature(index),
                validation_rate=None if profile is None else profile.rates[index],
                cost=None if cost is None else _exit_cost(cost.stages[index]),
            )
        )
    return tuple(result)


def _exit_cost(stage: StageCost) -> ExitCost:
    return ExitCost(stage.latency_to_exit_cycles, stage.energy_to_exit_pj, stage.macs_to_exit)


def _origin(cost: CostReport) -> CostOrigin:
    return CostOrigin(cost.engine, cost.engine_version, cost.convention, cost.accelerator)


def _stage_file(index: int) -> str:
    return f"stage_{index}.onnx"


def _created_by() -> str:
    packages = ("offramp", "torch", "onnxscript", "onnx", "onnxruntime")
    return ", ".join(f"{package} {version(package)}" for package in packages)
