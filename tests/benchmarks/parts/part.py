"""What a part of the benchmark is."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.rounds import Case
from tests.benchmarks.settings import Settings

Start = Callable[[AsyncExitStack, Path, Settings], Awaitable[Sequence[Case]]]

NETWORK_S = 4.0
"""Starting a relay and two gateways; like all times for estimates, seen on a quiet machine with two cores."""


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: by which it is chosen.
        about: a line for the help.
        stages: each starts processes, which end with the stack, in a folder that is there, and says what the cases are,
            in the order of a round. The next stage begins when all rounds of one are over.
        estimate_s: how long all of it will take, roughly.
    """

    name: str
    about: str
    stages: Sequence[Start]
    estimate_s: Callable[[Settings], float]
