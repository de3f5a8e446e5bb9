"""Genes and architectures: round trips, canonical genes, the exact size, legal taps."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import ConfigError, InputError
from offramp.exits.confidence_measures import MEASURES
from offramp.space.architecture import Architecture, ExitChoice, PolicyChoice, Precision
from offramp.space.early_exit_space import EarlyExitSpace
from offramp.space.precision_choices import FIXED, ZNIBER_PRECISIONS, Granularity, PrecisionChoices
from offramp.space.search_space import BackboneSpace, Genes, StageSpace
from offramp.testing.toys import every_architecture, small_space, tiny_space
from tests.space.precisions import precisions_used


@st.composite
def spaces(draw: st.DrawFn) -> EarlyExitSpace:
    def choices(values: list[int]) -> tuple[int, ...]:
        return tuple(sorted(draw(st.sets(st.sampled_from(values), min_size=1))))

    stages = tuple(
        StageSpace(
            choices([1, 2, 3, 4]),
            choices([8, 16, 24]),
            choices([3, 5, 7]),
            choices([1, 3, 6]),
            layers_per_block=draw(st.integers(1, 3)),
        )
        for _ in range(draw(st.integers(1, 3)))
    )
    granularity: Granularity = draw(st.sampled_from(["fixed", "network", "stage", "layer"]))
    bits = draw(st.lists(st.sampled_from(ZNIBER_PRECISIONS), min_size=1, max_size=3, unique=True))
    return EarlyExitSpace(
        backbone=BackboneSpace("drawn", choices([8, 16, 32]), stages),
        branches=tuple(draw(st.sets(st.sampled_from("abc"), min_size=1))),
        measures=tuple(draw(st.sets(st.sampled_from(MEASURES), min_size=1))),
        accuracy_drops=tuple(draw(st.sets(st.sampled_from([0.0, 0.01, 0.5]), min_size=1))),
        max_exits=draw(st.integers(0, 5)),
        precisions=FIXED if granularity == "fixed" else PrecisionChoices(granularity, tuple(bits)),
    )


@st.composite
def spaces_and_genes(draw: st.DrawFn) -> tuple[EarlyExitSpace, Genes]:
    space = draw(spaces())
    return space, tuple(draw(st.integers(0, count - 1)) for count in space.cardinalities)


def space_of_one_stage(max_exits: int = 2) -> EarlyExitSpace:
    """Four block slots; genes: resolution, depth, width, 4 kernels, 4 expansions, 4 taps, measure, drop."""
    stage = StageSpace(depths=(2, 3, 4), widths=(8, 16), kernel_sizes=(3, 5), expansions=(1, 6))
    return EarlyExitSpace(
        BackboneSpace("one", (16, 32), (stage,)), ("a", "b"), ("entropy", "margin"), (0.0, 0.02), max_exits
    )


@given(spaces_and_genes())
def test_decoding_gives_a_member_and_encoding_it_canonical_genes(case: tuple[EarlyExitSpace, Genes]) -> None:
    space, genes = case
    architecture = space.decode(genes)
    canonical = space.encode(architecture)
    assert space.decode(canonical) == architecture
    assert space.encode(space.decode(canonical)) == canonical
    assert all(0 <= gene < count for gene, count in zip(canonical, space.cardinalities, strict=True))
    assert len(architecture.exits) <= space.max_exits
    assert {choice.tap for choice in architecture.exits} <= set(space.active_taps(architecture))


@given(spaces(), st.integers(0, 2**32 - 1))
def test_samples_and_landmarks_round_trip(space: EarlyExitSpace, seed: int) -> None:
    members = [
        space.sample(np.random.default_rng(seed)),
        space.max_architecture(),
        space.min_architecture(),
        *space.starting_points(),
    ]
    for member in members:
        assert space.decode(space.encode(member)) == member


@given(spaces_and_genes())
def test_genes_without_meaning_change_nothing(case: tuple[EarlyExitSpace, Genes]) -> None:
    """A gene that canonical genes set to 0 where the given one is not 0 must be one that decoding ignores."""
    space, genes = case
    canonical = space.encode(space.decode(genes))
    for place, (given_gene, canonical_gene) in enumerate(zip(genes, canonical, strict=True)):
        if given_gene != canonical_gene:
            assert canonical_gene == 0
            changed = (*genes[:place], 0, *genes[place + 1 :])
            assert space.decode(changed) == space.decode(genes)


def test_genes_by_hand() -> None:
    space = space_of_one_stage()
    assert space.cardinalities == (2, 3, 2, *[2] * 4, *[2] * 4, *[3] * 4, 2, 2)
    # Resolution 32, depth 3, width 8; the fourth block is idle, tap 2 is the final classifier's.
    genes = (1, 1, 0, *(0, 1, 0, 1), *(1, 0, 1, 1), *(2, 1, 1, 2), 1, 1)
    architecture = space.decode(genes)
    assert architecture.resolution == 32
    (stage,) = architecture.stages
    assert (stage.depth, stage.width, stage.kernel_sizes, stage.expansions) == (3, 8, (3, 5, 3), (6, 1, 6))
    assert architecture.exits == (ExitChoice(0, "b"), ExitChoice(1, "a"))
    assert architecture.policy == PolicyChoice("margin", 0.02)
    assert space.encode(architecture) == (1, 1, 0, *(0, 1, 0, 0), *(1, 0, 1, 0), *(2, 1, 0, 0), 1, 1)


def test_the_earliest_exits_are_kept() -> None:
    space = space_of_one_stage(max_exits=2)
    genes = (0, 2, 0, *[0] * 8, *(0, 1, 2, 1), 0, 0)
    assert space.decode(genes).exits == (ExitChoice(1, "a"), ExitChoice(2, "b"))
    genes = (0, 2, 0, *[0] * 8, *(2, 1, 2, 1), 0, 0)
    assert space.decode(genes).exits == (ExitChoice(0, "b"), ExitChoice(1, "a"))


def test_taps_of_inactive_blocks_are_not_legal() -> None:
    stages = (StageSpace((1, 3), (8,)), StageSpace((2,), (8,)), StageSpace((1, 2), (8,)))
    space = EarlyExitSpace(BackboneSpace("three", (8,), stages), ("a",))
    # Slots 0-2, 3-4, 5-6: the smallest member has blocks in 0, 3, 4 and 5, and its final classifier after 5.
    assert space.active_taps(space.min_architecture()) == (0, 3, 4)
    assert space.active_taps(space.max_architecture()) == (0, 1, 2, 3, 4, 5)


def test_a_network_without_exits_has_the_default_policy() -> None:
    space = space_of_one_stage()
    genes = (0, 0, 0, *[0] * 8, *[0] * 4, 1, 1)
    assert space.decode(genes).policy == PolicyChoice()
    assert space.encode(space.decode(genes))[-2:] == (0, 0)


def test_size_counts_every_member_once() -> None:
    space = tiny_space()
    assert space.size == 200 == len(list(every_architecture(space)))


@settings(max_examples=25)
@given(spaces())
def test_size_agrees_with_enumeration(space: EarlyExitSpace) -> None:
    if np.prod([float(count) for count in space.cardinalities]) < 3_000:
        assert space.size == len(list(every_architecture(space)))


def test_size_by_hand_is_an_exact_integer() -> None:
    # Depth 2, 3, 4 with 2 widths, 2 kernels x 2 expansions a block: 2 * 4**d ways; taps d - 1, 2 branches, 4 policies.
    def exits(taps: int) -> int:
        one, two = 2 * taps, 4 * taps * (taps - 1) // 2
        return 1 + 4 * (one + two)

    assert space_of_one_stage().size == 2 * sum(2 * 4**d * exits(d - 1) for d in (2, 3, 4))
    deep = BackboneSpace("deep", (32,), (StageSpace((40,), (8,), (3, 5, 7), (1, 2, 3)),))
    assert EarlyExitSpace(deep, ("a",), max_exits=0).size == 9**40


def test_precision_genes_by_hand() -> None:
    eight, four = Precision(8, 8), Precision(4, 4)
    space = replace(space_of_one_stage(), precisions=PrecisionChoices("network", (eight, four)))
    # As without precisions, but one gene per tap before the policy, and the two ends behind it.
    assert space.cardinalities == (2, 3, 2, *[2] * 8, *[3] * 4, *[2] * 4, 2, 2, 2, 2)
    genes = (0, 1, 0, *[0] * 8, *(1, 2, 0, 0), *(1, 0, 1, 1), 0, 0, 0, 1)
    architecture = space.decode(genes)
    assert architecture.exits == (ExitChoice(0, "a", four), ExitChoice(1, "b", eight))
    assert (architecture.precision, architecture.branch_precision) == (eight, four)
    assert architecture.stages[0].precisions == ()
    assert space.encode(architecture) == (0, 1, 0, *[0] * 8, *(1, 2, 0, 0), *(1, 0, 0, 0), 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("granularity", "genes", "expected"),
    [
        ("stage", (1,), ("4/4",) * 4),
        ("layer", (1, 0, 0, 1, 1, 1, 0, 0), ("4/4", "8/8", "8/8", "4/4")),
    ],
)
def test_precisions_within_a_stage_by_hand(
    granularity: Granularity, genes: tuple[int, ...], expected: tuple[str, ...]
) -> None:
    """Two blocks of two layers are there, two more are not."""
    stage = StageSpace((2, 4), (8,), layers_per_block=2 if granularity == "layer" else 1)
    choices = PrecisionChoices(granularity, (Precision(8, 8), Precision(4, 4)))
    space = EarlyExitSpace(BackboneSpace("one", (8,), (stage,)), ("a",), max_exits=0, precisions=choices)
    members = space.decode((0, 0, 0, *[0] * 8, *genes, *[0] * 4, *[0] * 4, 0, 0, 1, 0))
    (chosen,) = members.stages
    assert tuple(map(str, chosen.precisions)) == expected[: len(chosen.precisions)]
    assert len(chosen.precisions) == (4 if granularity == "layer" else 2)
    assert str(chosen.block_precisions(1, Precision(32, 32))[0]) == expected[2]
    assert space.decode(space.encode(members)) == members


def test_the_number_of_members_with_precisions_by_hand() -> None:
    """Three precisions: for stem, final classifier, each of 4 layers, and each branch of at most one exit."""
    stage = StageSpace((2,), (8,), layers_per_block=2)
    backbone = BackboneSpace("one", (8,), (stage,))
    choices = tuple(Precision(bits, 8) for bits in (8, 4, 2))
    sizes = [
        EarlyExitSpace(backbone, ("a", "b"), precisions=PrecisionChoices(granularity, choices)).size
        for granularity in ("network", "stage", "layer")
    ]
    exits = 1 + 2 * 3
    assert sizes == [9 * exits, 9 * 3 * exits, 9 * 3**4 * exits]
    assert EarlyExitSpace(backbone, ("a", "b")).size == 1 + 2


def test_landmarks_take_the_bits_at_the_ends_and_searches_start_at_8() -> None:
    space = replace(space_of_one_stage(), precisions=PrecisionChoices("layer", ZNIBER_PRECISIONS))
    assert set(precisions_used(space.max_architecture())) == {Precision(32, 32)}
    assert set(precisions_used(space.min_architecture())) == {Precision(4, 4)}
    assert {used for point in space.starting_points() for used in precisions_used(point)} == {Precision(8, 8)}
    rng = np.random.default_rng(0)
    exits = [choice for _ in range(20) for choice in space.with_all_exits(space.max_architecture(), rng).exits]
    assert {choice.precision for choice in exits} == set(ZNIBER_PRECISIONS)


def test_precisions_to_choose_among_must_make_sense() -> None:
    with pytest.raises(ConfigError, match="at least one precision and none twice, got: 8/8, 8/8"):
        PrecisionChoices("stage", (Precision(), Precision()))
    with pytest.raises(ConfigError, match="none twice, got: none"):
        PrecisionChoices("network")
    with pytest.raises(ConfigError, match="no precisions to choose among"):
        PrecisionChoices("fixed", (Precision(),))
    with pytest.raises(ConfigError, match="`granularity` must be among fixed"):
        PrecisionChoices("bit", (Precision(),))  # type: ignore[arg-type]


def test_ternary_weights_are_the_coarser_two_bits() -> None:
    choices = PrecisionChoices("network", (Precision(2, 8, ternary=True), Precision(2, 8)))
    assert choices.coarsest == Precision(2, 8, ternary=True)
    assert choices.finest == choices.usual == Precision(2, 8)


def test_samples_spread_over_numbers_of_exits_and_everything_else() -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(2000)]
    counts = Counter(len(item.exits) for item in drawn)
    assert set(counts) == {0, 1, 2, 3}
    assert 50 < counts[0] < 160
    assert min(counts[1], counts[2], counts[3]) > 500
    assert {item.resolution for item in drawn} == {16, 32}
    assert {choice.branch for item in drawn for choice in item.exits} == set(space.branches)
    assert {item.policy.accuracy_drop for item in drawn} == set(space.accuracy_drops)
    assert {choice.tap for item in drawn for choice in item.exits} == set(range(8))


def test_samples_depend_on_the_generator_alone() -> None:
    space = small_space()
    first, second = (space.sample(np.random.default_rng(7)) for _ in range(2))
    assert first == second


def test_a_space_of_one_block_has_no_place_for_exits() -> None:
    space = EarlyExitSpace(BackboneSpace("one", (8,), (StageSpace((1,), (8,)),)), ("a",))
    assert space.size == 1
    assert space.sample(np.random.default_rng(0)) == space.max_architecture()
    assert space.starting_points() == (space.max_architecture(),)


def test_landmarks() -> None:
    space = space_of_one_stage()
    largest, smallest = space.max_architecture(), space.min_architecture()
    assert (largest.resolution, largest.stages[0].depth, largest.stages[0].width) == (32, 4, 16)
    assert largest.stages[0].kernel_sizes == (5,) * 4
    assert (smallest.resolution, smallest.stages[0].depth, smallest.stages[0].width) == (16, 2, 8)
    assert smallest.stages[0].expansions == (1, 1)
    assert largest.exits == smallest.exits == ()


def test_with_all_exits_uses_every_legal_tap_and_all_branch_types() -> None:
    space = small_space()
    rng = np.random.default_rng(0)
    taps = [space.with_all_exits(space.max_architecture(), rng).exits for _ in range(20)]
    assert all([choice.tap for choice in exits] == list(range(8)) for exits in taps)
    assert {choice.branch for exits in taps for choice in exits} == set(space.branches)


def test_spread_exits_are_evenly_spread() -> None:
    space = replace(small_space(), max_exits=4)
    policy = PolicyChoice("entropy", 0.01)

    def taps(count: int) -> list[int]:
        item = space.with_spread_exits(space.max_architecture(), count, "conv", policy)
        return [choice.tap for choice in item.exits]

    assert taps(0) == []
    assert taps(1) in ([3], [4])
    assert taps(2) == [2, 5]
    assert taps(9) == taps(4)
    assert len(taps(4)) == 4


def test_starting_points_hold_both_static_networks_and_ones_with_most_exits() -> None:
    space = small_space()
    points = space.starting_points()
    assert points[0] == space.max_architecture()
    assert space.min_architecture() in points
    assert max(len(point.exits) for point in points) == space.max_exits
    assert len(set(points)) == len(points)


def test_starting_points_are_of_three_sizes() -> None:
    """Of each gene the middle value, the lower one of two; the first branch type has most exits."""
    space = replace(
        small_space(),
        backbone=BackboneSpace(
            "three", (8,), (StageSpace((1, 2), (8, 16, 24)), StageSpace((2, 3, 4), (8, 12, 16, 20)))
        ),
        max_exits=3,
    )
    points = space.starting_points()
    static = [[(stage.depth, stage.width) for stage in point.stages] for point in points if not point.exits]
    assert static == [[(2, 24), (4, 20)], [(1, 16), (3, 12)], [(1, 8), (2, 8)]]
    for size in (0, 4):
        kinds = [{choice.branch for choice in point.exits} for point in points[size + 1 : size + 4]]
        assert [len(point.exits) for point in points[size + 1 : size + 4]] == [3, 2, 1]
        assert kinds == [{space.branches[place % len(space.branches)]} for place in range(3)]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"branches": ()}, "`branches`"),
        ({"branches": ("a", "a")}, "`branches`"),
        ({"measures": ("guess",)}, "`measures` must be among max_probability"),
        ({"accuracy_drops": (0.0, 1.5)}, "shares from 0 to 1"),
        ({"max_exits": -1}, "`max_exits`"),
        ({"backbone": BackboneSpace("none", (8,), ())}, "at least one stage"),
        ({"backbone": BackboneSpace("none", (), (StageSpace((1,), (8,)),))}, "resolutions"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(changes: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        replace(tiny_space(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("genes", [(), (0,) * 16, (0,) * 18])
def test_a_wrong_number_of_genes_is_refused(genes: Genes) -> None:
    with pytest.raises(InputError, match="must be 17 numbers"):
        space_of_one_stage().decode(genes)


@pytest.mark.parametrize("gene", [-1, 2, 0.5, float("nan")])
def test_a_gene_out_of_range_is_refused(gene: float) -> None:
    genes = (gene, *[0] * 16)
    with pytest.raises(InputError, match="gene 0 must be an integer from 0 to 1"):
        space_of_one_stage().decode(genes)  # type: ignore[arg-type]


def _outsiders() -> dict[str, Architecture]:
    space = space_of_one_stage()
    member = space.decode((0, 2, 0, *[0] * 8, *(1, 1, 0, 0), 0, 0))
    stage = member.stages[0]
    third = (*member.exits, ExitChoice(2, "a"))
    return {
        "`backbone` must be 'one'": replace(member, backbone="other"),
        "resolution must be among": replace(member, resolution=17),
        "must have 1 stages": replace(member, stages=(stage, stage)),
        "width of stage 0": replace(member, stages=(replace(stage, width=9),)),
        "kernel size in stage 0": replace(member, stages=(replace(stage, kernel_sizes=(3, 3, 3, 9)),)),
        "one of the taps": replace(member, exits=(ExitChoice(3, "a"),)),
        "branch type must be among": replace(member, exits=(ExitChoice(0, "z"),)),
        "at most 2 early exits": replace(member, exits=third),
        "measure must be among": replace(member, policy=PolicyChoice("max_probability")),
        "accuracy drop must be among": replace(member, policy=PolicyChoice("entropy", 0.5)),
        "use Architecture.without_exits": replace(member, exits=(), policy=PolicyChoice("margin")),
        "`precision` must be": replace(member, precision=Precision(4, 4)),
        "`final_branch` must be": replace(member, final_branch="conv"),
        r"precision in stage 0 must have 0 value\(s\)": replace(
            member, stages=(replace(stage, precisions=(Precision(),) * 4),)
        ),
        r"precision in the exit at tap 0 must have 0 value\(s\)": replace(
            member, exits=(ExitChoice(0, "a", Precision()),)
        ),
    }


@pytest.mark.parametrize("fault", list(_outsiders()))
def test_an_architecture_outside_the_space_is_refused(fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        space_of_one_stage().encode(_outsiders()[fault])
