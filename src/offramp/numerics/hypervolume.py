"""The volume that points dominate."""

import numpy as np
from numpy.typing import NDArray


def hypervolume(points: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Measure the volume that points dominate up to a reference point, where smaller values are better.

    Args:
        points: One point per row, (points, dimensions). Points that are not better in every dimension add nothing.
        reference: The reference point, (dimensions,).

    Returns:
        The volume; 0 where there are no points.
    """
    points = points[(points < reference).all(axis=1)]
    if not len(points):
        return 0.0
    from pymoo.indicators.hv import HV  # loads matplotlib

    return float(HV(ref_point=reference)(points))
