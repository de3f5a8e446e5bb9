"""The table of a run says what the evaluator of the run says, and nothing else leaves the run."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from offramp.errors import RunError, TableError
from offramp.progress import SilentReporter
from offramp.records import create_run
from offramp.run.context import Context
from offramp.run.evaluators.cached_logits import CachedLogitsEvaluator
from offramp.run.evaluators.supernet_evaluator import SupernetEvaluator
from offramp.run.factory import build_context, build_dataset
from offramp.tabular.benchmark_table import Table
from offramp.tabular.make_table import TableOptions, make_table, write_context_table
from tests.conftest import small_config


@pytest.fixture(scope="module")
def context() -> Context:
    config = small_config(cost__mapping="layer_by_layer", space__branches=("pool_linear", "conv"))
    return build_context(config, build_dataset(config, SilentReporter()))


@pytest.fixture(scope="module")
def path(context: Context, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("tables") / "table.npz"
    options = TableOptions(backbones=2, samples=120, bits=16, accelerators=("edge-tpu-quad", "mcu"))
    header = write_context_table(context, target, "CC0-1.0", options, SilentReporter())
    assert max(header.confidence_errors.values()) < 1e-4
    return target


def test_networks_have_the_figures_of_the_runs_evaluator(context: Context, path: Path) -> None:
    """The same thresholds, accuracy, energy and MACs; cycles add up but for waiting."""
    table = Table.load(path)
    assert (len(table.backbones), table.header.validation_samples, table.header.test_samples) == (2, 120, 120)
    assert [item.name for item in table.header.accelerators] == ["edge-tpu-quad", "mcu"]
    data = context.evaluator.data
    direct = SupernetEvaluator(context.supernet, data, context.compute, context.search_cost, context.accelerator, ())
    direct.data = type(data)(data.calibration, data.validation.subset(120, context.config.seed), data.preprocessing)
    direct.static_candidates._labels = direct.data.validation.labels
    evaluator = CachedLogitsEvaluator(direct, context.space, shared_threshold=True)
    rng, equal = np.random.default_rng(0), 0
    for _ in range(12):
        architecture = table.space.sample(rng)
        ours, theirs = table.evaluate(architecture), evaluator.evaluate(architecture)
        assert ours.details is not None
        assert theirs.details is not None
        if ours.details.policy.thresholds != theirs.details.policy.thresholds and architecture.exits:
            continue  # the choice depends on cycles, which may differ a little
        equal += 1
        for name in ("accuracy", "energy_pj", "macs"):
            assert ours.values[name] == pytest.approx(theirs.values[name], rel=1e-9), name
        assert ours.values["latency_cycles"] == pytest.approx(theirs.values["latency_cycles"], rel=0.15)
    assert equal >= 9


def test_costs_of_layers_add_up_to_those_of_the_backbone(path: Path) -> None:
    for accelerator in ("edge-tpu-quad", "mcu"):
        table = Table.load(path, accelerator)
        for backbone in table.backbones:
            held = table.backbone(backbone)
            last = len(held.options)
            rows = table.layers(backbone)
            static = held.static(last).values
            own = [row for row in rows if not row[0].branch or row[0].place == last]
            assert sum(layer.macs for layer, _, _ in own) == static["macs"]
            assert all(cycles > 0 for layer, cycles, _ in own if layer.macs)
            # The layer that feeds a branch also pays for sending its output there.
            assert sum(energy for _, _, energy in own) == pytest.approx(static["energy_pj"], rel=0.2)


def test_no_images_are_in_a_table(context: Context, path: Path) -> None:
    table = Table.load(path)
    names = zipfile.ZipFile(path).namelist()
    arrays = ("validation", "test", "to_tap", "branch", "layer_costs", "layers")
    expected = [f"{number}/{name}.npy" for number in range(len(table.backbones)) for name in arrays]
    assert sorted(names) == sorted([*expected, "labels/validation.npy", "labels/test.npy", "header.npy"])


def test_a_run_without_a_licence_or_without_training_has_no_table(tmp_path: Path) -> None:
    config = small_config(deploy__licence=None)
    create_run(tmp_path / "run", config).close()
    with pytest.raises(TableError, match=r"must state its licence\. Give it with --licence"):
        make_table(tmp_path / "run", tmp_path / "table.npz", TableOptions(), SilentReporter())
    with pytest.raises(RunError, match="must be trained, but it is not"):
        make_table(tmp_path / "run", tmp_path / "table.npz", TableOptions(licence="CC0-1.0"), SilentReporter())


def test_accelerators_that_cannot_price_the_networks_are_named(context: Context, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\n")
    options = TableOptions(backbones=1, samples=20, accelerators=(str(broken),))
    with pytest.raises(Exception, match="broken"):
        write_context_table(context, tmp_path / "table.npz", "CC0-1.0", options, SilentReporter())
    assert not (tmp_path / "table.npz").exists()
