"""Genes of branch layers: read back as written, canonical, counted exactly."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import ConfigError, InputError
from offramp.space.architecture import Architecture, BranchLayer, ExitChoice
from offramp.space.branch_layer_choices import BranchLayerChoices
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.search_space import BackboneSpace, StageSpace

A, B = BranchLayer("convolution", 3, 1, 8), BranchLayer("pooling", 3, 2, 1)
SPACE = EarlyExitSpace(
    backbone=BackboneSpace("toy", (8,), (StageSpace((1, 2), (4,)), StageSpace((1,), (8,)))),
    branches=("conv", "searched"),
    max_exits=2,
    branch_layers=BranchLayerChoices(("searched",), (A, B), 2),
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_genes_mean_is_encoded_and_read_back(data: st.DataObject) -> None:
    genes = tuple(data.draw(st.integers(0, count - 1)) for count in SPACE.cardinalities)
    architecture = SPACE.decode(genes)
    canonical = SPACE.encode(architecture)
    assert SPACE.decode(canonical) == architecture
    assert SPACE.encode(SPACE.decode(canonical)) == canonical
    assert all(not choice.layers for choice in architecture.exits if choice.branch == "conv")


def test_a_layer_that_is_left_out_moves_the_others_up() -> None:
    genes = list(SPACE.encode(SPACE.max_architecture()))
    taps = len(genes) - 2 - 3 * 2 - 3
    genes[taps] = 2  # searched, at tap 0
    genes[taps + 3 : taps + 5] = [0, 2]
    assert SPACE.decode(tuple(genes)).exits == (ExitChoice(0, "searched", None, (B,)),)


def test_the_size_counts_distinct_architectures() -> None:
    found: set[Architecture] = set()
    for genes in itertools.product(*(range(count) for count in SPACE.cardinalities)):
        found.add(SPACE.decode(genes))
    assert SPACE.size == len(found)


def test_samples_reach_every_number_of_layers_and_stay_in_the_space() -> None:
    rng = np.random.default_rng(0)
    drawn = [SPACE.sample(rng) for _ in range(200)]
    layered = [choice for item in drawn for choice in item.exits if choice.branch == "searched"]
    assert {len(choice.layers) for choice in layered} == {0, 1, 2}
    assert all(SPACE.decode(SPACE.encode(item)) == item for item in drawn)


def test_options_are_the_same_each_time_and_include_layered_branches() -> None:
    largest = SPACE.max_architecture()
    options = SPACE.exit_options(largest)
    assert options == SPACE.exit_options(largest)
    assert [option.tap for option in options] == sorted(option.tap for option in options)
    assert {option.branch for option in options} == {"conv", "searched"}
    assert any(option.layers for option in options)


def test_layers_outside_the_space_are_refused() -> None:
    largest = SPACE.max_architecture()

    def with_exit(choice: ExitChoice) -> Architecture:
        return type(largest)(**{**vars(largest), "exits": (choice,)})

    with pytest.raises(InputError, match="at most 2 layers in this space, got 3"):
        SPACE.encode(with_exit(ExitChoice(0, "searched", None, (A, A, A))))
    with pytest.raises(InputError, match="at most 0 layers"):
        SPACE.encode(with_exit(ExitChoice(0, "conv", None, (A,))))
    with pytest.raises(InputError, match="layer of the exit at tap 0 must be among"):
        SPACE.encode(with_exit(ExitChoice(0, "searched", None, (BranchLayer("pointwise", 1, 1, 8),))))
    with pytest.raises(ConfigError, match="none twice"):
        BranchLayerChoices(("searched",), (A, A))
