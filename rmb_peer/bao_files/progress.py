"""A progress bar on standard error, when that is a terminal. It refuses to know what makes progress."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rmb_peer.bao_files.encoding import Advance


@contextmanager
def progress(label: str, total_bytes: int | None, wanted: bool) -> Iterator[Advance]:
    """Show how far the work is, how fast it goes, and how long it will take.

    Args:
        label: what is done.
        total_bytes: `None` if nobody knows: a size that is only claimed is not shown as a fact.
        wanted: whether to show anything at all.

    Yields:
        a function that is told about further bytes; it does nothing without a terminal.
    """
    if not wanted or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total_bytes)
        yield lambda count: bar.advance(task, count)
