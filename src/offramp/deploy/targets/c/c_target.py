"""A bundle as C99 for microcontrollers: integers alone, leaving early, one arena."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from offramp.deploy.bundle.bundle_files import open_files
from offramp.deploy.bundle.licence import LICENCE_FILE
from offramp.deploy.bundle.manifest import Manifest, load_manifest
from offramp.deploy.runtime.graph_sessions import checked_content
from offramp.deploy.runtime.sample_inputs import normalise
from offramp.deploy.runtime.session import EarlyExitSession
from offramp.deploy.targets.c.arena_plan import ArenaPlan, plan_arena
from offramp.deploy.targets.c.c_source import RULES, c_files
from offramp.deploy.targets.c.host_run import ExportedInterface, find_compiler, run_on_host
from offramp.deploy.targets.c.integer_reference import integer_sums, logits_of_sums, quantised_inputs
from offramp.deploy.targets.c.program import FeatureMap, Grid, Program
from offramp.deploy.targets.c.read_program import read_program
from offramp.deploy.targets.c.readme_text import readme
from offramp.deploy.targets.deployment_target import DEPLOYMENT_TARGETS, DeploymentSource, TargetAnswers
from offramp.errors import ExportError, InputError
from offramp.exits.exit_rule import answers_at
from offramp.files.safe_files import kind_of, new_folder, write_atomically

PREFIX = "network"
"""The prefix of names that is usual."""

_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NUM_SAMPLES = 256
_BATCH = 64
# Of logits. Confidences are exact within 2**-28, and fall by at most half as much as logits.
_SLACK = 1e-7
# A step of 8 bits, for bundles that do not state theirs. What is misread is off for nearly all samples.
_TOLERANCE = 1 / 128
_MOST_FAR = 0.25


@dataclass(frozen=True, eq=False)
class CExport:
    """What was written.

    Attributes:
        folder: The folder.
        plan: Its memory.
        num_compared: On how many samples it was run and compared with the integer network; 0 without a compiler.
        num_moved: Samples that lie on a threshold within rounding, and left elsewhere.
    """

    folder: Path
    plan: ArenaPlan
    num_compared: int
    num_moved: int


def export_c(
    bundle: Path | str,
    folder: Path,
    *,
    prefix: str = PREFIX,
    ram_bytes: int | None = None,
    pixels: NDArray[np.uint8] | None = None,
    seed: int = 0,
    allow_large: bool = False,
) -> CExport:
    """Write a quantised bundle as C99, and compare it with the integer network where there is a C compiler.

    Args:
        bundle: A bundle: a folder, or a .zip of one.
        folder: A new or empty folder.
        prefix: What the names begin with that are visible outside, so that several networks link together.
        ram_bytes: How much memory maps may take; None for any.
        pixels: Pixels to compare on, (samples, channels, height, width); None for random images.
        seed: Seed of the random images.
        allow_large: Whether a graph may take more than `USUAL_LIMIT`.

    Returns:
        What was written.

    Raises:
        InputError: If a layer or rule cannot be written in C, the memory does not suffice, or the folder cannot be
            written.
        ExportError: If the files do not compile, or differ from the integer network.
        BundleError: If the bundle is damaged.
    """
    if not _PREFIX.fullmatch(prefix):
        raise InputError(
            f"`prefix` must be a small letter, then small letters, digits or '_', at most 40 in all, got {prefix!r}."
        )
    source = open_files(Path(bundle))
    manifest = load_manifest(source)
    if manifest.rule not in RULES:
        raise InputError(f"Exit rule {manifest.rule!r} cannot be written in C, only {', '.join(RULES)}.")
    check_samples(manifest, pixels)
    program = read_program(source, manifest, allow_large=allow_large)
    plan = plan_arena(program)
    if ram_bytes is not None and plan.ram_bytes > ram_bytes:
        raise InputError(
            f"The network needs {plan.ram_bytes:,} bytes of RAM for its maps ({plan.arena_bytes:,} for the arena, "
            f"{plan.column_bytes:,} for columns), but {ram_bytes:,} are allowed. Allow more, or use a smaller network."
        )
    contents = {name: text.encode("ascii") for name, text in c_files(program, plan, manifest, prefix).items()}
    contents["README.md"] = readme(program, plan, manifest, prefix).encode()
    if any(file.name == LICENCE_FILE for file in manifest.files):
        contents[LICENCE_FILE] = checked_content(source, manifest, LICENCE_FILE)
    try:
        if kind_of(folder) is not None and (kind_of(folder) != "a folder" or any(folder.iterdir())):
            raise InputError(f"{str(folder)!r} must be a new or empty folder, but it holds files.")
        with new_folder(folder) as draft:
            for name, content in contents.items():
                write_atomically(draft / name, content)
            _check_reading(EarlyExitSession(bundle, allow_large=allow_large), program, seed)
            compared = moved = 0
            if find_compiler() is not None:
                images = random_pixels(program.image, _NUM_SAMPLES, seed) if pixels is None else pixels
                compared, moved = len(images), _verify(draft, program, manifest, images)
    except OSError as exc:
        raise InputError(f"The C files cannot be written to {str(folder)!r}: {exc.strerror or exc}.") from exc
    return CExport(folder, plan, compared, moved)


def check_samples(manifest: Manifest, pixels: NDArray[np.uint8] | None = None) -> None:
    """Refuse networks that C cannot read samples for, and pixels of another shape.

    Args:
        manifest: The manifest of the bundle.
        pixels: Pixels, (samples, channels, height, width); None for none.

    Raises:
        InputError: If the network reads floats, or the shape is another one.
    """
    if manifest.preprocessing.dtype != "uint8":
        kind = manifest.preprocessing.input_kind.replace("_", " ")
        raise InputError(
            f"A network that reads {kind} of floats cannot be written in C yet: its inputs are no bytes. Use the ONNX "
            "files of the bundle."
        )
    if pixels is not None and (pixels.ndim != 4 or pixels.shape[1:] != manifest.input_shape):
        sizes = ", ".join(map(str, manifest.input_shape))
        raise InputError(f"`pixels` must have shape (N, {sizes}) as the network reads, got {pixels.shape}.")


def random_pixels(image: FeatureMap, count: int, seed: int) -> NDArray[np.uint8]:
    """Make noise on brightness and contrast that differ.

    Args:
        image: The network input.
        count: The number of samples.
        seed: Seed of the numbers.

    Returns:
        Pixels, (count, channels, height, width).
    """
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 255, size=(count, image.channels, 1, 1))
    width = rng.uniform(2, 120, size=(count, 1, 1, 1))
    shape = (count, image.channels, image.height, image.width)
    result: NDArray[np.uint8] = (centre + width * rng.standard_normal(shape)).clip(0, 255).astype(np.uint8)
    return result


def _check_reading(session: EarlyExitSession, program: Program, seed: int) -> None:
    """Compare the layers that were read with the graphs in onnxruntime, which may round single values otherwise."""
    stated = session.manifest.verification
    tolerance = _TOLERANCE if stated is None else stated.tolerance
    inputs = normalise(random_pixels(program.image, _BATCH, seed), session.manifest.preprocessing)
    sums = integer_sums(program, quantised_inputs(inputs, program.image))
    for index, theirs in enumerate(session.all_logits(inputs, normalised=True)):
        ours = logits_of_sums(sums[index], program.stages[index].logits.steps)
        far = np.abs(ours - theirs).max(axis=1) > tolerance * max(1.0, float(np.abs(theirs).max()))
        if far.mean() > _MOST_FAR:
            raise ExportError(
                f"The layers that C computes give other logits than the bundle at exit {index} for {far.sum()} of "
                f"{len(far)} samples; nothing was written."
            )


def _verify(folder: Path, program: Program, manifest: Manifest, pixels: NDArray[np.uint8]) -> int:
    """Compare with the integer network: sums to the bit, exits and classes; gives how many lie on a threshold."""
    inputs = quantised_inputs(normalise(pixels, manifest.preprocessing), program.image)
    parts = [integer_sums(program, inputs[start : start + _BATCH]) for start in range(0, len(inputs), _BATCH)]
    expected = [np.concatenate(sums) for sums in zip(*parts, strict=True)]
    logits = [logits_of_sums(sums, stage.logits.steps) for sums, stage in zip(expected, program.stages, strict=True)]
    answers = run_on_host(folder, np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), are_pixels=True)
    for index, sums in enumerate(expected):
        off = (answers.sums[:, index] != sums).any(axis=1)
        if off.any():
            raise ExportError(
                f"The C files give other logits than the integer network at exit {index} for {off.sum()} of "
                f"{len(off)} samples; nothing was written."
            )
    rule = manifest.policy
    moved = rule.decide(logits) != answers.exits
    wrong = moved & ~rule.undecided(logits, np.full(len(pixels), _SLACK))
    wrong |= answers_at(logits, answers.exits) != answers.classes
    wrong |= (np.stack(expected)[answers.exits, np.arange(len(pixels))] != answers.left_sums).any(axis=1)
    if wrong.any():
        raise ExportError(
            f"The C files decide otherwise than the exit rule for {wrong.sum()} of {len(wrong)} samples; nothing was "
            "written."
        )
    return int(moved.sum())


@dataclass(frozen=True)
class CTarget:
    """The files of `export_c`.

    Attributes:
        name: The registered name.
        description: What is written, in one line.
    """

    name: str = "c"
    description: str = "C99 for microcontrollers, of a network quantised to 8 bits or fewer; needs a C compiler (cc)"

    def check_ready(self) -> None:
        """See `DeploymentTarget.check_ready`; a C compiler must be there to run what was written."""
        if find_compiler() is None:
            raise InputError("Target 'c' needs a C compiler (cc, gcc or clang) to run what it writes. Install one.")

    def export(self, source: DeploymentSource, folder: Path) -> None:
        """See `DeploymentTarget.export`."""
        export_c(source.bundle, folder, allow_large=True)

    def answers(self, folder: Path, inputs: NDArray[np.float32]) -> TargetAnswers:
        """See `DeploymentTarget.answers`; the files are compiled and run on this machine."""
        stated = ExportedInterface.of(folder)
        height, width, channels = stated.shape
        grid = Grid(stated.step, stated.zero_point, stated.top)
        values = quantised_inputs(inputs, FeatureMap("", height, width, channels, grid))
        found = run_on_host(folder, values, are_pixels=False)
        logits = found.left_sums.astype(np.float64) * found.steps.astype(np.float64)[found.exits]
        return TargetAnswers(found.exits, logits.astype(np.float32))


DEPLOYMENT_TARGETS.add("c", CTarget())
