"""A client on Redis: asks twins through the gateway there, any number of questions at once.

    async with Client() as client:
        answer = await client.call(7, "calc.add", [1, 2])
        print(answer.json())

All answers come to one list of this client, which nobody else uses; one task pops them. Whatever comes too late is
thrown away, so that nothing is left behind. Works beside any gateway that speaks the Redis API (spec rmb 5.2, 5.4).
"""

import asyncio
import contextlib
import logging
import math
import os
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

from rmb_peer.local import keys
from rmb_peer.local.program_side import UnreadableAnswer, read_answer, request_json
from rmb_peer.local.redis_url import REDIS_DEFAULT, REDIS_VARIABLE, public_url
from rmb_peer.logs import event, get_logger
from rmb_peer.sdk.calls import TIMEOUT_S_DEFAULT, Answer, Awaited, Call, Outcome, check_timeout
from rmb_peer.sdk.errors import CallError, StoreUnavailable
from rmb_peer.sdk.leasing import ANSWER_S_MAX, AWAY, open_redis
from rmb_peer.sdk.payloads import Payload

REPLY_LIST_PREFIX = "rmb-call."
"""Our own lists: not under `msgbus.`, where a remote command could name them, nor under the gateway's `rmb:`."""

CALLS_MAX = 10_000
"""Requests of one client that wait for answers. A guess: a reply list may hold as many (`local/keys.py`)."""

POP_S_MAX = 20
"""Longest single wait for an answer, whole seconds. It bounds how long a connection that died stays unnoticed."""

_RECONNECT_S = 0.2
_LATE_S = 3  # beyond our wait: the request lives a second longer, and clocks are read in whole seconds
_LOG = get_logger("client")

Progress = Callable[[Outcome, int, int], None]
"""Told of each ending as it comes, with how many there are by now, and how many there will be."""


@dataclass(slots=True)
class _Waiting:
    """A request whose answers somebody waits for."""

    awaited: Awaited
    arrived: "asyncio.Queue[Outcome]"
    began_s: float


class Client:
    """Asks twins. Use it as an async context manager; it belongs to one event loop."""

    def __init__(self, redis_url: str | None = None) -> None:
        """Connect when it is first needed.

        Args:
            redis_url: the gateway's Redis; by default the variable RMB_REDIS, else redis://localhost:6379.

        Raises:
            ValueError: it is no Redis URL.
        """
        self._url = redis_url or os.environ.get(REDIS_VARIABLE) or REDIS_DEFAULT
        self._redis = open_redis(self._url)
        self._list = REPLY_LIST_PREFIX + uuid.uuid4().hex
        self._waiting: dict[str, _Waiting] = {}
        self._reader: asyncio.Task[None] | None = None
        self._somebody_waits = asyncio.Event()
        self._late_until_s = -math.inf

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
        payload: object = Payload(b""),
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
        if len(self._waiting) + len(calls) > CALLS_MAX:
            raise ValueError(f"more than {CALLS_MAX} calls at the same time")
        begin_s = time.monotonic()
        arrived: asyncio.Queue[Outcome] = asyncio.Queue()  # bounded by what was asked
        sent = {uuid.uuid4().hex: _Waiting(Awaited(call), arrived, begin_s) for call in calls}
        entries = {name: self._entry(name, waiting.awaited.call, timeout_s) for name, waiting in sent.items()}
        try:
            await self._send(sent, list(entries.values()))
            missing = sum(len(call.twins) for call in calls)
            with contextlib.suppress(TimeoutError):
                while missing:
                    async with asyncio.timeout(begin_s + timeout_s - time.monotonic()):
                        outcome = await arrived.get()
                    missing -= 1
                    yield outcome
        finally:
            not_taken = await self._forget(sent, entries, begin_s + timeout_s)
        for reference, waiting in sent.items():
            for failure in waiting.awaited.overdue(timeout_s, reference not in not_taken):
                yield failure

    async def close(self) -> None:
        """Stop waiting, and leave nothing behind. Closing twice is harmless.

        An answer that comes later would make our list anew, for nobody. So while requests live whose answer has not
        come, the name is held by something that is no list: the gateway then treats the answer as undeliverable.
        """
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
            left_s = self._late_until_s - time.monotonic()
            with contextlib.suppress(*AWAY):
                async with asyncio.timeout(ANSWER_S_MAX), self._redis.pipeline(transaction=True) as pipe:
                    pipe.delete(self._list)
                    if left_s > 0:
                        pipe.set(self._list, "the caller has gone", ex=math.ceil(left_s))
                    await pipe.execute()
        await self._redis.aclose()

    def _entry(self, reference: str, call: Call, timeout_s: float) -> bytes:
        return request_json(
            reference=reference,
            command=call.command,
            expiration_s=int(timeout_s) + 1,  # whole seconds, and not less than we wait
            payload=call.payload.data,
            tags=call.tag,
            destinations=list(call.twins),
            reply_list=self._list,
            schema=call.payload.schema,
        )

    async def _send(self, sent: dict[str, _Waiting], entries: list[bytes]) -> None:
        self._waiting |= sent
        self._somebody_waits.set()
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                if entries:
                    await self._redis.lpush(keys.LOCAL_REQUESTS, *entries)
        except AWAY as error:
            raise StoreUnavailable(public_url(self._url), str(error) or "no answer") from None

    async def _forget(self, sent: dict[str, _Waiting], entries: dict[str, bytes], until_s: float) -> set[str]:
        """Wait no longer, and take back what no gateway has taken; the answer says which requests these were."""
        for reference in sent:
            self._waiting.pop(reference, None)
        if not self._waiting:
            self._somebody_waits.clear()
        unanswered = [reference for reference, waiting in sent.items() if waiting.awaited.missing > 0]
        not_taken: set[str] = set()
        if unanswered:
            with contextlib.suppress(*AWAY):  # a store that is away has been or will be noticed
                async with asyncio.timeout(ANSWER_S_MAX), self._redis.pipeline(transaction=False) as pipe:
                    for reference in unanswered:
                        pipe.lrem(keys.LOCAL_REQUESTS, -1, entries[reference].decode())
                    removed = await pipe.execute()
                not_taken = {reference for reference, count in zip(unanswered, removed, strict=True) if count}
            if len(not_taken) < len(unanswered):
                self._late_until_s = max(self._late_until_s, until_s + _LATE_S)
        return not_taken

    async def _read(self) -> None:
        """Pop answers until cancelled. A store that comes back in time is waited for: requests are on their way."""
        while True:
            await self._somebody_waits.wait()
            try:
                async with asyncio.timeout(POP_S_MAX + ANSWER_S_MAX):
                    popped = await cast(Awaitable[Any], self._redis.brpop([self._list], POP_S_MAX))
            except AWAY as error:
                event(_LOG, logging.DEBUG, "cannot use redis, trying again", reason=str(error))
                await asyncio.sleep(_RECONNECT_S)
            else:
                if popped is not None:
                    self._came(popped[1])

    def _came(self, raw: bytes) -> None:
        try:
            entry = read_answer(raw)
        except UnreadableAnswer as error:
            reference = error.reference
            if reference is None and len(self._waiting) == 1:
                (reference,) = self._waiting
            waiting = self._waiting.get(reference or "")
            if waiting is None:
                event(_LOG, logging.WARNING, "an answer that is none was thrown away", reason=str(error))
            else:
                waiting.arrived.put_nowait(waiting.awaited.unreadable(str(error)))
            return
        waiting = self._waiting.get(entry.reference or "")
        if waiting is None or waiting.awaited.missing <= 0:
            event(_LOG, logging.DEBUG, "an answer that nobody waits for was thrown away", source=entry.source)
            return
        seconds = time.monotonic() - waiting.began_s
        outcome = waiting.awaited.heard(entry.source, entry.payload, entry.schema, entry.error, seconds)
        if outcome is not None:
            waiting.arrived.put_nowait(outcome)
