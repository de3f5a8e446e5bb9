"""Exports in C: compiled by this machine's compiler, and compared with the network that they were made from."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offramp.cli.main import app
from offramp.deploy.bundle.bundle_files import open_files
from offramp.deploy.bundle.export_bundle import export_bundle
from offramp.deploy.bundle.manifest import Manifest, load_manifest
from offramp.deploy.runtime.sample_inputs import normalise
from offramp.deploy.targets.c import c_source, c_target, host_run
from offramp.deploy.targets.c.arena_plan import plan_arena
from offramp.deploy.targets.c.c_source import c_files, check_program
from offramp.deploy.targets.c.c_target import CTarget, export_c
from offramp.deploy.targets.c.fast_rescaling import fast_rescaling
from offramp.deploy.targets.c.host_run import STRICT, find_compiler, run_on_host
from offramp.deploy.targets.c.integer_reference import integer_sums, logits_of_sums, quantised_inputs
from offramp.deploy.targets.c.program import Convolution, Grid, Program
from offramp.deploy.targets.c.read_program import read_program
from offramp.deploy.targets.c.scalings import scaling_of
from offramp.deploy.targets.c.weight_rows import flash_weights, stored_bits
from offramp.deploy.targets.deployment_target import DEPLOYMENT_TARGETS, DeploymentSource, export_target
from offramp.errors import ExportError, InputError
from offramp.exits.confidence_measures import Measure
from offramp.exits.exit_policy import ExitPolicy
from offramp.nn.batch_norm import recalibrate_batch_norm_
from offramp.nn.quantization.quantize import convert_, prepare_
from offramp.testing.target_conformance import check_answers
from tests.deploy import bundle_kinds, toys
from tests.deploy.targets.c import programs
from tests.nn import members

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler (cc, gcc or clang)")
SANITISED = (*STRICT, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
QUICK = ("-std=c99", "-O0")


PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "deploy-in-c.md"


def write(program: Program, manifest: Manifest, folder: Path, prefix: str = "network") -> Path:
    folder.mkdir(parents=True)
    for name, text in c_files(program, plan_arena(program), manifest, prefix).items():
        (folder / name).write_text(text, encoding="ascii")
    return folder


def manifest_of(bundle: Path) -> Manifest:
    return load_manifest(open_files(bundle))


@needs_compiler
@pytest.mark.parametrize("kind", ["int8", "4_bit", "ternary"])
def test_logits_equal_those_of_the_integer_network_bit_for_bit(
    kind: str, bundles_of_kinds: dict[str, Path], tmp_path: Path
) -> None:
    bundle = bundles_of_kinds[kind]
    export_c(bundle, tmp_path / "c")
    saved = np.load(bundle.with_name(f"{kind}.npz"))
    network = bundle_kinds.quantised(*bundle_kinds.PRECISIONS[kind][:2])
    convert_(network)
    expected = toys.logits_of(network, saved["inputs"])
    program = read_program(open_files(bundle), manifest_of(bundle))
    values = quantised_inputs(saved["inputs"], program.image)
    answers = run_on_host(tmp_path / "c", values, are_pixels=False, flags=SANITISED)
    for index, logits in enumerate(expected):
        assert np.array_equal(logits_of_sums(answers.sums[:, index], answers.steps[index]), logits)
    assert np.array_equal(answers.exits, saved["exits"])
    assert 0 < answers.exits.sum() < len(answers.exits)
    chosen = np.stack(expected)[answers.exits, np.arange(len(values))]
    assert np.array_equal(answers.classes, chosen.argmax(axis=1))


@needs_compiler
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_every_layer_computes_as_the_integer_layers_in_torch(
    bits: int, bundles_of_kinds: dict[str, Path], tmp_path: Path
) -> None:
    """Groups, depthwise, strides, dilation, padding, both poolings, an addition and a change of grid."""
    program = programs.every_layer(bits=bits)
    inputs = np.random.default_rng(2).integers(0, 256, (30, 12, 10, 3)).astype(np.uint8)
    expected = programs.torch_sums(program, inputs)
    folder = write(program, manifest_of(bundles_of_kinds["int8"]), tmp_path / "c")
    answers = run_on_host(folder, inputs, are_pixels=False, flags=SANITISED)
    for index, sums in enumerate(integer_sums(program, inputs)):
        assert np.array_equal(sums, expected[index])
        assert np.array_equal(answers.sums[:, index], expected[index])
        assert len(np.unique(sums)) > 50


@needs_compiler
@pytest.mark.parametrize(
    ("rule", "measure", "temperature", "offsets"),
    [
        ("threshold", "max_probability", 0.7, ()),
        ("threshold", "entropy", 3.0, ()),
        ("threshold", "margin", 1.0, (0.1, -0.2, 0.0, 0.3, -0.1)),
        ("cumulative", "entropy", 1.0, ()),
        ("patience", "max_probability", 1.0, ()),
    ],
)
def test_every_rule_and_measure_decides_as_in_float64(
    rule: str,
    measure: str,
    temperature: float,
    offsets: tuple[float, ...],
    bundles_of_kinds: dict[str, Path],
    tmp_path: Path,
) -> None:
    base = manifest_of(bundles_of_kinds["int8"])
    early = replace(base.exits[0], threshold=2.0, temperature=temperature, class_offsets=offsets)
    last = replace(base.exits[1], temperature=1.0)
    manifest = replace(base, rule=rule, measure=measure, exits=(early, last), schema=3)
    program = programs.every_layer()
    inputs = np.random.default_rng(3).integers(0, 256, (400, 12, 10, 3)).astype(np.uint8)
    logits = [
        logits_of_sums(sums, stage.logits.steps)
        for sums, stage in zip(integer_sums(program, inputs), program.stages, strict=True)
    ]
    if rule != "patience":
        # Half of the samples leave early.
        scores = np.sort(manifest.policy.scores(logits[:-1])[0])
        early = replace(early, threshold=float(scores[199:201].mean()))
        manifest = replace(manifest, exits=(early, last))
    answers = run_on_host(write(program, manifest, tmp_path / "c"), inputs, are_pixels=False, flags=QUICK)
    expected = manifest.policy.decide(logits)
    assert np.array_equal(answers.exits, expected)
    if rule != "patience":
        assert 150 < expected.sum() < 250


@needs_compiler
def test_thresholds_measure_and_temperature_change_at_run_time(
    bundles_of_kinds: dict[str, Path], tmp_path: Path
) -> None:
    program, base = programs.every_layer(), manifest_of(bundles_of_kinds["int8"])
    folder = write(program, base, tmp_path / "c")
    inputs = np.random.default_rng(6).integers(0, 256, (200, 12, 10, 3)).astype(np.uint8)
    logits = [
        logits_of_sums(sums, stage.logits.steps)
        for sums, stage in zip(integer_sums(program, inputs), program.stages, strict=True)
    ]
    sure = ExitPolicy("entropy", (0.5,), (1.75, 1.0)).confidence(logits[0], 0)
    threshold = float(np.sort(sure)[99:101].mean())
    check = check_program(program, "network").replace(
        "int raw =",
        "int raw; network_settings.measure = NETWORK_MEASURE_ENTROPY; network_set_temperature(0, 114688u);"
        f" network_settings.limit[0] = NETWORK_LIMIT({threshold!r}); raw =",
    )
    (folder / "check.c").write_text(check)
    files = [str(folder / name) for name in ("check.c", "network.c")]
    host_run._call([str(find_compiler()), *SANITISED, "-o", str(tmp_path / "a"), *files])
    output = np.frombuffer(host_run._call([str(tmp_path / "a")], inputs.tobytes()), dtype=np.int32)
    exits = output[10:].reshape(len(inputs), -1)[:, 0]
    assert np.array_equal(exits, np.where(sure >= threshold, 0, 1))
    assert exits.sum() == 100


@needs_compiler
@pytest.mark.parametrize("measure", ["max_probability", "entropy", "margin"])
@pytest.mark.parametrize(("temperature", "threshold"), [(1e-6, 0.999999999), (1e6, 0.7), (1e-3, 1.0), (0.3, -1.0)])
def test_extreme_temperatures_and_thresholds_keep_to_the_stated_precision(
    measure: Measure, temperature: float, threshold: float, bundles_of_kinds: dict[str, Path], tmp_path: Path
) -> None:
    base = manifest_of(bundles_of_kinds["int8"])
    early = replace(base.exits[0], threshold=threshold, temperature=temperature)
    manifest = replace(base, measure=measure, exits=(early, base.exits[1]))
    program = programs.every_layer()
    inputs = np.random.default_rng(7).integers(0, 256, (100, 12, 10, 3)).astype(np.uint8)
    logits = [
        logits_of_sums(sums, stage.logits.steps)
        for sums, stage in zip(integer_sums(program, inputs), program.stages, strict=True)
    ]
    flags = (*QUICK, "-fsanitize=undefined", "-fno-sanitize-recover=all")
    answers = run_on_host(write(program, manifest, tmp_path / "c"), inputs, are_pixels=False, flags=flags)
    moved = answers.exits != manifest.policy.decide(logits)
    sure = manifest.rule_notation.confidence(logits[0], 0)
    # What the page states: nothing else leaves at another exit.
    assert not (moved & (np.abs(sure - threshold) > 2.0**-28)).any()


@needs_compiler
def test_raw_pixels_enter_by_a_table(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    bundle = bundles_of_kinds["int8"]
    export_c(bundle, tmp_path / "c")
    pixels = np.random.default_rng(4).integers(0, 256, (20, 3, 12, 10)).astype(np.uint8)
    manifest = manifest_of(bundle)
    network = bundle_kinds.quantised(bundle_kinds.EIGHT, bundle_kinds.EIGHT)
    expected = toys.logits_of(network, normalise(pixels, manifest.preprocessing))
    answers = run_on_host(tmp_path / "c", np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), are_pixels=True)
    for index, logits in enumerate(expected):
        assert np.array_equal(logits_of_sums(answers.sums[:, index], answers.steps[index]), logits)


@needs_compiler
def test_the_target_agrees_with_the_network(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    network = bundle_kinds.quantised(bundle_kinds.EIGHT, bundle_kinds.EIGHT)
    source = DeploymentSource(bundles_of_kinds["int8"], network)
    agreement = export_target(DEPLOYMENT_TARGETS.get("c"), source, tmp_path / "c", checks=toys.samples(50, seed=8))
    assert agreement.largest_difference == 0.0
    assert agreement.num_moved == 0
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names == {"network.h", "network.c", "kernels.h", "main.c", "README.md"}
    check_answers(CTarget(), tmp_path / "c", toys.samples(10, seed=8))


@needs_compiler
def test_blocks_and_branches_of_every_type_are_written(tmp_path: Path) -> None:
    """A MobileNetV2 with expansion, depthwise convolutions of 5 x 5 and additions, and three branches."""
    exits = ((0, "conv"), (1, "depthwise_separable"), (2, "pool_mlp"))
    network = members.small_supernet().extract(members.member(members.SMALL, max, exits, "pool_linear")).eval()
    eight = bundle_kinds.EIGHT
    network.architecture = replace(network.architecture, precision=eight, branch_precision=eight)
    recalibrate_batch_norm_(network, [members.images(64, seed=1)])
    prepare_(network, [members.images(64, seed=2)])
    network.eval()
    images = members.images(30, seed=3).numpy()
    export_bundle(
        network,
        tmp_path / "bundle",
        policy=ExitPolicy("max_probability", (0.3, 0.3, 0.3)),
        class_names=("a", "b", "c", "d"),
        mean=toys.MEAN,
        std=toys.STD,
        checks=images,
        name="all",
        seed=1,
    )
    export_c(bundle := tmp_path / "bundle", tmp_path / "c")
    program = read_program(open_files(bundle), manifest_of(bundle))
    answers = run_on_host(tmp_path / "c", quantised_inputs(images, program.image), are_pixels=False)
    for index, logits in enumerate(toys.logits_of(network, images)):
        assert np.array_equal(logits_of_sums(answers.sums[:, index], answers.steps[index]), logits)


def test_pixels_of_another_shape_are_refused(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`pixels` must have shape \(N, 3, 12, 10\)"):
        export_c(bundles_of_kinds["int8"], tmp_path / "c", pixels=np.zeros((4, 1, 12, 10), dtype=np.uint8))


def test_data_of_other_classes_are_refused(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    """Images of the shape that the bundle reads, with as many classes as it has and one more."""
    manifest = load_manifest(bundles_of_kinds["int8"])
    channels, height, width = manifest.input_shape
    labels = np.arange(40) % (len(manifest.class_names) + 1)
    pixels = np.random.default_rng(0).integers(256, size=(2, 40, height, width, channels), dtype=np.uint8)
    np.savez(tmp_path / "other.npz", x_train=pixels[0], y_train=labels, x_test=pixels[1], y_test=labels)
    command = ["export-c", str(bundles_of_kinds["int8"]), str(tmp_path / "c"), "--data", str(tmp_path / "other.npz")]
    with pytest.raises(InputError, match="must have the classes of the bundle"):
        app(command, standalone_mode=False)


def test_data_of_another_shape_are_refused(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must have the shape that the bundle reads, \(3, 12, 10\), got \(1, 8, 8\)"):
        app(["export-c", str(bundles_of_kinds["int8"]), str(tmp_path / "c"), "--data", "digits"], standalone_mode=False)


@needs_compiler
def test_two_networks_link_together(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    export_c(bundles_of_kinds["int8"], tmp_path / "one", prefix="one")
    export_c(bundles_of_kinds["ternary"], tmp_path / "two", prefix="two")
    (tmp_path / "main.c").write_text(
        '#include "one/network.h"\n#include "two/network.h"\n'
        "static uint8_t pixels[ONE_HEIGHT * ONE_WIDTH * ONE_CHANNELS];\n"
        "int main(void) { one_result a; two_result b; return one_run(pixels, &a) + two_run(pixels, &b) > 2; }\n"
    )
    files = [str(tmp_path / name) for name in ("main.c", "one/network.c", "two/network.c")]
    host_run._call([str(find_compiler()), *STRICT, "-o", str(tmp_path / "both"), *files])
    host_run._call([str(tmp_path / "both")])


@needs_compiler
def test_the_program_of_the_page_and_the_example_compile(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    command = re.search(r"^offramp (export-c) my-bundle network-c (.*)$", PAGE.read_text(), flags=re.M)
    assert command is not None
    folder = tmp_path / "network-c"
    app([command[1], str(bundles_of_kinds["int8"]), str(folder), *command[2].split()], standalone_mode=False)
    program = re.search(r"^```c\n(.*?)^```", PAGE.read_text(), flags=re.S | re.M)
    assert program is not None
    (folder / "page.c").write_text(program[1])
    for name in ("page.c", "main.c"):
        files = [str(folder / name), str(folder / "network.c")]
        host_run._call([str(find_compiler()), *STRICT, "-o", str(tmp_path / "a"), *files])
    pixels = np.random.default_rng(4).integers(0, 256, (3, 12, 10, 3)).astype(np.uint8)
    said = host_run._call([str(tmp_path / "a")], pixels.tobytes()).decode().splitlines()
    answers = run_on_host(folder, pixels, are_pixels=True)
    pairs = zip(answers.classes, answers.exits, strict=True)
    assert said == [f"class {label} at exit {index}" for label, index in pairs]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("float", r"Layer '.+' of stage 0: its weights are in floating point"),
        ("cascade", "Exit 1 reads the logits of exit 0|floating point"),
        ("int8_mean", "Exit 1 reads the logits of exit 0"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_written(
    kind: str, message: str, bundles_of_kinds: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        export_c(bundles_of_kinds[kind], tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_an_arena_beyond_the_allowed_ram_is_refused(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    # Image 12 x 10 x 3 and the map of 6 x 5 x 6 together are 360 + 180 bytes, and two columns of 6 x 9 at 16 bits 216.
    with pytest.raises(InputError, match=r"needs \d+ bytes of RAM for its maps .* but 512 are allowed"):
        export_c(bundles_of_kinds["int8"], tmp_path / "c", ram_bytes=512)
    assert not list(tmp_path.iterdir())


def test_foreign_files_are_never_destroyed(bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="must be a new or empty folder"):
        export_c(bundles_of_kinds["int8"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("prefix", ["", "9a", "A", "a b", "a\n", "é"])
def test_a_prefix_that_is_no_c_name_is_refused(prefix: str, bundles_of_kinds: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`prefix` must be"):
        export_c(bundles_of_kinds["int8"], tmp_path / "c", prefix=prefix)


@needs_compiler
def test_files_that_differ_from_the_integer_network_are_refused(
    bundles_of_kinds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(*arguments: object) -> dict[str, str]:
        files = c_files(*arguments)  # type: ignore[arg-type]
        files["kernels.h"] = files["kernels.h"].replace("if (whole > 0xFFFFu)", "whole ^= 1u; if (whole > 0xFFFFu)")
        return files

    monkeypatch.setattr(c_target, "c_files", spoiled)
    with pytest.raises(ExportError, match="other logits than the integer network at exit 0"):
        export_c(bundles_of_kinds["int8"], tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_layers_that_were_misread_are_refused(
    bundles_of_kinds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The C code and the reference would agree: onnxruntime is the other engine."""

    def misread(*arguments: object, **options: object) -> Program:
        program = read_program(*arguments, **options)  # type: ignore[arg-type]
        first = program.stages[0].layers[0]
        assert isinstance(first, Convolution)
        first.bias[:] = -first.bias - 500
        return program

    monkeypatch.setattr(c_target, "read_program", misread)
    with pytest.raises(ExportError, match="other logits than the bundle at exit 0"):
        export_c(bundles_of_kinds["int8"], tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_the_command_says_that_nothing_was_compared(
    bundles_of_kinds: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    app(["export-c", str(bundles_of_kinds["int8"]), str(tmp_path / "c")], standalone_mode=False)
    assert "Not compared with the integer network: no C compiler" in capsys.readouterr().out
    with pytest.raises(InputError, match="needs a C compiler"):
        CTarget().check_ready()


@needs_compiler
def test_requantisation_rounds_as_float32_does(tmp_path: Path) -> None:
    """Sums and factors of which many products lie on or next to a half, against a product in float32."""
    rng = np.random.default_rng(5)
    ratios = np.concatenate(
        [rng.uniform(1e-7, 0.9, 3000), 2.0 ** -rng.integers(1, 20, 3000), rng.integers(1, 99, 3000) / 64]
    )
    ratios = ratios.astype(np.float32)
    near = np.rint((rng.integers(0, 300, ratios.size) + 0.5) / ratios).clip(0, 2**28 - 1)
    sums = (near * rng.choice([-1, 1], ratios.size)).astype(np.int64)
    expected = np.rint(sums.astype(np.float32) * ratios).clip(-100, 155).astype(np.int64) + 100
    grid = Grid(np.float32(1), 100, 255)
    rows, far = [], 0
    for factor, total in zip(ratios, sums, strict=True):
        largest = min(2**28 - 1, int(abs(total)) * int(rng.integers(1, 5)) + 1)
        fast = fast_rescaling(scaling_of(factor), largest, grid)
        far += fast.fields[1] == 0
        rows.append([total, fast.scale[0], fast.shift[0], *fast.fields])
    # Of nearly all factors the fast way is there, so that it is what is tested.
    assert far < len(rows) / 50
    (tmp_path / "kernels.h").write_text(c_source._kernels())
    (tmp_path / "main.c").write_text(
        '#include "kernels.h"\n#include <stdio.h>\nint main(void) { int32_t a[11];'
        " while (fread(a, 4, 11, stdin) == 11) {"
        " rescaling to; uint8_t shift = (uint8_t)a[2]; memcpy(&to, a + 3, sizeof to);"
        " putchar(rescale(a[0], a[1], &shift, &to) + 128); } return 0; }\n"
    )
    content = (np.array(rows, dtype=np.int64) & 0xFFFFFFFF).astype(np.uint32).tobytes()
    host_run._call([str(find_compiler()), *SANITISED, "-o", str(tmp_path / "a"), str(tmp_path / "main.c")])
    found = np.frombuffer(host_run._call([str(tmp_path / "a")], content), dtype=np.uint8)
    assert np.array_equal(found, expected)


def test_the_arena_holds_what_is_alive_and_nothing_overlaps() -> None:
    program = programs.every_layer()
    plan = plan_arena(program)
    # While the depthwise layer runs, its input and output of 12 x 10 x 6 are alive, and nothing else.
    assert plan.live_bytes == 2 * 720
    assert plan.arena_bytes == 1440
    # For the first convolution two columns of 3 x 3 x 3 values, filled up to 28, in 16 bits, and one of bytes.
    assert plan.column_bytes == 2 * 2 * 28 + 28
    assert plan.narrow_column_bytes == 2 * 28


def test_weights_that_fewer_bits_hold_are_packed() -> None:
    """Rows of 3 x 3 x 2 weights are filled up to 20: 20, 10 and 5 bytes."""
    layer = programs.every_layer().stages[0].layers[0]
    assert isinstance(layer, Convolution)
    weight = np.zeros((2, 3, 3, 2), dtype=np.int8)
    weight[0, 0, 0] = [-1, 1]
    weight[0, 0, 1] = [-2, 0]
    two = replace(layer, weight=weight)
    # -1 is 11, 1 is 01, -2 is 10, the first in the lowest bits.
    assert flash_weights(two).view(np.uint8).tolist() == [0b00_10_01_11, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    four = replace(layer, weight=weight * 3)
    assert flash_weights(four).view(np.uint8)[:2].tolist() == [0x3D, 0x0A]
    assert (stored_bits(two), stored_bits(four), stored_bits(replace(layer, weight=weight * 5))) == (2, 4, 8)
    assert (flash_weights(four).size, flash_weights(layer).size) == (20, 6 * 28)
