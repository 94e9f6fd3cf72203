"""When nobody answers: one error for each silent destination, on the list of the program that asked.

The deadlines are in the store, written together with the record of who waits, so they survive whatever happens to this
process. The store decides in one script whether an answer or the error came first; the other one is not pushed.
"""

import asyncio
import logging
from collections.abc import Callable

from rmb_peer.journal import Journal
from rmb_peer.local.messages import local_error
from rmb_peer.local.queues import Damaged, DeadLetter, Delivery, Ending, LocalQueues, Outcome, Overdue
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.errors import NoAnswer

GRACE_S = 2
"""Seconds between the end of a request's life and the error: a more exact reason (expired before sending) is told
within half a second, and an answer that took the whole time may still be on its last steps. A guess."""

EVERY_S = 1.0
"""How often deadlines are looked at: one command to the store. A guess."""

REQUESTS_MAX = 256
"""Requests in one look. A guess, as many as one take."""

ERRORS_MAX = 2000
"""Errors in one script; what is left is told by the next. A guess: some tens of milliseconds for the store."""

_LOG = get_logger("gateway")


class Deadlines:
    """Tells of silence."""

    def __init__(self, queues: LocalQueues, wall_clock: Callable[[], float], journal: Journal | None = None) -> None:
        """Watch the deadlines in `queues` by a clock of Unix seconds."""
        self._queues = queues
        self._wall_clock = wall_clock
        self._journal = journal or Journal()

    async def run(self) -> None:
        """Tell until cancelled; first of all what became due while no gateway ran."""
        while True:
            if not await self.sweep():
                await asyncio.sleep(EVERY_S)

    async def sweep(self) -> int:
        """Tell of the requests that are overdue now.

        Returns:
            how many there were; when it is not 0 there may be more.
        """
        overdue = await self._queues.overdue(self._wall_clock(), REQUESTS_MAX)
        errors: list[Delivery] = []
        letters: list[DeadLetter] = []
        over: list[str] = []
        for request in overdue:
            if isinstance(request.waiting, Damaged):
                letters.append(self._damaged(request, request.waiting))
            if isinstance(request.waiting, Damaged) or not request.silent:
                over.append(request.uid)
            else:
                errors += [self._error(request, twin) for twin in request.silent[: ERRORS_MAX - len(errors)]]
        outcomes = await self._queues.conclude(errors, letters, ())
        for error, outcome in zip(errors, outcomes, strict=True):
            if outcome is not Outcome.REPEATED and error.ending is not None:
                self._journal.note(error.ending.uid, "expired", twin=error.ending.twin, told=outcome.value)
        await self._queues.forget(over)
        return len(overdue)

    def _error(self, request: Overdue, twin: int) -> Delivery:
        waiting = request.waiting
        assert not isinstance(waiting, Damaged)
        problem = NoAnswer(twin, waiting.ttl_s)
        value = local_error(waiting.reference, problem.code, str(problem))
        return Delivery(waiting.reply_to, value, (), 0, Ending.of(waiting, twin, ours=True, kept_s=0))

    def _damaged(self, request: Overdue, damaged: Damaged) -> DeadLetter:
        reason = f"the record of request {request.uid} is damaged: its sender cannot be told that nobody answered"
        event(_LOG, logging.ERROR, "damaged record", uid=request.uid)
        return DeadLetter("record", damaged.record, reason, request.uid)
