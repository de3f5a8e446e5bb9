"""Curves with confidence intervals, as one self-contained page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from scipy.stats import t as student

COLOURS = ("#888888", "#1f77b4", "#ff7f0e", "#d62728", "#9467bd", "#8c564b", "#2ca02c", "#17becf")
_WIDTH, _HEIGHT, _MARGIN = 760, 420, 60


@dataclass(frozen=True)
class Curve:
    """A mean after 1, 2, 3 ... candidates and half the width of its 95 % interval."""

    name: str
    values: Sequence[float]
    halves: Sequence[float]


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t; 0 for a single value."""
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < 2:
        return float(numbers.mean()), 0.0
    half = student.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers))
    return float(numbers.mean()), float(half)


def write_figure(path: Path, title: str, figures: Mapping[str, Sequence[Curve]]) -> None:
    """One picture per named group of curves."""
    parts = [f"<h1>{escape(title)}</h1><p>Means over seeds; bands are 95 % intervals (Student's t).</p>"]
    parts += [f"<h2>MACs: {escape(name)}</h2>{_drawing(curves)}" for name, curves in figures.items()]
    style = "body{font:15px sans-serif;margin:2em;color:#222}svg text{font:12px sans-serif}"
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{style}</style>"
        f"<body>{''.join(parts)}</body></html>\n",
        encoding="utf-8",
    )


def _drawing(curves: Sequence[Curve]) -> str:
    longest = max(len(curve.values) for curve in curves)
    shown = np.concatenate([np.asarray(curve.values) for curve in curves])
    high = float(shown.max())
    # The first few candidates are far below the rest, and would leave it no room.
    low = float(np.quantile(shown, 0.08))
    low = max(0.0, low - 0.05 * (high - low))
    high += 0.05 * (high - low)

    def x(place: float) -> float:
        return _MARGIN + (place - 1) / max(longest - 1, 1) * (_WIDTH - 2 * _MARGIN)

    def y(value: float) -> float:
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return _HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH + 130} {_HEIGHT}" width="{_WIDTH + 130}" role="img">',
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 15}" text-anchor="middle">trained candidates</text>',
        f'<text x="15" y="{_MARGIN - 20}">hypervolume</text>',
    ]
    for tick in np.linspace(low, high, 6):
        parts.append(
            f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>'
        )
        parts.append(f'<text x="{_MARGIN - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.3f}</text>')
    for tick in np.unique(np.linspace(1, longest, 6).astype(int)):
        parts.append(f'<text x="{x(tick):.1f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{tick}</text>')
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        places = range(1, len(curve.values) + 1)
        above = [f"{x(p):.1f},{y(v + h):.1f}" for p, v, h in zip(places, curve.values, curve.halves, strict=True)]
        below = [f"{x(p):.1f},{y(v - h):.1f}" for p, v, h in zip(places, curve.values, curve.halves, strict=True)]
        line = " ".join(f"{x(p):.1f},{y(v):.1f}" for p, v in zip(places, curve.values, strict=True))
        parts.append(f'<polygon points="{" ".join([*above, *reversed(below)])}" fill="{colour}" opacity="0.15"/>')
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        height = _MARGIN + 20 * number
        parts.append(f'<rect x="{_WIDTH - 40}" y="{height - 10}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{_WIDTH - 22}" y="{height}">{escape(curve.name)}</text>')
    return "".join([*parts, "</svg>"])
