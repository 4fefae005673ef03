"""Plots as SVG text, styled by the page's CSS: colours are classes, so that they follow light and dark.

A series' colour is the class `s-NAME`. Every mark has a <title>, which browsers show under the pointer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 66, 16, 14, 44


@dataclass(frozen=True)
class Line:
    """Points (x, y, title) joined in order. `marks`: the points themselves; `dashed`: a weaker line."""

    colour: str
    points: Sequence[tuple[float, float, str]]
    dashed: bool = False
    marks: bool = True


@dataclass(frozen=True)
class Axis:
    """What an axis tells and how far it goes. A logarithmic one begins at `low`, which is above 0."""

    label: str
    low: float
    high: float
    logarithmic: bool = False
    # Appended to the number at each tick.
    unit: str = ""
    ticks: Sequence[float] = field(default_factory=tuple)

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one, clamped."""
        if self.logarithmic:
            value, low, high = math.log10(max(value, self.low)), math.log10(self.low), math.log10(self.high)
        else:
            low, high = self.low, self.high
        return min(1.0, max(0.0, (value - low) / (high - low or 1.0)))

    def marks(self) -> Sequence[float]:
        """Where its ticks are."""
        if self.ticks:
            return self.ticks
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)]
        step = nice_step(self.high - self.low)
        return [step * index for index in range(math.ceil(self.low / step), math.floor(self.high / step + 1e-9) + 1)]


def nice_step(span: float, about: int = 5) -> float:
    """1, 2 or 5 times a power of ten that divides `span` into about so many parts."""
    raw = max(span, 1e-12) / about
    power = 10.0 ** math.floor(math.log10(raw))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)


def lines(x: Axis, y: Axis, series: Sequence[Line], *, limits: Sequence[tuple[float, str]] = (), name: str = "") -> str:
    """Lines over both axes. `limits`: values of y that are drawn as thresholds, with their labels."""
    body = [_grid(x, y)]
    for value, label in limits:
        height = _y(y, value)
        body.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        body.append(
            f'<text class="limit-label" text-anchor="end" x="{WIDTH - RIGHT - 4}" y="{height + 13:.1f}">'
            f"{escape(label)}</text>"
        )
    for line in series:
        places = [(_x(x, px), _y(y, py), title) for px, py, title in line.points]
        path = " ".join(f"{'M' if index == 0 else 'L'}{px:.1f} {py:.1f}" for index, (px, py, _) in enumerate(places))
        weaker = " dashed" if line.dashed else ""
        body.append(f'<path class="line {line.colour}{weaker}" d="{path}"/>')
        if line.marks:
            body += [
                f'<circle class="mark {line.colour}" cx="{px:.1f}" cy="{py:.1f}" r="3.5">'
                f"<title>{escape(title)}</title></circle>"
                for px, py, title in places
            ]
    return _svg("".join(body), name)


def bars(
    rows: Sequence[tuple[str, Sequence[tuple[str, float, str]]]], unit: str, *, name: str = "", label_width: int = 150
) -> str:
    """Horizontal stacked bars: (label, [(colour, value, title)]), the sum written behind each."""
    height, gap = 24, 14
    total = TOP + len(rows) * (height + gap) + 24
    longest = max((sum(value for _, value, _ in parts) for _, parts in rows), default=1.0) or 1.0
    width = WIDTH - label_width - 92
    axis = Axis("", 0.0, longest)
    body = []
    for mark in axis.marks():
        place = label_width + axis.place(mark) * width
        body.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{total - 24}"/>')
        body.append(f'<text class="tick" text-anchor="middle" x="{place:.1f}" y="{total - 8}">{mark:g}</text>')
    for index, (label, parts) in enumerate(rows):
        top = TOP + index * (height + gap) + gap / 2
        middle = top + height / 2 + 4
        body.append(
            f'<text class="row" text-anchor="end" x="{label_width - 10}" y="{middle:.1f}">{escape(label)}</text>'
        )
        at = float(label_width)
        for colour, value, title in parts:
            long = value / longest * width
            body.append(
                f'<rect class="bar {colour}" x="{at:.1f}" y="{top:.1f}" width="{max(0.0, long - 1):.1f}" '
                f'height="{height}" rx="2"><title>{escape(title)}</title></rect>'
            )
            at += long
        whole = sum(value for _, value, _ in parts)
        body.append(f'<text class="value" x="{at + 7:.1f}" y="{middle:.1f}">{whole:.2f} {unit}</text>')
    return _svg("".join(body), name, height=total)


def columns(
    x: Axis,
    bins: Sequence[tuple[float, float, int]],
    *,
    name: str = "",
    limits: Sequence[tuple[float, str]] = (),
    notes: Sequence[tuple[float, str]] = (),
) -> str:
    """A histogram: (from, to, count). `limits` and `notes`: values of x that are marked."""
    y = Axis("joins", 0.0, max((count for *_, count in bins), default=1) * 1.12)
    body = [_grid(x, y)]
    for low, high, count in bins:
        left, right, top = _x(x, low), _x(x, high), _y(y, count)
        title = f"{low:.0f} to {high:.0f} ms: {count}"
        body.append(
            f'<rect class="bar s-pysfu" x="{left:.1f}" y="{top:.1f}" width="{max(0.5, right - left - 1):.1f}" '
            f'height="{HEIGHT - BOTTOM - top:.1f}"><title>{escape(title)}</title></rect>'
        )
    for kind, value, label in [*(("limit", *limit) for limit in limits), *(("note", *note) for note in notes)]:
        place = _x(x, value)
        side = "end" if place > WIDTH * 0.7 else "start"
        shift = -6 if side == "end" else 6
        body.append(f'<line class="{kind}" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        body.append(
            f'<text class="{kind}-label" text-anchor="{side}" x="{place + shift:.1f}" y="{TOP + 10}">'
            f"{escape(label)}</text>"
        )
    return _svg("".join(body), name)


def number(value: float) -> str:
    """As short as a tick can be: 1200 is 1.2k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _grid(x: Axis, y: Axis) -> str:
    parts = []
    for mark in y.marks():
        height = _y(y, mark)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        text = number(mark) + y.unit
        parts.append(f'<text class="tick" text-anchor="end" x="{LEFT - 8}" y="{height + 4:.1f}">{text}</text>')
    for mark in x.marks():
        place = _x(x, mark)
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{place:.1f}" y="{HEIGHT - BOTTOM + 18}">'
            f"{number(mark) + x.unit}</text>"
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="axis-label" text-anchor="middle" x="{middle:.1f}" y="{HEIGHT - 6}">{escape(x.label)}</text>'
    )
    across = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="axis-label" text-anchor="middle" transform="rotate(-90 12 {across:.1f})" '
        f'x="12" y="{across:.1f}">{escape(y.label)}</text>'
    )
    return "".join(parts)


def _x(axis: Axis, value: float) -> float:
    return LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM)


def _svg(body: str, name: str, *, height: float = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(name)}">{body}</svg>'
