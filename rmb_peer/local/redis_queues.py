"""`LocalQueues` on Redis or Valkey, through redis-py: scripts and pipelines, never a round trip per message per step.

Taking is a move, not a pop: an item is in a list or in the outbox stream at every instant. While both lists are empty
two blocking moves wait, one for each, into lists of their own that the next take empties first.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, TypeVar, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rmb_peer.local import backlog, keys
from rmb_peer.local.queues import DeadLetter, Delivery, MessageKind, Outcome, Taken, Waiting
from rmb_peer.logs import event, get_logger

TAKE_BYTES_MAX = 8 * 1024 * 1024
"""Bytes after which one take stops. A guess: large enough for full batches, small enough to hold in memory twice."""

CONNECTIONS_MAX = 64
"""A guess, several times what a gateway uses at once: two waiting moves and one call per activity."""

CONNECT_S_MAX = 5.0
"""Longest wait for a connection. A guess: a store is near."""

ANSWER_S_MAX = 30.0
"""Longest wait for an answer, beyond what a blocking move waits by itself. A guess: a server that rewrites its
append-only file on a slow disk can pause for seconds."""

WAIT_S = 5.0
"""How long one blocking move waits before it is repeated; bounds how late a dead connection is noticed."""

RETRY_DELAY_S_MIN = 0.05
RETRY_DELAY_S_MAX = 2.0
"""Pause between attempts while the store is away. A guess: a local server is back within a second or two."""

_AWAY = (exceptions.ConnectionError, exceptions.TimeoutError, TimeoutError)
_PASSING_ERRORS = (
    "ACL failure in script",
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "UNBLOCKED",
    "WRONGTYPE",
)
"""First words of answers that change by themselves or by the operator's hand (full disk, a foreign key in the place of
a list); until then the gateway waits and says so."""

_PASSING_CLASSES = (
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.NoPermissionError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
)
"""The same, for answers of which the client turns the first word into a class."""

T = TypeVar("T")

_TAKE_KEYS = [keys.TAKING_REQUESTS, keys.LOCAL_REQUESTS, keys.TAKING_REPLIES, keys.LOCAL_REPLIES, keys.OUTBOX]
_KINDS: dict[bytes, MessageKind] = {b"q": "request", b"r": "response"}
_OUTCOMES = {0: Outcome.DELIVERED, 1: Outcome.REPEATED, 2: Outcome.FULL}
_LOG = get_logger("queues")


class RedisQueues:
    """See `LocalQueues`. One instance per gateway; the store belongs to one gateway at a time."""

    def __init__(self, redis: Redis, *, random_bytes: Callable[[int], bytes]) -> None:
        """Use a client of the store.

        Args:
            redis: client without response decoding; closed by `close`.
            random_bytes: source of the uid key.
        """
        self._redis = redis
        self._random_bytes = random_bytes
        scripts = files("rmb_peer.local")
        self._take = redis.register_script(scripts.joinpath("take.lua").read_text())
        self._deliver = redis.register_script(scripts.joinpath("deliver.lua").read_text())
        self._last_entry = b"0-0"
        self._outbox_may_hold_more = True  # entries after _last_entry that no take has returned
        self._waiters: dict[str, asyncio.Task[None]] = {}
        self._away = False

    async def take(self, count_max: int) -> list[Taken]:
        """See `LocalQueues.take`."""
        return await self._until_done(lambda: self._take_once(count_max), None)

    async def settle(self, entries: Sequence[str]) -> None:
        """See `LocalQueues.settle`."""
        if entries:
            await self._until_done(lambda: cast(Awaitable[Any], self._redis.xdel(keys.OUTBOX, *entries)))

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """See `LocalQueues.bury`."""

        async def once() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for letter in letters:
                    fields = {"kind": letter.kind, "reason": letter.reason, "raw": letter.raw}
                    pipe.xadd(keys.DEAD, cast(Any, fields), maxlen=keys.DEAD_ENTRIES_MAX, approximate=True)
                await _execute(pipe)

        if letters:
            await self._until_done(once)

    async def remember(self, waiting: Sequence[Waiting]) -> None:
        """See `LocalQueues.remember`."""

        async def once() -> None:
            async with self._redis.pipeline(transaction=False) as pipe:
                for request in waiting:
                    pipe.set(keys.BACKLOG_PREFIX + request.uid, backlog.encode(request), ex=request.ttl_s)
                await _execute(pipe)

        if waiting:
            await self._until_done(once)

    async def recall(self, uids: Sequence[str]) -> list[Waiting | None]:
        """See `LocalQueues.recall`."""
        if not uids:
            return []
        names = [keys.BACKLOG_PREFIX + uid for uid in uids]
        values = await self._until_done(lambda: cast(Awaitable[list[bytes | None]], self._redis.mget(names)))
        return [None if value is None else backlog.decode(value) for value in values]

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """See `LocalQueues.deliver`."""
        if not deliveries:
            return []
        arguments: list[bytes | str | int] = [keys.LIST_ENTRIES_MAX]
        for delivery in deliveries:
            first, second = (*delivery.marks, "")[:2]
            arguments += (
                delivery.list_name,
                delivery.value,
                delivery.ttl_s,
                keys.SEEN_PREFIX + first,
                keys.SEEN_PREFIX + second if second else "",
            )
        answers = await self._until_done(lambda: cast(Awaitable[list[Any]], self._deliver(args=arguments)))
        outcomes = []
        for delivery, answer in zip(deliveries, answers, strict=True):
            outcome = _OUTCOMES.get(answer, Outcome.FAILED) if isinstance(answer, int) else Outcome.FAILED
            if outcome is Outcome.FAILED:
                event(_LOG, logging.ERROR, "the store refused a push", list=delivery.list_name, reason=str(answer))
            outcomes.append(outcome)
        return outcomes

    async def uid_key(self) -> bytes:
        """See `LocalQueues.uid_key`."""

        async def once() -> bytes:
            await self._redis.set(keys.UID_KEY, self._random_bytes(32), nx=True)
            return cast(bytes, await self._redis.get(keys.UID_KEY))

        return await self._until_done(once)

    async def announce(self, status: dict[str, str]) -> None:
        """See `LocalQueues.announce`."""
        await self._until_done(lambda: cast(Awaitable[Any], self._redis.hset(keys.STATUS, mapping=cast(Any, status))))

    async def keep_own_record(self, record: bytes) -> None:
        """See `LocalQueues.keep_own_record`."""
        await self._until_done(lambda: cast(Awaitable[Any], self._redis.set(keys.OWN_RECORD, record)))

    async def own_record(self) -> bytes | None:
        """See `LocalQueues.own_record`."""
        return await self._until_done(lambda: cast(Awaitable[bytes | None], self._redis.get(keys.OWN_RECORD)))

    async def close(self) -> None:
        """See `LocalQueues.close`. An item that a waiting move fetches meanwhile stays in its own list."""
        for waiter in self._waiters.values():
            waiter.cancel()
        await asyncio.gather(*self._waiters.values(), return_exceptions=True)
        await self._redis.aclose()

    async def _take_once(self, count_max: int) -> list[Taken]:
        while True:
            if self._outbox_may_hold_more:
                items = await self._unseen_entries(count_max)
                if items:
                    return items
                self._outbox_may_hold_more = False
            # If the answer gets lost, the items are in the outbox all the same: look there first next time.
            self._outbox_may_hold_more = True
            async with asyncio.timeout(ANSWER_S_MAX):
                answer = await self._take(keys=_TAKE_KEYS, args=[count_max, TAKE_BYTES_MAX])
            self._outbox_may_hold_more = False
            if answer:
                self._last_entry = answer[-3]
                rows = zip(answer[::3], answer[1::3], answer[2::3], strict=True)
                return [Taken(entry.decode(), _KINDS[kind], raw) for entry, kind, raw in rows]
            await self._wait_for_work()

    async def _unseen_entries(self, count_max: int) -> list[Taken]:
        async with asyncio.timeout(ANSWER_S_MAX):
            rows = await self._redis.xrange(keys.OUTBOX, min=b"(" + self._last_entry, count=count_max)
        items = []
        for entry, fields in cast(list[tuple[bytes, dict[bytes, bytes]]], rows):
            self._last_entry = entry
            kind, raw = next(iter(fields.items()))
            if kind in _KINDS:
                items.append(Taken(entry.decode(), _KINDS[kind], raw, int(entry.split(b"-")[0]) // 1000))
        return items

    async def _wait_for_work(self) -> None:
        for source, target in (
            (keys.LOCAL_REQUESTS, keys.TAKING_REQUESTS),
            (keys.LOCAL_REPLIES, keys.TAKING_REPLIES),
        ):
            if source not in self._waiters:
                self._waiters[source] = asyncio.create_task(self._blocking_move(source, target))
        await asyncio.wait(self._waiters.values(), return_when=asyncio.FIRST_COMPLETED)
        for source, waiter in list(self._waiters.items()):
            if waiter.done():
                del self._waiters[source]
                waiter.result()

    async def _blocking_move(self, source: str, target: str) -> None:
        async with asyncio.timeout(WAIT_S + ANSWER_S_MAX):
            await cast(Awaitable[Any], self._redis.blmove(source, target, cast(int, WAIT_S), "RIGHT", "LEFT"))

    async def _until_done(self, attempt: Callable[[], Awaitable[T]], limit_s: float | None = ANSWER_S_MAX) -> T:
        delay_s = RETRY_DELAY_S_MIN
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    result = await attempt()
            except (exceptions.RedisError, TimeoutError) as error:
                if not isinstance(error, _AWAY + _PASSING_CLASSES) and not str(error).startswith(_PASSING_ERRORS):
                    raise
                if not self._away:
                    event(_LOG, logging.WARNING, "the store is away, waiting for it", reason=str(error) or "no answer")
                self._away = True
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_DELAY_S_MAX)
            else:
                if self._away:
                    event(_LOG, logging.WARNING, "the store is back")
                self._away = False
                return result


async def _execute(pipe: Pipeline) -> None:
    """Run a pipeline; its first error is raised as the store wrote it, without the client's words around it."""
    for answer in await pipe.execute(raise_on_error=False):
        if isinstance(answer, Exception):
            raise answer


async def connect(url: str) -> Redis:
    """A client for `url`, after it answered once.

    Args:
        url: `redis://[user:password@]host[:port][/db]`, `rediss://…` or `unix:///path`.

    Raises:
        ConnectionError: nobody answers there, or not as a Redis.
        ValueError: the URL has another form.
    """
    # No retries inside the client: a take that is repeated blindly would skip what the first attempt moved.
    # No timeout for answers: blocking moves take their time, and on Python 3.11 the client's way of limiting a read can
    # lose a cancellation (CPython issue 86296). A host that vanished is noticed by the limits in this file.
    redis = Redis.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,
        socket_connect_timeout=CONNECT_S_MAX,
    )
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            await cast(Awaitable[Any], redis.ping())
    except (exceptions.RedisError, TimeoutError) as error:
        await redis.aclose()
        raise ConnectionError(str(error) or "it does not answer") from None
    return redis
