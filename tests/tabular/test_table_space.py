"""Spaces of tables: counted by hand, enumerated as a whole, restricted to what fits."""

from dataclasses import replace

import numpy as np
import pytest

from offramp.errors import ConfigError
from offramp.space.branch_layer_choices import BranchLayerChoices
from offramp.space.search_space import BackboneSpace, StageSpace
from offramp.tabular.table_space import every_backbone, num_backbones, table_space
from offramp.testing.toys import small_space, tiny_space


def test_backbones_are_counted_by_hand() -> None:
    # (1 or 2 blocks) x 2 widths, and 1 block of 2 kernels or 2 blocks of 2 x 2: 4 x (2 + 4).
    assert num_backbones(tiny_space().backbone) == 24
    # 2 resolutions x (2 widths x (9 + 81 + 729))^3.
    assert num_backbones(small_space().backbone) == 2 * (2 * 819) ** 3


def test_every_backbone_is_enumerated_once() -> None:
    space = tiny_space()
    found = list(every_backbone(space))
    assert len(found) == len(set(found)) == 24
    rng = np.random.default_rng(0)
    assert {space.sample(rng).without_exits() for _ in range(2000)} == set(found)


def test_a_large_space_is_restricted_to_what_fits() -> None:
    space = table_space(small_space(), 100)
    # Depths of all stages come first, 3^3 = 27; then the smallest width of one stage, 54; no further one fits.
    assert [stage.depths for stage in space.backbone.stages] == [(1, 2, 3)] * 3
    assert [stage.widths for stage in space.backbone.stages] == [(8, 16), (32,), (64,)]
    assert {stage.kernel_sizes for stage in space.backbone.stages} == {(7,)}
    assert space.backbone.resolutions == (32,)
    assert num_backbones(space.backbone) == 54
    assert num_backbones(table_space(small_space(), 1).backbone) == 1
    assert table_space(tiny_space(), 24) == tiny_space()


def test_the_smallest_option_comes_after_the_largest() -> None:
    stages = (StageSpace(depths=(1, 2, 3, 4), widths=(8,)),)
    space = replace(tiny_space(), backbone=BackboneSpace("toy", (8,), stages))
    assert table_space(space, 2).backbone.stages[0].depths == (1, 4)
    assert table_space(space, 3).backbone.stages[0].depths == (1, 2, 4)


def test_spaces_whose_logits_are_not_fixed_are_refused() -> None:
    with pytest.raises(ConfigError, match="searches bit widths or analog shares"):
        table_space(replace(tiny_space(), analog_shares=(0.0, 1.0)), 10)
    with pytest.raises(ConfigError, match=r"builds branches layer by layer \(searched\)"):
        table_space(replace(tiny_space(), branch_layers=BranchLayerChoices(("searched",))), 10)
    with pytest.raises(ConfigError, match="at least one backbone, got 0"):
        table_space(tiny_space(), 0)
