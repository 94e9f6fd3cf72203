"""Do messages flow: a signed request to ourselves, through the relay and back. Asked often, it is sent seldom.

This module refuses to know who wants to know, and how it is told.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rmb_peer.downstream import Downstream
from rmb_peer.protocol.envelope import FAIL_FAST, Envelope
from rmb_peer.protocol.errors import RmbError
from rmb_peer.sender import Draft, Sender

PROBE_S_MAX = 5.0
"""Longest wait for the answer; a guess. Also the request's lifetime."""

PROBE_EVERY_S = 5.0
"""A result is repeated for this long instead of sending another probe: what a prober asks must not become load. A
guess, twice as often as orchestrators ask."""

PROBE_UID_PREFIX = "rmb-probe-"


class ProbeFailed(Exception):
    """It did not come back; the text says why."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The result of a probe.

    Attributes:
        at_s: when it ended, monotonic seconds.
        took_s: there and back; `None` when it failed.
        problem: why it failed, or `None`.
    """

    at_s: float
    took_s: float | None
    problem: str | None


class Prober:
    """Sends probes in the name of one twin."""

    def __init__(
        self,
        *,
        twin_id: int,
        sender: Sender,
        downstream: Downstream,
        connected: Callable[[], bool],
        clock: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Set up.

        Args:
            twin_id: our own twin.
            sender: carries the request.
            downstream: hands over the answer.
            connected: whether a relay is connected; without one nothing is sent.
            clock: monotonic seconds.
            random_bytes: makes uids that nobody can guess.
        """
        self._twin_id = twin_id
        self._sender = sender
        self._downstream = downstream
        self._connected = connected
        self._clock = clock
        self._random_bytes = random_bytes
        self._one_at_a_time = asyncio.Lock()
        self.last: Probed | None = None

    async def probed(self) -> Probed:
        """A result that is fresh enough; sends a probe if there is none."""
        async with self._one_at_a_time:
            if self.last is None or self._clock() - self.last.at_s >= PROBE_EVERY_S:
                began_s = self._clock()
                took_s = problem = None
                try:
                    await self._probe()
                    took_s = self._clock() - began_s
                except ProbeFailed as error:
                    problem = str(error)
                self.last = Probed(self._clock(), took_s, problem)
            elif self.last.took_s is not None and not self._connected():
                return Probed(self._clock(), None, "no relay is connected")
            return self.last

    async def _probe(self) -> None:
        if not self._connected():
            raise ProbeFailed("no relay is connected")
        uid = PROBE_UID_PREFIX + self._random_bytes(16).hex()
        answered: asyncio.Future[Envelope] = asyncio.get_running_loop().create_future()
        request = Envelope(uid=uid, expiration=int(PROBE_S_MAX), tags=FAIL_FAST)
        request.request.command = "rmb.version"
        request.destination.twin = self._twin_id

        # Several endings may come before we run again; only the first counts.
        def came(answer: Envelope) -> None:
            if not answered.done():
                answered.set_result(answer)

        def failed(error: RmbError) -> None:
            if not answered.done():
                answered.set_exception(ProbeFailed(str(error)))

        self._downstream.expect(uid, came)
        try:
            self._sender.submit(Draft(request, arrived=lambda *_: None, failed=failed))
            async with asyncio.timeout(PROBE_S_MAX):
                answer = await answered
        except TimeoutError:
            raise ProbeFailed(f"a request to ourselves did not come back within {PROBE_S_MAX:g} s") from None
        finally:
            self._downstream.expect_no_more(uid)
            answered.cancel()
        if answer.WhichOneof("message") == "error":
            raise ProbeFailed(f"error {answer.error.code}: {answer.error.message}")
