"""Diagrams: ticks that fit, curves that are where the figures are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.gossip.picture import Point, curves, draw, ticks
from tests.simulation.gossip.scenario import Panel, Scenario
from tests.simulation.gossip.steps import Bootstrap
from tests.simulation.gossip.story import Outcome
from tests.simulation.gossip.verdicts import results


@given(st.floats(1e-6, 1e9))
def test_ticks_reach_the_largest_value_in_few_steps(most: float) -> None:
    """Round steps from zero to at least the largest value, and not many of them."""
    marks = ticks(most)
    assert marks[0] == 0
    assert marks[-1] >= most * (1 - 1e-6)
    assert 2 <= len(marks) <= 12


@pytest.mark.parametrize(("most", "marks"), [(0, [0, 1]), (5, [0, 1, 2, 3, 4, 5]), (100, [0, 20, 40, 60, 80, 100])])
def test_ticks_of_common_ranges(most: float, marks: list[float]) -> None:
    """Ticks that a person would choose."""
    assert ticks(most) == marks


def test_a_curve_has_a_point_for_each_scenario_that_was_run() -> None:
    """Scenarios left out with `--only` leave a gap and no error."""
    scenario = Scenario("a", 10, (Bootstrap(),), profiles=("ours",))
    found = results([scenario], [Outcome("a", "ours", 1, {"rmr": 0.2, "delivered_twice": 0})])
    panel = Panel("t", "rmr", "x", "y", points=((5, "a"), (9, "b")), anchor=((5, 0.4),))
    assert curves(panel, found) == {"specification": [Point(5, 0.4)], "ours": [Point(5, 0.2)]}


def test_a_diagram_of_nothing_is_left_out() -> None:
    """Only panels of which something was run are drawn; with none the picture is empty and still a picture."""
    scenario = Scenario("a", 10, (Bootstrap(),), profiles=("ours",))
    found = results([scenario], [Outcome("a", "ours", 1, {"rmr": 0.2, "delivered_twice": 0})])
    ran = Panel("ran", "rmr", "x", "y", points=((5, "a"),))
    not_run = Panel("not run", "rmr", "x", "y", points=((5, "b"),), anchor=((5, 0.4),))
    assert "not run" not in draw([not_run, ran], found)
    assert "ran" in draw([not_run, ran], found)
    assert draw([not_run], found).startswith("<svg")
