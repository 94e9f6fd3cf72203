"""Charts as SVG: well formed, and every value where it belongs."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.picture import HEIGHT, LEFT, RIGHT, TITLE_HEIGHT, WIDTH, Axis, Chart, Line, axes, picture

SVG = "{http://www.w3.org/2000/svg}"
POSITIVE = st.floats(1e-3, 1e9)
CHARTS = st.builds(
    Chart,
    st.text("ab<&>\"'µ", max_size=9),
    st.just("x"),
    st.just("y"),
    st.lists(
        st.builds(Line, st.text("a<&", max_size=4), st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=5)),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)


def drawn(*charts: Chart) -> ET.Element:
    return ET.fromstring(picture("Title", charts))


def test_a_logarithmic_axis() -> None:
    """Each power of ten takes the same room."""
    axis = Axis(1, 1000, 100, 400)
    assert [axis.at(value) for value in (1, 10, 100, 1000)] == pytest.approx([100, 200, 300, 400])


def test_values_are_in_the_right_place() -> None:
    """The middle of the line is in the middle of the plane; its ends are in the corners."""
    chart = Chart("Cost", "messages", "µs", [Line("relay", [(1, 10), (10, 100), (100, 1000)])])
    x, y = axes(chart)
    [line] = drawn(chart).iter(f"{SVG}polyline")
    places = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert places[0] == pytest.approx((x.begin, y.begin))
    assert places[1] == pytest.approx(((x.begin + x.end) / 2, (y.begin + y.end) / 2))
    assert places[2] == pytest.approx((x.end, y.end))
    assert (x.begin, x.end) == (LEFT, WIDTH - RIGHT)
    assert y.end < y.begin < HEIGHT, "up is more"


def test_labels_units_and_legend() -> None:
    """What a reader needs is there: titles, names of lines, labels of axes, and ticks with units."""
    sizes = Chart("Size", "payload", "µs per request", [Line("gateways", [(100, 5), (2**20, 50)])], bytes_on_x=True)
    counts = Chart("Waiting", "messages", "µs", [Line("relay", [(1, 1), (10_000, 2)])])
    texts = [text.text for text in drawn(sizes, counts).iter(f"{SVG}text")]
    for expected in ("Title", "Size", "payload", "µs per request", "gateways", "256 B", "4 KiB", "64 KiB", "1 MiB"):
        assert expected in texts
    for expected in ("Waiting", "relay", "1", "10", "100", "1 k", "10 k"):
        assert expected in texts


def test_lines_are_told_apart_and_the_ground_is_drawn() -> None:
    """Lines have colours of their own; a light ground under all of it keeps it readable on a dark page."""
    root = drawn(Chart("", "", "", [Line(str(n), [(1, 1), (2, n)]) for n in range(1, 5)]))
    assert len({line.attrib["stroke"] for line in root.iter(f"{SVG}polyline")}) == 4
    first = next(root.iter(f"{SVG}rect"))
    assert (first.attrib["width"], first.attrib["height"]) == (root.attrib["width"], root.attrib["height"])
    assert first.attrib["fill"] == "#ffffff"


def test_two_charts_in_a_row() -> None:
    """Three charts need two rows."""
    chart = Chart("", "", "", [Line("", [(1, 1), (2, 2)])])
    root = drawn(chart, chart, chart)
    assert root.attrib["viewBox"] == f"0 0 {2 * WIDTH} {TITLE_HEIGHT + 2 * HEIGHT}"
    moved = [group.attrib["transform"] for group in root.iter(f"{SVG}g") if "transform" in group.attrib]
    assert moved == [f"translate({x} {y})" for x, y in ((0, 44), (WIDTH, 44), (0, 44 + HEIGHT))]


@given(st.lists(CHARTS, min_size=1, max_size=3))
def test_always_well_formed_and_inside(charts: list[Chart]) -> None:
    """Whatever the names and values are, it is XML, and no point lies outside its chart."""
    for line in drawn(*charts).iter(f"{SVG}polyline"):
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


@pytest.mark.parametrize("points", [[], [(0.0, 1.0)], [(1.0, -1.0)]])
def test_what_has_no_logarithm_is_refused(points: list[tuple[float, float]]) -> None:
    """No points, or one at zero or below, is an error that names the chart."""
    with pytest.raises(ValueError, match="Cost"):
        picture("", [Chart("Cost", "", "", [Line("", points)])])


def test_nothing_to_draw_is_refused() -> None:
    """No chart is an error."""
    with pytest.raises(ValueError, match="no chart"):
        picture("", [])
