"""Line charts as SVG, several in one picture, with logarithmic axes. It refuses to know what is drawn.

The picture brings its own light ground, so that it reads the same on a dark page. Colours are those of Okabe and Ito,
which colour-blind people can tell apart; lines differ by their markers, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT = 560, 380
"""Of one chart."""

LEFT, RIGHT, TOP, BOTTOM = 64, 32, 64, 56
"""Room around the plane with the lines."""

TITLE_HEIGHT = 44
COLUMNS = 2
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GROUND, INK, FAINT = "#ffffff", "#1f2328", "#d8dee4"
MARKERS = ("circle", "square", "diamond", "triangle")
LEGEND_STEP = 118


@dataclass(frozen=True)
class Line:
    """Points that belong together; both coordinates above zero."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        title: over it.
        x_label, y_label: with the unit.
        lines: at least one with a point.
        bytes_on_x: whether x is in bytes, and its ticks are at powers of two.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    bytes_on_x: bool = False


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis: values from `low` to `high` to pixels from `begin` to `end`."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Where a value lies."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + share * (self.end - self.begin)


def picture(title: str, charts: Sequence[Chart]) -> str:
    """All charts in one SVG document, two in a row.

    Raises:
        ValueError: there is nothing to draw, or a coordinate is not above zero.
    """
    if not charts:
        raise ValueError("no chart")
    rows = math.ceil(len(charts) / COLUMNS)
    width, height = WIDTH * min(COLUMNS, len(charts)), TITLE_HEIGHT + HEIGHT * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="{GROUND}"/>',
        _text(width / 2, 28, title, size=16, anchor="middle", weight="bold"),
    ]
    for number, one in enumerate(charts):
        row, column = divmod(number, COLUMNS)
        parts.append(f'<g transform="translate({column * WIDTH} {TITLE_HEIGHT + row * HEIGHT})">')
        parts += _chart(one)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def axes(chart: Chart) -> tuple[Axis, Axis]:
    """The axes of a chart: x as wide as its points, y from one power of ten to another."""
    xs = [x for line in chart.lines for x, _ in line.points]
    ys = [y for line in chart.lines for _, y in line.points]
    if not xs or min(xs) <= 0 or min(ys) <= 0:
        raise ValueError(f"{chart.title}: logarithmic axes need points above zero")
    wider = 1.0 if max(xs) > min(xs) else 2.0
    low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
    return (
        Axis(min(xs) / wider, max(xs) * wider, LEFT, WIDTH - RIGHT),
        Axis(low, high if high > low else low * 10, HEIGHT - BOTTOM, TOP),
    )


def _chart(chart: Chart) -> list[str]:
    x, y = axes(chart)
    middle = (x.begin + x.end) / 2
    parts = [_text(x.begin, 20, chart.title, size=14, weight="bold")]
    for value in _ticks(y):
        at = y.at(value)
        parts.append(_stroke(x.begin, at, x.end, at))
        parts.append(_text(x.begin - 8, at + 4, _short(value), anchor="end"))
    for value in _ticks(x, powers_of_two=chart.bytes_on_x):
        at = x.at(value)
        parts.append(_stroke(at, y.begin, at, y.end))
        parts.append(_text(at, y.begin + 18, _bytes(value) if chart.bytes_on_x else _short(value), anchor="middle"))
    parts.append(_text(middle, HEIGHT - 14, chart.x_label, anchor="middle"))
    turned = (y.begin + y.end) / 2
    parts.append(_text(16, turned, chart.y_label, anchor="middle", turn=f"rotate(-90 16 {turned:g})"))
    for number, line in enumerate(chart.lines):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        places = [(x.at(a), y.at(b)) for a, b in sorted(line.points)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for (a, b), (value_x, value_y) in zip(places, sorted(line.points), strict=True):
            about = f"{line.name}: {value_y:.4g} at {value_x:,.0f}"
            parts.append(f"<g>{_marker(marker, a, b, colour)}<title>{escape(about)}</title></g>")
        a, b = x.begin + 8 + LEGEND_STEP * (number % 4), 38.0 + 18 * (number // 4)
        parts.append(_marker(marker, a, b, colour))
        parts.append(_text(a + 10, b + 4, line.name))
    return parts


def _ticks(axis: Axis, powers_of_two: bool = False) -> list[float]:
    """Powers of ten; for sizes powers of 16, which are 1, 16, 256 of each unit."""
    base = 16 if powers_of_two else 10
    first, last = math.ceil(math.log(axis.low, base) - 1e-9), math.floor(math.log(axis.high, base) + 1e-9)
    return [float(base) ** power for power in range(first, last + 1)]


def _short(value: float) -> str:
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return f"{value:g}"


def _bytes(value: float) -> str:
    for factor, unit in ((2**20, "MiB"), (2**10, "KiB")):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return f"{value:g} B"


def _stroke(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{FAINT}"/>'


def _marker(shape: str, x: float, y: float, colour: str) -> str:
    paint = f'fill="{colour}"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {paint}/>'
    if shape == "square":
        return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" {paint}/>'
    corners = [(0, -5), (5, 0), (0, 5), (-5, 0)] if shape == "diamond" else [(0, -5), (5, 4), (-5, 4)]
    path = " ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in corners)
    return f'<polygon points="{path}" {paint}/>'


def _text(
    x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal", turn: str = ""
) -> str:
    more = f' transform="{turn}"' if turn else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}"{more}>'
        f"{escape(text)}</text>"
    )
