"""Curves as one SVG file: small, readable as text, and drawn without a plotting library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.simulation.gossip.scenario import Panel
from tests.simulation.gossip.verdicts import Result

WIDTH, HEIGHT, PER_ROW = 460, 300, 2
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 56, 46
# Distinguishable without colour vision (Okabe and Ito 2008), and by the shape of the line as well.
STYLES = {"upstream": ("#d55e00", "6 3"), "ours": ("#0072b2", ""), "specification": ("#777777", "2 3")}
OTHER_STYLE = ("#009e73", "8 2 2 2")


@dataclass(frozen=True, slots=True)
class Point:
    """A place on a curve, with half the width of its confidence interval."""

    x: float
    y: float
    half: float = 0.0


def draw(panels: Sequence[Panel], results: Sequence[Result]) -> str:
    """All panels of which something was run, as an SVG document."""
    drawn = [(panel, lines) for panel in panels if (lines := curves(panel, results)).keys() - {"specification"}]
    rows = math.ceil(max(1, len(drawn)) / PER_ROW)
    width, height = WIDTH * max(1, min(PER_ROW, len(drawn))), HEIGHT * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for place, (panel, lines) in enumerate(drawn):
        parts.append(f'<g transform="translate({place % PER_ROW * WIDTH} {place // PER_ROW * HEIGHT})">')
        parts += _panel(panel, lines)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def curves(panel: Panel, results: Sequence[Result]) -> dict[str, list[Point]]:
    """The points of every profile's curve, and of the specification's."""
    of = {(result.scenario.name, result.profile): result for result in results}
    profiles = list(dict.fromkeys(result.profile for result in results))
    made: dict[str, list[Point]] = {}
    if panel.anchor:
        made["specification"] = [Point(x, y) for x, y in panel.anchor]
    for profile in profiles:
        points = []
        if panel.rounds_of and (result := of.get((panel.rounds_of, profile))):
            points = [
                Point(place, each[panel.measure].mean, each[panel.measure].ci95)
                for place, each in enumerate(result.rounds, 1)
            ]
        for x, name in panel.points:
            found = of.get((name, profile))
            if found and panel.measure in found.measures:
                points.append(Point(x, found.measures[panel.measure].mean, found.measures[panel.measure].ci95))
        if points:
            made[profile] = points
    return made


def ticks(most: float, about: int = 5) -> list[float]:
    """Round numbers from 0 to at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def _panel(panel: Panel, lines: dict[str, list[Point]]) -> list[str]:
    points = [point for line in lines.values() for point in line]
    across = ticks(max((point.x for point in points), default=1.0))
    up = ticks(max((point.y + point.half for point in points), default=1.0))

    def x_of(x: float) -> float:
        return LEFT + x / across[-1] * (WIDTH - LEFT - RIGHT)

    def y_of(y: float) -> float:
        return HEIGHT - BOTTOM - max(0.0, y) / up[-1] * (HEIGHT - TOP - BOTTOM)

    middle = (LEFT + WIDTH - RIGHT) / 2
    parts = [
        f'<text x="{middle:.0f}" y="18" text-anchor="middle" font-size="13">{escape(panel.title)}</text>',
        f'<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(panel.x_label)}</text>',
        f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(panel.y_label)}</text>",
    ]
    for y in up:
        parts.append(f'<path d="M{LEFT} {y_of(y):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y_of(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    parts += [f'<text x="{x_of(x):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{x:g}</text>' for x in across]
    for place, (name, line) in enumerate(lines.items()):
        colour, dashes = STYLES.get(name, OTHER_STYLE)
        stroke = f'stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dashes}"'
        path = " ".join(f"{x_of(point.x):.1f},{y_of(point.y):.1f}" for point in line)
        parts.append(f'<polyline points="{path}" fill="none" {stroke}/>')
        if len(line) <= 12:
            parts += [_bar(x_of(p.x), y_of(p.y - p.half), y_of(p.y + p.half), y_of(p.y), colour) for p in line]
        legend = LEFT + 8 + place * 118
        parts.append(f'<path d="M{legend} 36h24" {stroke}/><text x="{legend + 29}" y="40">{escape(name)}</text>')
    return parts


def _bar(x: float, low: float, high: float, middle: float, colour: str) -> str:
    whisker = f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}"/>'
    return f'{whisker}<circle cx="{x:.1f}" cy="{middle:.1f}" r="2.6" fill="{colour}"/>'
