"""Measurements take turns, and their medians count."""

import pytest

from tests.benchmarks.parts.all import PARTS
from tests.benchmarks.rounds import Case, Figures, interleave, runs
from tests.benchmarks.settings import FULL, QUICK


async def test_rounds_take_turns() -> None:
    """Every case runs once in each round, those that need only one in the first."""
    order: list[str] = []

    def case(name: str, once: bool = False) -> Case:
        async def run() -> Figures:
            order.append(name)
            return {"at": float(len(order))}

        return Case("group", name, run, once)

    cases = [case("a"), case("once", once=True), case("b")]
    stepped: list[str] = []
    await interleave(cases, 3, stepped.append)
    assert order == stepped == ["a", "once", "b", "a", "b", "a", "b"]
    assert runs(cases, 3) == len(order)
    assert [one.figures() for one in cases] == [{"at": 4.0}, {"at": 2.0}, {"at": 5.0}]


@pytest.mark.parametrize("name", PARTS)
def test_estimates(name: str) -> None:
    """Every part says how long it takes, and that a first look is shorter."""
    part = PARTS[name]
    assert 0 < part.estimate_s(QUICK) < part.estimate_s(FULL)
