from hypothesis import given
from hypothesis import strategies as st

from offramp.report.figures.label_placement import CHARACTER_WIDTH, LINE_HEIGHT, Label, PixelPoint, place_labels

WIDTH, HEIGHT = 270.0, 295.0


def box(label: Label, spot: PixelPoint) -> tuple[float, float, float, float]:
    length = CHARACTER_WIDTH * len(label.text)
    before = {"left": 0.0, "center": length / 2, "right": length}[label.anchor]
    left, middle = spot.x + label.shift_x - before, spot.y + label.shift_y
    return left, middle - LINE_HEIGHT / 2, left + length, middle + LINE_HEIGHT / 2


def collide(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_one_label_in_the_middle_takes_the_first_place() -> None:
    assert place_labels(["knee"], [PixelPoint(135, 150)], [], WIDTH, HEIGHT) == (Label("knee", "right", -11, 7),)


def test_a_label_at_the_left_edge_goes_to_the_right() -> None:
    (label,) = place_labels(["cheapest"], [PixelPoint(5, 150)], [], WIDTH, HEIGHT)
    assert label.anchor == "left"


def test_an_obstacle_is_avoided() -> None:
    (label,) = place_labels(["knee"], [PixelPoint(135, 150)], [PixelPoint(115, 157)], WIDTH, HEIGHT)
    assert label.anchor == "left"


def test_neighbours_keep_apart() -> None:
    spots = [PixelPoint(100, 250), PixelPoint(118, 254), PixelPoint(240, 250)]
    labels = place_labels(["knee", "most accurate", "static reference"], spots, [], WIDTH, HEIGHT)
    boxes = [box(label, spot) for label, spot in zip(labels, spots, strict=True)]
    assert not any(collide(boxes[i], boxes[j]) for i in range(3) for j in range(i))
    assert all(left >= 0 and right <= WIDTH for left, _, right, _ in boxes)


@given(st.lists(st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT)), max_size=6))
def test_every_point_gets_its_label_however_crowded(places: list[tuple[float, float]]) -> None:
    spots = [PixelPoint(x, y) for x, y in places]
    texts = [f"network {i}" for i in range(len(spots))]
    labels = place_labels(texts, spots, spots, WIDTH, HEIGHT)
    assert [label.text for label in labels] == texts
