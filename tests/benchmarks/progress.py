"""How far the benchmark is, on standard error: a bar for each part on a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

REFRESH_PER_S = 2
"""Of the bar: drawing it takes processor time from what is measured."""


class Told(Protocol):
    """Hears how far the work is."""

    def part(self, name: str) -> None:
        """A part begins; what it needs is started."""

    def steps(self, count: int) -> None:
        """It consists of so many runs, or of so many more."""

    def step(self, name: str) -> None:
        """A run begins."""


class Lines:
    """A line when a part begins, and one for each run."""

    def __init__(self) -> None:
        self._begin_s = time.monotonic()
        self._name, self._count, self._at = "", 0, 0

    def part(self, name: str) -> None:
        self._name, self._at, self._count = name, 0, 0
        self._say(f"{name}: starting")

    def steps(self, count: int) -> None:
        self._count += count

    def step(self, name: str) -> None:
        self._at += 1
        self._say(f"{self._name} {self._at}/{self._count}: {name}")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._begin_s:5.0f} s  {text}", file=sys.stderr, flush=True)


@contextmanager
def progress() -> Iterator[Told]:
    """Show progress until the context ends."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=REFRESH_PER_S) as bars:

        class Bars:
            """One bar for each part."""

            def __init__(self) -> None:
                self._name, self._task, self._done, self._count = "", TaskID(0), 0, 0

            def part(self, name: str) -> None:
                self.close()
                self._name, self._done, self._count = name, 0, 0
                self._task = bars.add_task(f"{name}: starting", total=None)

            def steps(self, count: int) -> None:
                self._count += count
                bars.update(self._task, total=self._count)

            def step(self, name: str) -> None:
                bars.update(self._task, completed=self._done, description=f"{self._name}: {name}")
                self._done += 1

            def close(self) -> None:
                if self._name:
                    bars.update(self._task, completed=self._done, description=self._name)
                    bars.stop_task(self._task)

        told = Bars()
        yield told
        told.close()
