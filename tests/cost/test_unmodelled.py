"""What a price says of itself: waits, private DRAMs, idle cores."""

from dataclasses import replace

from offramp.cost.mapping.layer_by_layer.layer_by_layer_model import LayerByLayerModel
from offramp.cost.mapping.optimized.optimized_model import OptimizedModel
from offramp.cost.unmodelled import NEVER_COUNTED, unmodelled_layer_by_layer
from offramp.hardware.loader import load_accelerator
from tests.cost.mapping.optimized.networks import team_of
from tests.cost.mapping.optimized.test_mapping_steps import two_layers, two_stages
from tests.cost.toys import ToyEngine

QUAD = load_accelerator("edge-tpu-quad")


def test_the_reference_schedule_names_all_that_it_leaves_out() -> None:
    report = LayerByLayerModel(ToyEngine()).estimate(two_stages(), QUAD)
    text = " ".join(report.leaves_out)
    assert "DRAM of its own" in text
    assert "the other 3 idle" in text
    assert "--mapping optimized" in text
    assert "per channel" not in text
    first = min(layer.start_cycle for layer in report.layers)
    assert first > 0
    assert f"{first:,.0f} cycles before the first layer" in text
    end = max(layer.end_cycle for layer in report.layers)
    between = end - first - report.stages[-1].latency_to_exit_cycles
    assert (f"{between:,.0f} cycles between stages" in text) == (between > 0)


def test_published_names_its_defect() -> None:
    report = LayerByLayerModel(ToyEngine(), "published").estimate(two_stages(), QUAD)
    assert "once per channel too often" in report.leaves_out[0]


def test_only_what_holds_is_said() -> None:
    alone = team_of(1)
    report = LayerByLayerModel(ToyEngine()).estimate(two_layers(), alone)
    text = " ".join(report.leaves_out)
    assert "idle" not in text
    # Without an off-chip memory there is nothing to wait for and nothing to optimize.
    bare = replace(alone, cores=alone.cores[:1], links=())
    calm = LayerByLayerModel(ToyEngine()).estimate(two_layers(), bare)
    assert calm.leaves_out == (NEVER_COUNTED,)
    assert unmodelled_layer_by_layer(bare, "offramp", calm.stages, calm.layers) == (NEVER_COUNTED,)


def test_the_optimized_mapping_charges_the_first_wait() -> None:
    report = OptimizedModel(ToyEngine()).estimate(two_stages(), QUAD)
    assert report.leaves_out == (NEVER_COUNTED,)
    assert report.mapping_steps == ("on_chip", "prefetch", "split", "beside", "fuse", "optimum")
    first = min(x.start_cycle for x in report.busy if not x.carries)
    assert first > 0
    # The clock of the first stage starts with the first bit, not with the first layer.
    assert min(x.start_cycle for x in report.busy) == 0
    assert report.stages[0].backbone_latency_cycles > first
