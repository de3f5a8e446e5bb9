from dataclasses import replace

from offramp.report.architecture_layout import describe, exit_label, layout_of
from offramp.space.architecture import Architecture, ExitChoice
from tests.report import fake


def test_taps_count_slots_of_the_deepest_network() -> None:
    # Depths 2 of 3, 3 of 4, 2 of 3: slots 0 1 (2) | 3 4 5 (6) | 7 8 (9).
    net = fake.architecture(taps=(0, 3, 5, 8))
    places = layout_of(net, (3, 4, 3)).exits
    assert [place.after_block for place in places] == [1, 3, 5, 7, 7]
    assert [place.final for place in places] == [False] * 4 + [True]


def test_a_tap_on_a_missing_block_falls_back_to_the_block_before() -> None:
    places = layout_of(fake.architecture(taps=(2, 6, 9)), (3, 4, 3)).exits
    assert [place.after_block for place in places[:-1]] == [2, 5, 7]


def test_a_tap_beyond_the_network_or_missing_depths_do_no_harm() -> None:
    assert layout_of(fake.architecture(taps=(99,)), (3, 4, 3)).exits[0].after_block == 7
    # Without depths the network itself counts as the deepest one.
    assert [place.after_block for place in layout_of(fake.architecture(taps=(1, 4)), ()).exits] == [2, 5, 7]


def test_blocks_carry_their_own_choices() -> None:
    blocks = layout_of(fake.architecture(), fake.MAX_DEPTHS).blocks
    assert [block.number for block in blocks] == [1, 2, 3, 4, 5, 6, 7]
    assert [block.width for block in blocks] == [16, 16, 24, 24, 24, 40, 40]
    assert [block.kernel_size for block in blocks] == [3, 5, 3, 5, 3, 3, 5]


def test_exit_labels_number_from_one_and_name_the_last() -> None:
    assert [exit_label(i, 3) for i in range(3)] == ["Exit 1", "Exit 2", "Final exit"]
    assert exit_label(0, 1) == "Final exit"


def test_one_line_names_depths_widths_and_exits() -> None:
    net = fake.architecture()
    start = "mobilenet_v2, 8 px, depths 2-3-2, widths 16-24-40"
    assert describe(net) == f"{start}, exits after taps 1, 4 (pool_linear)"
    assert describe(net.without_exits()) == f"{start}, no early exit, classifier at the end (global_pool)"


def test_branches_of_several_types_are_grouped() -> None:
    stages = fake.architecture().stages
    exits = (ExitChoice(0, "a"), ExitChoice(1, "a"), ExitChoice(3, "b"))
    assert describe(Architecture("net", 8, stages, exits)).endswith("exits after taps 0, 1 (a), 3 (b)")


def test_one_exit_is_not_written_as_several() -> None:
    assert describe(fake.architecture(taps=(3,))).endswith(", exit after tap 3 (pool_linear)")


def test_static_networks_that_differ_in_their_classifier_alone_have_different_descriptions() -> None:
    net = fake.architecture(taps=())
    found = {describe(replace(net, head=ExitChoice(9, branch))) for branch in ("conv", "pool_linear")}
    start = "mobilenet_v2, 8 px, depths 2-3-2, widths 16-24-40, no early exit, classifier after tap 9"
    assert found == {f"{start} (conv)", f"{start} (pool_linear)"}


def test_kernels_over_time_have_one_row_and_no_resolution_is_named() -> None:
    series = replace(fake.architecture(), resolution=1)
    assert all(block.over_time for block in layout_of(series, fake.MAX_DEPTHS).blocks)
    assert not any(block.over_time for block in layout_of(fake.architecture(), fake.MAX_DEPTHS).blocks)
    assert describe(series).startswith("mobilenet_v2, depths 2-3-2,")
