"""Measurements that take turns: round after round through all of them, then the median of each figure.

What disturbs the machine for a while falls on all of them alike. This module refuses to know what is measured.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Figures = Mapping[str, float]


@dataclass
class Case:
    """One measurement.

    Attributes:
        group: which cases share a table.
        name: what it is called there.
        run: measures once.
        once: whether one round is enough, for what takes long and varies little.
        seen: the figures of each round.
    """

    group: str
    name: str
    run: Callable[[], Awaitable[Figures]]
    once: bool = False
    seen: list[Figures] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """The median of each figure."""
        return {name: median(figures[name] for figures in self.seen) for name in self.seen[0]}


def runs(cases: Sequence[Case], rounds: int) -> int:
    """How often anything is run."""
    return sum(1 if case.once else rounds for case in cases)


async def interleave(cases: Sequence[Case], rounds: int, step: Callable[[str], None]) -> None:
    """Run every case once in each round.

    Args:
        cases: in this order.
        rounds: at least one.
        step: hears the name of each case before it runs.
    """
    for number in range(rounds):
        for case in cases:
            if case.once and number:
                continue
            step(case.name)
            case.seen.append(await case.run())
