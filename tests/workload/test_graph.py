"""Workloads: order, stages, cumulative MACs, bit widths, the static network."""

from dataclasses import replace

import pytest

from offramp.jsonio import dumps, loads
from offramp.workload.graph import GRAPH_INPUT, Layer, Role, Workload
from offramp.workload.layer import LayerShape, Op


def conv(k: int, c: int) -> LayerShape:
    """A 1x1 convolution of one pixel: its MACs are ``k * c``."""
    return LayerShape(Op.CONV, k=k, c=c)


def workload() -> Workload:
    """Backbone a (6 MACs), b (8), c (20); branches x after a (30), y after b (12), the final classifier z (50)."""
    layers = (
        Layer("a", conv(2, 3), (GRAPH_INPUT,), 0, Role.BACKBONE),
        Layer("x", conv(15, 2), ("a",), 0, Role.BRANCH),
        Layer("b", conv(4, 2), ("a",), 1, Role.BACKBONE),
        Layer("y", conv(3, 4), ("b",), 1, Role.BRANCH),
        Layer("c", conv(5, 4), ("b",), 2, Role.BACKBONE),
        Layer("z", conv(10, 5), ("c",), 2, Role.BRANCH),
    )
    return Workload("toy", layers, ("x", "y", "z"))


def test_macs_to_exit_charge_every_branch_on_the_way() -> None:
    assert workload().macs_to_exit() == (6 + 30, 36 + 8 + 12, 56 + 20 + 50)


def test_layers_by_stage_and_by_name() -> None:
    graph = workload()
    assert [layer.name for layer in graph.stage_layers(1)] == ["b", "y"]
    assert [layer.name for layer in graph.stage_layers(1, Role.BRANCH)] == ["y"]
    assert graph.layer("c").shape.macs == 20
    assert graph.num_stages == 3
    with pytest.raises(KeyError):
        graph.layer("q")


def test_the_static_network_has_the_backbone_and_the_final_classifier() -> None:
    static = workload().static()
    assert [layer.name for layer in static.layers] == ["a", "b", "c", "z"]
    assert static.exits == ("z",)
    assert static.macs_to_exit() == (6 + 8 + 20 + 50,)
    assert {layer.stage for layer in static.layers} == {0}


def test_the_static_network_of_a_static_network_is_itself() -> None:
    static = workload().static()
    assert replace(static.static(), name=static.name) == static


def test_bit_widths_of_backbone_and_branches() -> None:
    changed = workload().with_bits(2, 4, 8, 16)
    for layer in changed.layers:
        bits = (layer.shape.weight_bits, layer.shape.activation_bits)
        assert bits == ((2, 4) if layer.role is Role.BACKBONE else (8, 16))
    assert changed.macs_to_exit() == workload().macs_to_exit()
    assert changed.with_bits(8, 8, 8, 8) == workload()


def test_layers_without_an_entry_have_no_analog_channels() -> None:
    assert [layer.analog_channels for layer in workload().layers] == [None] * 6
    assigned = workload().with_analog_channels({"b": 3, "z": 10})
    assert [layer.analog_channels for layer in assigned.layers] == [0, 0, 3, 0, 0, 10]


def test_the_density_of_all_weights_is_weighted_by_their_number() -> None:
    """Of 6 + 30 + 8 + 12 + 20 + 50 = 126 weights, half of 30 and nine tenths of 50 are missing."""
    assert workload().weight_density == 1.0
    thin = workload().with_weight_densities({"x": 0.5, "z": 0.1, "nothing": 0.3})
    assert [layer.shape.weight_density for layer in thin.layers] == [1.0, 0.5, 1.0, 1.0, 1.0, 0.1]
    assert thin.weight_density == pytest.approx((126 - 15 - 45) / 126)


def test_json_both_ways() -> None:
    assert loads(Workload, dumps(workload())) == workload()


def test_layers_come_after_what_they_read() -> None:
    graph = workload()
    with pytest.raises(ValueError, match=r"inputs of layer 'x' must come before it.*unknown: \['a'\]"):
        replace(graph, layers=(graph.layers[1], graph.layers[0], *graph.layers[2:]))
    with pytest.raises(ValueError, match="inputs of layer 'a'"):
        replace(graph, layers=(replace(graph.layers[0], inputs=()), *graph.layers[1:]))


def test_names_are_unique_and_not_the_input() -> None:
    graph = workload()
    with pytest.raises(ValueError, match="'a' occurs twice"):
        replace(graph, layers=(*graph.layers, replace(graph.layers[0], inputs=("b",))))
    with pytest.raises(ValueError, match="'input' occurs twice"):
        replace(graph, layers=(replace(graph.layers[0], name=GRAPH_INPUT), *graph.layers[1:]))


def test_exits_name_layers_and_stages_count_them() -> None:
    graph = workload()
    with pytest.raises(ValueError, match="at least one exit"):
        replace(graph, exits=())
    with pytest.raises(ValueError, match=r"unknown \['q'\]"):
        replace(graph, exits=("x", "y", "q"))
    with pytest.raises(ValueError, match="is in stage 2 of 2"):
        replace(graph, exits=("x", "z"))
