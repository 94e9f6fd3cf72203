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
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from rmb_peer.local import keys
from rmb_peer.local.program_side import UnreadableAnswer, read_answer, request_json
from rmb_peer.local.redis_client import ANSWER_S_MAX, AWAY, open_redis
from rmb_peer.local.redis_url import REDIS_DEFAULT, REDIS_VARIABLE, public_url
from rmb_peer.logs import event, get_logger
from rmb_peer.sdk.asking import Asker, Question
from rmb_peer.sdk.errors import StoreUnavailable

REPLY_LIST_PREFIX = "rmb-call."
"""Our own lists: not under `msgbus.`, where a remote command could name them, nor under the gateway's `rmb:`."""

POP_S_MAX = 20
"""Longest single wait for an answer, whole seconds. It bounds how long a connection that died stays unnoticed."""

_RECONNECT_S = 0.2
_LATE_S = 10  # beyond our wait: the request lives a second longer, and the gateway tells of silence some seconds later
_LOG = get_logger("client")


class Client(Asker):
    """Asks twins. Use it as an async context manager; it belongs to one event loop."""

    def __init__(self, redis_url: str | None = None) -> None:
        """Connect when it is first needed.

        Args:
            redis_url: the gateway's Redis; by default the variable RMB_REDIS, else redis://localhost:6379.

        Raises:
            ValueError: it is no Redis URL.
        """
        super().__init__()
        self._url = redis_url or os.environ.get(REDIS_VARIABLE) or REDIS_DEFAULT
        self._redis = open_redis(self._url)
        self._list = REPLY_LIST_PREFIX + uuid.uuid4().hex
        self._reader: asyncio.Task[None] | None = None
        self._somebody_waits = asyncio.Event()
        self._late_until_s = -math.inf

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
                        pipe.set(self._list, keys.CALLER_GONE, ex=math.ceil(left_s))
                    await pipe.execute()
        await self._redis.aclose()

    async def _ask(self, asked: Mapping[str, Question]) -> None:
        if any(question.awaited.call.session is not None for question in asked.values()):
            raise ValueError("a session cannot be addressed through a gateway (spec rmb 5.2): use a direct client")
        entries = [self._entry(reference, question) for reference, question in asked.items()]
        self._somebody_waits.set()
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                if entries:
                    await self._redis.lpush(keys.LOCAL_REQUESTS, *entries)
        except AWAY as error:
            raise StoreUnavailable(public_url(self._url), str(error) or "no answer") from None

    async def _take_back(self, unanswered: Mapping[str, Question]) -> frozenset[str]:
        not_taken: frozenset[str] = frozenset()
        with contextlib.suppress(*AWAY):  # a store that is away has been or will be noticed
            async with asyncio.timeout(ANSWER_S_MAX), self._redis.pipeline(transaction=False) as pipe:
                for reference, question in unanswered.items():
                    pipe.lrem(keys.LOCAL_REQUESTS, -1, self._entry(reference, question).decode())
                removed = await pipe.execute()
            not_taken = frozenset(name for name, count in zip(unanswered, removed, strict=True) if count)
        taken = [question for name, question in unanswered.items() if name not in not_taken]
        if taken:
            life_ends_s = max(question.began_s + question.timeout_s for question in taken) + _LATE_S
            self._late_until_s = max(self._late_until_s, life_ends_s)
        return not_taken

    def _entry(self, reference: str, question: Question) -> bytes:
        call = question.awaited.call
        return request_json(
            reference=reference,
            command=call.command,
            expiration_s=int(question.timeout_s) + 1,  # whole seconds, and not less than we wait
            payload=call.payload.data,
            tags=call.tag,
            destinations=list(call.twins),
            reply_list=self._list,
            schema=call.payload.schema,
        )

    async def _read(self) -> None:
        """Pop answers until cancelled. A store that comes back in time is waited for: requests are on their way."""
        while True:
            if not self._questions and time.monotonic() > self._late_until_s:
                self._somebody_waits.clear()
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
            if reference is None and len(self._questions) == 1:
                (reference,) = self._questions
            question = self._questions.get(reference or "")
            if question is None:
                event(_LOG, logging.WARNING, "an answer that is none was thrown away", reason=str(error))
            else:
                question.arrived.put_nowait(question.awaited.unreadable(str(error)))
            return
        question = self._questions.get(entry.reference or "")
        if question is None:
            event(_LOG, logging.DEBUG, "an answer that nobody waits for was thrown away", source=entry.source)
        else:
            question.heard(entry.source, entry.payload, entry.schema, entry.error)
