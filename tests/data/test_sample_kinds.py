import numpy as np
import pytest

from offramp.data.sample_kinds import InputKind, dtype_of, pipeline_layout, sample_shape, scale_of, user_layout


@pytest.mark.parametrize(
    ("kind", "given", "inside"),
    [
        ("series", (5, 6, 100), (5, 6, 1, 100)),
        ("series", (5, 100), (5, 1, 1, 100)),
        ("vectors", (5, 13), (5, 13, 1, 1)),
        ("feature_maps", (5, 2, 40, 98), (5, 2, 40, 98)),
        ("feature_maps", (5, 40, 98), (5, 1, 40, 98)),
        ("pixels", (5, 3, 8, 9), (5, 3, 8, 9)),
    ],
)
def test_arrays_of_users_get_four_axes_inside_and_keep_their_order(
    kind: InputKind, given: tuple[int, ...], inside: tuple[int, ...]
) -> None:
    values = np.arange(np.prod(given)).reshape(given)
    laid_out = pipeline_layout(kind, values)
    assert laid_out.shape == inside
    assert (laid_out.reshape(-1) == values.reshape(-1)).all()
    back = user_layout(kind, laid_out)
    assert back.shape[1:] == sample_shape(kind, inside[1:])  # type: ignore[arg-type]
    assert (back.reshape(-1) == values.reshape(-1)).all()


def test_bytes_are_scaled_by_255_and_floats_not() -> None:
    assert [(dtype_of(kind), scale_of(dtype_of(kind))) for kind in ("pixels", "mfcc", "series", "vectors")] == [
        ("uint8", 255.0),
        ("uint8", 255.0),
        ("float32", 1.0),
        ("float32", 1.0),
    ]


def test_shapes_that_do_not_fit_a_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(samples, channels, time\), got shape \(2, 3, 4, 5\)"):
        pipeline_layout("series", np.zeros((2, 3, 4, 5)))
    with pytest.raises(ValueError, match=r"\(samples, features\), got shape \(2, 3, 4\)"):
        pipeline_layout("vectors", np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="height 1"):
        sample_shape("series", (2, 3, 4))
    with pytest.raises(ValueError, match="height and width 1"):
        sample_shape("vectors", (2, 1, 4))
