import itertools
from dataclasses import replace
from xml.etree import ElementTree

from offramp.records.run_summary import ChosenNetwork, DataSummary
from offramp.report.pages import diagram
from tests.report import fake

DATA = DataSummary("digits", ("0", "1"), (1, 8, 8), 10, 5, 5, "x")


def network(taps: tuple[int, ...] = (1, 4), branch: str = "pool_linear", early: float = 0.5) -> ChosenNetwork:
    item = fake.evaluation(fake.architecture(taps=taps, branch=branch), 0.9, early)
    return fake.chosen("knee", item, tested=False)


def drawn(item: ChosenNetwork) -> ElementTree.Element:
    return ElementTree.fromstring(str(diagram.draw_diagram(item, DATA, fake.MAX_DEPTHS)))


def boxes(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [item for item in svg.iter("rect") if kind in item.attrib["class"].split()]


def test_one_box_per_block_and_per_exit() -> None:
    svg = drawn(network())
    assert len(boxes(svg, "d-block")) == 7
    assert len(boxes(svg, "d-exit")) == 3
    assert len(boxes(svg, "d-input")) == 1


def test_text_says_where_images_leave() -> None:
    svg = drawn(network())
    text = "".join(svg.itertext()).replace("\u00a0", " ")
    assert "Exit 1: 50.0 %" in text
    assert "if confidence ≥ 0.830" in text
    assert "takes the rest" in text
    assert "1: 16 ch, 3×3, ×4" in text
    assert "Exit 2 after tap 4 (pool_linear), 25.0 % leave" in svg.attrib["aria-label"].replace("\u00a0", " ")


def test_the_backbone_gets_thinner_behind_each_exit() -> None:
    svg = drawn(network())
    widths = [float(line.attrib["stroke-width"]) for line in svg.iter("line")]
    # All images until block 2, half of them until block 4, a quarter after it.
    assert widths == [10.0, 10.0, 5.5, 5.5, 3.2, 3.2, 3.2]


def test_nothing_overlaps_even_where_exits_follow_each_other() -> None:
    svg = drawn(network(taps=(0, 1, 3, 4, 5, 7, 8)))
    height = float(svg.attrib["viewBox"].split()[3])
    for kind in ("d-block", "d-exit"):
        spans = sorted(
            (float(b.attrib["y"]), float(b.attrib["y"]) + float(b.attrib["height"])) for b in boxes(svg, kind)
        )
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
        assert spans[-1][1] <= height


def test_a_network_without_early_exits() -> None:
    svg = drawn(network(taps=()))
    assert len(boxes(svg, "d-exit")) == 1
    assert "Final exit: 100.0" in "".join(svg.itertext())


def test_a_closed_exit_is_named_closed() -> None:
    item = network()
    closed = replace(item, policy=replace(item.policy, thresholds=(1.5, 0.5)))
    text = "".join(drawn(closed).itertext())
    assert "closed" in text
    assert "≥ 1.5" not in text


def test_names_are_escaped_and_clipped() -> None:
    svg = str(diagram.draw_diagram(network(branch="<script>alert('a very long name')</script>"), DATA, fake.MAX_DEPTHS))
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    ElementTree.fromstring(svg)


def test_kernels_of_a_model_that_was_brought_along_are_not_invented() -> None:
    item = network()
    brought = replace(item, architecture=replace(item.architecture, backbone="adopted:mine"))
    text = "".join(drawn(brought).itertext()).replace("\u00a0", " ")
    assert "1: 16 ch" in text
    assert "3×3" not in text
