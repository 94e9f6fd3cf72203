"""Questions under way and their answers, whatever carries them: what the client on Redis and the direct client share.

It refuses to know Redis and relays.
"""

import asyncio
import contextlib
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from rmb_peer.sdk.calls import TIMEOUT_S_DEFAULT, Answer, Awaited, Call, Outcome, check_timeout
from rmb_peer.sdk.errors import CallError
from rmb_peer.sdk.payloads import Payload

CALLS_MAX = 10_000
"""Requests of one client that wait for answers. A guess: a reply list may hold as many (`local/keys.py`)."""

EMPTY = Payload(b"")

Progress = Callable[[Outcome, int, int], None]
"""Told of each ending as it comes, with how many there are by now, and how many there will be."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request whose answers somebody waits for.

    Attributes:
        awaited: what is missing.
        arrived: where endings go; what was asked bounds it.
        began_s: monotonic seconds.
        timeout_s: how long somebody waits from then on.
    """

    awaited: Awaited
    arrived: "asyncio.Queue[Outcome]"
    began_s: float
    timeout_s: float

    def heard(
        self,
        source: str,
        payload: bytes,
        schema: str | None,
        error: tuple[int, str] | None,
        about: int | None = None,
    ) -> None:
        """See `Awaited.heard`."""
        seconds = time.monotonic() - self.began_s
        outcome = self.awaited.heard(source, payload, schema, error, seconds, about)
        if outcome is not None:
            self.arrived.put_nowait(outcome)


class Asker(ABC):
    """Asks twins. It belongs to one event loop."""

    def __init__(self) -> None:
        """Begin without questions."""
        self._questions: dict[str, Question] = {}

    async def __aenter__(self) -> Self:
        """Use it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """See `close`."""
        await self.close()

    async def call(
        self,
        twin: int,
        command: str,
        payload: object = EMPTY,
        *,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        tag: str | None = None,
    ) -> Answer:
        """Ask one twin and wait for its answer.

        Args:
            twin: twin id.
            command: such as "zos.system.version".
            payload: bytes, a `Payload`, or what JSON can hold.
            timeout_s: how long to wait, and how long the request lives.
            tag: see `Call`.

        Raises:
            CallError: there is no answer; the kind says why, with code, text and twin.
            StoreUnavailable: Redis cannot be used.
            ValueError: no request can be like this.
        """
        (outcome,) = await self.call_many([Call(twin, command, payload, tag=tag)], timeout_s=timeout_s)
        if isinstance(outcome, CallError):
            raise outcome
        return outcome

    async def call_many(
        self, calls: Sequence[Call], *, timeout_s: float = TIMEOUT_S_DEFAULT, progress: Progress | None = None
    ) -> list[Outcome]:
        """Ask several twins, or several commands, at the same time, and wait for all.

        Args:
            calls: what to ask; `Call.each` makes one for each twin and command.
            timeout_s: how long to wait for all of them together.
            progress: see `Progress`.

        Returns:
            one ending for each twin of each call, in the order in which they came. Failures are values here.

        Raises:
            StoreUnavailable: Redis cannot be used.
            ValueError: too many calls, or a timeout that is none.
        """
        total = sum(len(call.twins) for call in calls)
        endings: list[Outcome] = []
        async with contextlib.aclosing(self.outcomes(calls, timeout_s=timeout_s)) as outcomes:
            async for outcome in outcomes:
                endings.append(outcome)
                if progress is not None:
                    progress(outcome, len(endings), total)
        return endings

    async def outcomes(
        self, calls: Sequence[Call], *, timeout_s: float = TIMEOUT_S_DEFAULT
    ) -> AsyncGenerator[Outcome, None]:
        """`call_many` as an iterator: each ending as it comes. Close it early, and the rest is forgotten.

        Raises:
            StoreUnavailable: Redis cannot be used.
            ValueError: too many calls, or a timeout that is none.
        """
        check_timeout(timeout_s)
        if len(self._questions) + len(calls) > CALLS_MAX:
            raise ValueError(f"more than {CALLS_MAX} calls at the same time")
        begin_s = time.monotonic()
        arrived: asyncio.Queue[Outcome] = asyncio.Queue()
        asked = {uuid.uuid4().hex: Question(Awaited(call), arrived, begin_s, timeout_s) for call in calls}
        missing = sum(len(call.twins) for call in calls)
        self._questions |= asked
        try:
            await self._ask(asked)
            with contextlib.suppress(TimeoutError):
                while missing:
                    async with asyncio.timeout(begin_s + timeout_s - time.monotonic()):
                        outcome = await arrived.get()
                    missing -= 1
                    yield outcome
        finally:
            for reference in asked:
                del self._questions[reference]
            unanswered = {name: question for name, question in asked.items() if question.awaited.missing > 0}
            not_taken = await self._take_back(unanswered) if unanswered else frozenset[str]()
        while not arrived.empty():  # what came together with the end of the time
            yield arrived.get_nowait()
        for reference, question in asked.items():
            for failure in question.awaited.overdue(timeout_s, reference not in not_taken):
                yield failure

    @abstractmethod
    async def close(self) -> None:
        """Stop waiting, and leave nothing behind. Closing twice is harmless."""

    @abstractmethod
    async def _ask(self, asked: Mapping[str, Question]) -> None:
        """Send questions; the keys are their references."""

    @abstractmethod
    async def _take_back(self, unanswered: Mapping[str, Question]) -> frozenset[str]:
        """Nobody waits any longer: the answer says which of the questions never left."""
