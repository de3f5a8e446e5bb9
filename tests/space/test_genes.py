"""Reading genes in order, and choices made once per slot."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.errors import InputError
from offramp.space.genes import GeneReader, SlotGene, index_of, pick


def test_a_reader_hands_out_genes_in_order() -> None:
    reader = GeneReader((1, 0, 2), (2, 2, 3))
    assert (reader.next(), reader.choose(("a", "b")), reader.choose((10, 20, 30))) == (1, "a", 30)


@pytest.mark.parametrize(
    ("genes", "fault"), [((1,), "must be 2 numbers, got 1"), ((0, 2), "gene 1 must be an integer from 0 to 1")]
)
def test_a_reader_refuses_genes_that_do_not_fit(genes: tuple[int, ...], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        GeneReader(genes, (2, 2))


def test_slots_that_are_not_used_are_skipped() -> None:
    gene = SlotGene("letter", ("a", "b"), per_slot=2)
    assert gene.cardinalities(3) == [2] * 6
    reader = GeneReader((1, 0, 0, 1, 1, 1, 0), (2,) * 7)
    assert gene.decode(reader, slots=3, used=2) == ("b", "a", "a", "b")
    assert reader.next() == 0  # the genes of the idle slot were read too
    assert gene.encode(("b", "a", "a", "b"), 3, 2, "here") == [1, 0, 0, 1, 0, 0]


def test_a_shared_gene_decides_for_all_slots() -> None:
    gene = SlotGene("letter", ("a", "b"), shared=True)
    assert gene.cardinalities(3) == [2]
    assert gene.decode(GeneReader((1,), (2,)), slots=3, used=2) == ("b", "b")
    assert gene.encode(("b", "b"), 3, 2, "here") == [1]
    with pytest.raises(InputError, match="letter in here must be the same everywhere"):
        gene.encode(("a", "b"), 3, 2, "here")


def test_without_choices_there_is_nothing() -> None:
    gene: SlotGene[str] = SlotGene("letter", ())
    assert gene.cardinalities(3) == []
    assert gene.decode(GeneReader((), ()), 3, 2) == gene.sample(np.random.default_rng(0), 2) == ()
    assert gene.encode((), 3, 2, "here") == []
    assert gene.num_choices(2) == 1
    with pytest.raises(InputError, match=r"letter in here must have 0 value\(s\)"):
        gene.encode(("a",), 3, 1, "here")


@given(st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.booleans())
def test_values_are_counted_once_each(num_choices: int, used: int, per_slot: int, shared: bool) -> None:
    gene = SlotGene("number", tuple(range(num_choices)), per_slot=per_slot, shared=shared)
    counts = gene.cardinalities(2)
    every = itertools.product(*(range(count) for count in counts))
    values = {gene.decode(GeneReader(genes, counts), 2, used) for genes in every}
    # A shared gene of no slots is there all the same, and means nothing.
    assert gene.num_choices(used) == len(values) or (shared and used == 0)
    for value in values:
        canonical = gene.encode(value, 2, used, "here")
        if len(canonical) == len(counts):
            assert gene.decode(GeneReader(tuple(canonical), counts), 2, used) == value
    assert gene.sample(np.random.default_rng(0), used) in values
    assert gene.repeated(0, used) in values


def test_what_is_not_offered_is_named() -> None:
    with pytest.raises(InputError, match=r"width must be among \(8, 16\) in this space, got 9"):
        index_of((8, 16), 9, "width")
    assert index_of((8, 16), 16, "width") == 1


def test_picking_is_uniform_and_depends_on_the_generator_alone() -> None:
    rng = np.random.default_rng(0)
    drawn = [pick(("a", "b", "c"), rng) for _ in range(300)]
    assert min(drawn.count(letter) for letter in "abc") > 70
