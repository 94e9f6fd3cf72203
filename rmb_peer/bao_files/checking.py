"""Checking files in several threads.

It refuses to know what is right: that is the core's.
"""

from collections.abc import Callable, Iterator
from functools import partial

from rmb_peer.bao_files.encoding import Advance
from rmb_peer.bao_files.parallel import in_order
from rmb_peer.protocol.bao import Check, Finding, Subtree


def findings(check: Check, threads: int, advance: Advance, start: Subtree | None = None) -> Iterator[Finding]:
    """All findings about a store, in the order of content.

    Args:
        check: what is checked; its store is read by several threads at once.
        threads: how many.
        advance: told about progress.
        start: only this subtree.

    Raises:
        OSError: reading failed.
    """

    def jobs() -> Iterator[Callable[[], list[Finding]]]:
        for unit in check.units(start):
            yield partial(check.run, unit) if isinstance(unit, Subtree) else partial(_known, unit)

    for found in in_order(jobs(), threads):
        yield from found
        advance(sum(check.span(finding.subtree)[1] for finding in found))


def _known(finding: Finding) -> list[Finding]:
    return [finding]
