"""Fine-tuning that prunes: what is priced, trained, recorded and exported has the same zeros."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml

from offramp.deploy.onnx.qdq import to_qdq_
from offramp.deploy.onnx.stage_graphs import joined_model, stage_models
from offramp.errors import ConfigError
from offramp.hardware.loader import CATALOG, load_accelerator
from offramp.nn.lowering.lower import lower
from offramp.nn.quantization.quantize import is_prepared, prepare_
from offramp.nn.weight_pruning import WeightPruner, measured_densities, planned_densities
from offramp.objectives.fronts import split_fronts
from offramp.progress import SilentReporter
from offramp.run.checks.settings_checks import check_settings
from offramp.run.context import Context
from offramp.run.factory import build_context, build_dataset
from offramp.run.finishing.finished_groups import FinishedGroups
from offramp.run.finishing.finisher import FinishedNetwork, Finisher
from offramp.run.finishing.targets import Selection
from offramp.run.summarize import summarize
from offramp.run.workloads import measured_workload, planned_workload
from offramp.train.trainer import TrainingLog
from offramp.workload.layer import MATRIX_OPS
from tests.conftest import small_config
from tests.nn.random_networks import random_network
from tests.workload.from_onnx.onnx_samples import workload_from_onnx


@pytest.fixture(scope="module")
def accelerator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """edge-tpu-quad, as if it passed over zeros and kept weights under a bit mask."""
    data = yaml.safe_load((CATALOG / "edge-tpu-quad.yaml").read_text())
    for core in data["cores"].values():
        if core["kind"] == "compute":
            core["sparsity"] = {
                "source": "invented",
                "cycles_saved": 0.8,
                "energy_saved": 1,
                "storage": {"bits_per_weight": 1},
            }
    path = tmp_path_factory.mktemp("chip") / "sparse.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def build(accelerator: Path | str, density: float | None = 0.5, **changes: Any) -> Context:
    changes = {"fine_tune__weight_density": density, "fine_tune__drop_exits": False, **changes}
    config = small_config(cost__accelerator=str(accelerator), **changes)
    return build_context(config, build_dataset(config, SilentReporter()))


@pytest.fixture(scope="module")
def context(accelerator: Path) -> Context:
    return build(accelerator)


def selection(context: Context) -> Selection:
    architecture = context.space.with_all_exits(context.space.min_architecture(), np.random.default_rng(1))
    evaluation = context.evaluator.evaluate(architecture)
    assert evaluation.error is None
    return Selection(("knee",), evaluation)


def finish(context: Context, chosen: Selection, folder: Path) -> FinishedNetwork:
    """Finished, and read back from its folder."""
    with SilentReporter().task("finishing") as task:
        finished = Finisher(context).finish(chosen, folder, task, deadline=None, resume=False)
        again = Finisher(context).finish(chosen, folder, task, deadline=None, resume=True)
    assert again.record == finished.record
    assert measured_densities(again.network) == measured_densities(finished.network)
    return finished


@pytest.fixture(scope="module")
def chosen(context: Context) -> Selection:
    return selection(context)


@pytest.fixture(scope="module")
def finished(context: Context, chosen: Selection, tmp_path_factory: pytest.TempPathFactory) -> FinishedNetwork:
    return finish(context, chosen, tmp_path_factory.mktemp("finished"))


def test_a_candidate_is_priced_as_pruned_and_judged_as_it_is(chosen: Selection, accelerator: Path) -> None:
    candidate, dense = chosen.evaluation, selection(build(accelerator, None)).evaluation
    assert candidate.details is not None
    assert dense.details is not None
    assert candidate.details.profile.full_accuracies == dense.details.profile.full_accuracies
    ours, theirs = candidate.details.cost.stages[-1], dense.details.cost.stages[-1]
    assert ours.macs_to_exit == theirs.macs_to_exit
    assert ours.energy_to_exit_pj < theirs.energy_to_exit_pj
    assert ours.latency_to_exit_cycles < theirs.latency_to_exit_cycles


def test_what_is_finished_has_the_zeros_it_was_priced_with(context: Context, finished: FinishedNetwork) -> None:
    # Exits that no sample uses are gone: the price is that of a candidate without them.
    candidate = context.evaluator.evaluate(finished.record.architecture)
    assert candidate.details is not None
    assert measured_densities(finished.network).items() >= planned_densities(finished.network, 0.5).items()
    assert finished.record.cost.stages == candidate.details.cost.stages
    shapes = [layer.shape for layer in lower(finished.network).layers]
    kept = sum(round(shape.num_weights / 2) for shape in shapes if shape.g == 1)
    all_weights = sum(shape.num_weights for shape in shapes)
    depthwise = sum(shape.num_weights for shape in shapes if shape.g > 1)
    assert finished.record.weight_density == pytest.approx((kept + depthwise) / all_weights, abs=1e-12)


def test_pruning_survives_quantised_training_and_conversion(accelerator: Path, tmp_path: Path) -> None:
    quantised = build(accelerator, 0.4, fine_tune__quantize=True)
    finished = finish(quantised, selection(quantised), tmp_path)
    assert is_prepared(finished.network)
    planned, counted = planned_densities(finished.network, 0.4), measured_densities(finished.network)
    assert all(counted[name] <= planned[name] for name in planned)
    density = finished.record.weight_density
    assert density is not None
    assert 0.3 < density < 0.45


@pytest.mark.parametrize("bits", [32, 4])
def test_exported_weights_are_the_zeros_that_were_counted(bits: int, accelerator: Path, tmp_path: Path) -> None:
    network = random_network(3, bits=(bits, 32 if bits == 32 else 8) * 2)
    if bits != 32:
        prepare_(network, [torch.rand(8, *network.input_shape)])
    pruner = WeightPruner(network, 0.3)
    pruner.begin(0.0)
    pruner.after_step(1.0)
    counted = measured_workload(network, load_accelerator(accelerator))
    if bits != 32:
        to_qdq_(network)
    path = tmp_path / "all_exits.onnx"
    onnx.save(joined_model(stage_models(network)), path)
    read = workload_from_onnx(path, read_weights=True)
    assert sorted(x.shape.weight_density for x in read.layers) == sorted(x.shape.weight_density for x in counted.layers)
    assert read.weight_density == pytest.approx(counted.weight_density, abs=1e-12)
    assert read.weight_density < 0.6


def test_the_reference_is_pruned_too_and_the_summary_says_so(
    context: Context, finished: FinishedNetwork, tmp_path: Path
) -> None:
    with SilentReporter().task("finishing") as task:
        reference = Finisher(context).finish_reference(tmp_path, task, deadline=None, resume=False)
    untrained = Finisher(context).untrained_reference()
    assert reference.cost == untrained.cost
    fronts = split_fronts((), context.objectives)
    summary = summarize(
        context, (), (), fronts, FinishedGroups((finished,)), reference, TrainingLog((), 1.0), duration_s=1.0
    )
    (note,) = (text for text in summary.warnings if text.startswith("Fine-tuning prunes"))
    assert "to 50.00% nonzero ones" in note
    assert f"{finished.record.weight_density:.2%} (knee) of all weights are not zero" in note


def test_zeros_are_counted_where_they_gain_something(accelerator: Path) -> None:
    """Some 8-bit weights round to zero without any pruning."""
    network = random_network(3, bits=(8, 8, 8, 8))
    prepare_(network, [torch.rand(8, *network.input_shape)])
    sparse, plain = load_accelerator(accelerator), load_accelerator("edge-tpu-quad")
    assert measured_workload(network, plain) == lower(network)
    counted = measured_workload(network, sparse)
    assert 0.9 < counted.weight_density < 1.0
    assert planned_workload(network, plain, None) == lower(network)
    depthwise = [x.name for x in counted.layers if x.shape.g > 1]
    for layer in planned_workload(network, sparse, 0.5).layers:
        if layer.shape.op in MATRIX_OPS and layer.name not in depthwise:
            assert layer.shape.weight_density == round(layer.shape.num_weights / 2) / layer.shape.num_weights
        else:
            assert layer.shape.weight_density == 1.0


def test_refusals(accelerator: Path) -> None:
    settings = small_config(cost__accelerator=str(accelerator), fine_tune__weight_density=0.5)
    check_settings(settings)
    for changes, reason in (
        ({"cost__accelerator": "edge-tpu-quad"}, "no core of its description has a block `sparsity`"),
        ({"cost__accelerator": "diana"}, "no core of its description has a block `sparsity`"),
        ({"cost__engine": "zigzag"}, "needs the cost engine 'native', got 'zigzag'"),
        ({"fine_tune__weight_density": 0.9}, "0.9 gains nothing on 'edge-tpu-quad': weights of 8 bits"),
    ):
        given = {"cost__accelerator": str(accelerator), "fine_tune__weight_density": 0.5, **changes}
        with pytest.raises(ConfigError, match=reason):
            check_settings(small_config(**given))
    # 0.6 * 2 + 1 bits are more than 2, yet 0.6 * 8 + 1 are fewer than 8.
    searched = {"space__precision": "network", "space__precisions": ("8/8", "2/8"), "fine_tune__weight_density": 0.6}
    check_settings(small_config(cost__accelerator=str(accelerator), **searched))
    searched["space__precisions"] = ("2/8",)
    with pytest.raises(ConfigError, match="weights of 2 bits"):
        check_settings(small_config(cost__accelerator=str(accelerator), **searched))


@pytest.mark.parametrize("density", [0.0, 1.0, -1.0, 2.0])
def test_impossible_densities(density: float) -> None:
    with pytest.raises(ConfigError, match="weight_density"):
        small_config(fine_tune__weight_density=density)


def test_pruning_needs_epochs() -> None:
    with pytest.raises(ConfigError, match="needs epochs of at least 1"):
        small_config(fine_tune__weight_density=0.5, fine_tune__epochs=0)
