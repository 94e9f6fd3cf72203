"""`LocalQueues` on Redis or Valkey, through redis-py: scripts and pipelines, never a round trip per message per step.

Taking is a move, not a pop: an item is in a list or in the outbox stream at every instant. While both lists are empty
two blocking moves wait, one for each, into lists of their own that the next take empties first.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar, cast

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rmb_peer.local import backlog, keys
from rmb_peer.local.messages import DESTINATIONS_MAX
from rmb_peer.local.queues import (
    Damaged,
    DeadLetter,
    Delivery,
    Ending,
    JournalFailed,
    JournalLimits,
    MessageKind,
    Outcome,
    Overdue,
    Taken,
    Waiting,
)
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

PROBE_S_MAX = 5.0
"""Longest wait for the answer to a probe; somebody waits for the result. A guess."""

JOURNAL_CHECKS = 16
"""How often the size of the journal is measured while it grows by its whole limit; so it exceeds that little."""

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

_TAKE_KEYS = [
    keys.TAKING_REQUESTS,
    keys.LOCAL_REQUESTS,
    keys.TAKING_REPLIES,
    keys.LOCAL_REPLIES,
    keys.OUTBOX,
    keys.PROBE,
]
_REQUEST_PREFIXES = (keys.BACKLOG_PREFIX, keys.OPEN_PREFIX, keys.TOLD_PREFIX)
_ANY_BYTES = "latin-1"
"""Uids are ASCII. A damaged one is none, and can be named all the same in this encoding, back and forth."""

_REMEMBER_KEYS = [keys.DEADLINES, keys.REMEMBERED]
_DELIVER_KEYS = [keys.DEADLINES, keys.DEAD, keys.OUTBOX]
_DELIVER_SETTINGS: list[bytes | str | int] = [
    keys.LIST_ENTRIES_MAX,
    keys.DEAD_ENTRIES_MAX,
    keys.BACKLOG_PREFIX,
    keys.OPEN_PREFIX,
    keys.TOLD_PREFIX,
    keys.CALLER_GONE,
    keys.UNREAD_ERROR_S,
]
_KINDS: dict[bytes, MessageKind] = {b"q": "request", b"r": "response"}
_OUTCOMES = {
    0: Outcome.DELIVERED,
    1: Outcome.REPEATED,
    2: Outcome.FULL,
    3: Outcome.LATE,
    4: Outcome.GONE,
}
REMEMBER_TWINS_MAX = 10_000
"""Destinations that one script writes; it takes some milliseconds, and nobody else is served meanwhile. A guess."""

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
        self._remember = redis.register_script(scripts.joinpath("remember.lua").read_text())
        self._last_entry = b"0-0"
        self._outbox_may_hold_more = True  # entries after _last_entry that no take has returned
        self._waiters: dict[str, asyncio.Task[None]] = {}
        self._away = False
        self._trouble: str | None = None
        self._journal_bytes = 0
        """Appended since the journal was measured."""

    @property
    def trouble(self) -> str | None:
        """What the last call that did not get through was told; `None` when the last one did."""
        return self._trouble

    async def take(self, count_max: int) -> list[Taken]:
        """See `LocalQueues.take`."""
        return await self._until_done(lambda: self._take_once(count_max), None)

    async def settle(self, entries: Sequence[str]) -> None:
        """See `LocalQueues.settle`."""
        await self.conclude((), (), entries)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """See `LocalQueues.bury`."""
        await self.conclude((), letters, ())

    async def remember(self, waiting: Sequence[Waiting]) -> None:
        """See `LocalQueues.remember`."""
        arguments: list[bytes | str | int] = []
        twins = 0
        for number, request in enumerate(waiting, 1):
            asked = Counter(request.destinations) if len(request.destinations) > 1 else {}
            arguments += (request.uid, backlog.encode(request), request.deadline_s, len(asked))
            arguments += (part for pair in asked.items() for part in pair)
            twins += len(request.destinations)
            if twins >= REMEMBER_TWINS_MAX or number == len(waiting):
                all_of_it = [keys.BACKLOG_PREFIX, keys.OPEN_PREFIX, request.entry, *arguments]
                await self._until_done(partial(self._remember, keys=_REMEMBER_KEYS, args=all_of_it))
                arguments, twins = [], 0

    async def still_open(self, waiting: Sequence[Waiting]) -> list[frozenset[int]]:
        """See `LocalQueues.still_open`."""

        async def once() -> list[Any]:
            async with self._redis.pipeline(transaction=False) as pipe:
                for request in waiting:
                    pipe.zscore(keys.DEADLINES, request.uid)
                    pipe.hkeys(keys.OPEN_PREFIX + request.uid)
                return await _execute(pipe)

        if not waiting:
            return []
        found = await self._until_done(once)
        return [
            _open_of(request, deadline, twins)
            for request, deadline, twins in zip(waiting, found[::2], found[1::2], strict=True)
        ]

    async def recall(self, uids: Sequence[str]) -> list[Waiting | Damaged | None]:
        """See `LocalQueues.recall`."""
        if not uids:
            return []
        names = [keys.BACKLOG_PREFIX + uid for uid in uids]
        values = await self._until_done(lambda: cast(Awaitable[list[bytes | None]], self._redis.mget(names)))
        return [None if value is None else _waiting_of(uid, value) for uid, value in zip(uids, values, strict=True)]

    async def overdue(self, now_s: float, count_max: int) -> list[Overdue]:
        """See `LocalQueues.overdue`."""
        uids = await self._until_done(
            lambda: cast(
                Awaitable[list[bytes]],
                self._redis.zrange(
                    keys.DEADLINES, cast(int, "-inf"), cast(int, now_s), byscore=True, offset=0, num=count_max
                ),
            )
        )
        if not uids:
            return []

        async def once() -> list[Any]:
            async with self._redis.pipeline(transaction=False) as pipe:
                for uid in uids:
                    pipe.get(keys.BACKLOG_PREFIX.encode() + uid)
                    pipe.hgetall(keys.OPEN_PREFIX.encode() + uid)
                return await _execute(pipe)

        found = await self._until_done(once)
        return [
            _overdue_of(uid.decode(_ANY_BYTES), record or b"", asked)
            for uid, record, asked in zip(uids, found[::2], found[1::2], strict=True)
        ]

    async def forget(self, uids: Sequence[str]) -> None:
        """See `LocalQueues.forget`."""

        async def once() -> None:
            async with self._redis.pipeline() as pipe:
                for name in map(_member, uids):
                    pipe.delete(*(prefix.encode() + name for prefix in _REQUEST_PREFIXES))
                    pipe.zrem(keys.DEADLINES, name)
                await _execute(pipe)

        if uids:
            await self._until_done(once)

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """See `LocalQueues.deliver`."""
        return await self._write(deliveries, (), (), bury_failed=False)

    async def conclude(
        self, errors: Sequence[Delivery], letters: Sequence[DeadLetter], entries: Sequence[str]
    ) -> list[Outcome]:
        """See `LocalQueues.conclude`."""
        return await self._write(errors, letters, entries, bury_failed=True)

    async def _write(
        self,
        deliveries: Sequence[Delivery],
        letters: Sequence[DeadLetter],
        entries: Sequence[str],
        *,
        bury_failed: bool,
    ) -> list[Outcome]:
        if not (deliveries or letters or entries):
            return []
        arguments = [*_DELIVER_SETTINGS, len(letters)]
        for letter in letters:
            arguments += (letter.kind, letter.reason, letter.raw, letter.uid, letter.list_name)
        arguments += (len(entries), *entries)
        for delivery in deliveries:
            first, second = (*delivery.marks, "", "")[:2]
            arguments += (
                delivery.list_name,
                delivery.value,
                delivery.ttl_s,
                keys.SEEN_PREFIX + first if first else "",
                keys.SEEN_PREFIX + second if second else "",
                int(bury_failed),
                *_ending_arguments(delivery.ending),
            )
        answers = await self._until_done(
            lambda: cast(Awaitable[list[Any]], self._deliver(keys=_DELIVER_KEYS, args=arguments))
        )
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

    async def publish(self, live: bytes) -> None:
        """See `LocalQueues.publish`."""
        await self._until_done(lambda: cast(Awaitable[Any], self._redis.set(keys.STATUS_LIVE, live)))

    async def append_journal(self, chunk: bytes, limits: JournalLimits, now_s: float) -> None:
        """See `LocalQueues.append_journal`. How many chunks make up the bytes is measured from time to time."""
        oldest = str(int((now_s - limits.age_s_max) * 1000))
        self._journal_bytes += len(chunk)
        measure = self._journal_bytes >= limits.bytes_max // JOURNAL_CHECKS
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.xadd(keys.JOURNAL, {"c": chunk}, minid=oldest, approximate=True)
                    if measure:
                        pipe.xlen(keys.JOURNAL)
                        pipe.memory_usage(keys.JOURNAL)
                    answers = await _execute(pipe)
                if measure:
                    self._journal_bytes = 0
                    entries, used_bytes = answers[1], answers[2] or 0
                    if used_bytes > limits.bytes_max:
                        await self._redis.xtrim(keys.JOURNAL, max(1, entries * limits.bytes_max // used_bytes))
        except (exceptions.RedisError, TimeoutError) as error:
            raise JournalFailed(str(error) or "no answer") from None

    async def depths(self) -> dict[str, int]:
        """How much our own keys hold."""

        async def once() -> list[int]:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.xlen(keys.OUTBOX)
                pipe.zcard(keys.DEADLINES)
                pipe.xlen(keys.DEAD)
                return await _execute(pipe)

        return dict(zip(("outbox", "waiting", "dead"), await self._until_done(once), strict=True))

    async def why_refused(self) -> str | None:
        """Why the store would refuse a write at this moment, in its own words; `None` when it would not."""
        try:
            async with asyncio.timeout(PROBE_S_MAX):
                await cast(Awaitable[Any], self._redis.setrange(keys.PROBE, 0, ""))
        except (exceptions.RedisError, TimeoutError) as error:
            return str(error) or "no answer"
        return None

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
        async with asyncio.timeout(ANSWER_S_MAX), self._redis.pipeline(transaction=False) as pipe:
            pipe.xrange(keys.OUTBOX, min=b"(" + self._last_entry, count=count_max)
            pipe.get(keys.REMEMBERED)
            rows, remembered = await _execute(pipe)
        last_remembered = _entry_order(remembered or b"")
        items = []
        damaged: list[tuple[bytes, dict[bytes, bytes]]] = []
        for entry, fields in cast(list[tuple[bytes, dict[bytes, bytes]]], rows):
            kind, raw = next(iter(fields.items()), (b"", b""))
            if kind in _KINDS:
                found_since_s = int(entry.split(b"-")[0]) // 1000
                before = _entry_order(entry) <= last_remembered
                items.append(Taken(entry.decode(), _KINDS[kind], raw, found_since_s, before))
            else:
                damaged.append((entry, fields))
        for entry, fields in damaged:
            event(_LOG, logging.ERROR, "damaged outbox entry", entry=entry.decode(), fields=sorted(fields))
            letter = DeadLetter("record", repr(fields).encode(), f"the outbox entry {entry.decode()} is damaged")
            await self.conclude((), (letter,), (entry.decode(),))
        if rows:
            self._last_entry = rows[-1][0]
        return items or (await self._unseen_entries(count_max) if rows else [])

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
                reason = str(error) or "no answer"
                if not self._away:
                    away = isinstance(error, _AWAY)
                    text = "the store is away, waiting for it" if away else "the store refuses, waiting for it"
                    event(_LOG, logging.WARNING, text, reason=reason)
                self._away, self._trouble = True, reason
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_DELAY_S_MAX)
            else:
                if self._away:
                    event(_LOG, logging.WARNING, "the store is back")
                self._away, self._trouble = False, None
                return result


def _member(uid: str) -> bytes:
    return uid.encode(_ANY_BYTES, "replace")


def _entry_order(entry: bytes) -> tuple[int, int]:
    """Stream ids in the order of the stream; what is no id comes before all."""
    milliseconds, _, number = entry.partition(b"-")
    try:
        return int(milliseconds), int(number)
    except ValueError:
        return -1, -1


def _ending_arguments(ending: Ending | None) -> tuple[str | int, ...]:
    if ending is None:
        return "", "", "", 0
    return "e" if ending.ours else "a", ending.uid, "" if ending.alone else ending.twin, ending.kept_s


def _open_of(request: Waiting, deadline: float | None, twins: list[bytes]) -> frozenset[int]:
    if deadline is None:
        return frozenset()
    if len(request.destinations) <= 1:
        return frozenset(request.destinations)
    names = set(twins)
    return frozenset(twin for twin in request.destinations if str(twin).encode() in names)


def _waiting_of(uid: str, record: bytes) -> Waiting | Damaged:
    waiting = backlog.decode(record)
    return waiting if waiting is not None and waiting.uid == uid else Damaged(record)


def _overdue_of(uid: str, record: bytes, asked: dict[bytes, bytes]) -> Overdue:
    waiting = _waiting_of(uid, record)
    if isinstance(waiting, Waiting) and len(waiting.destinations) <= 1:
        return Overdue(uid, waiting, waiting.destinations)
    try:
        silent = tuple(int(twin) for twin, times in asked.items() for _ in range(min(int(times), DESTINATIONS_MAX)))
    except ValueError:
        return Overdue(uid, Damaged(record), ())
    return Overdue(uid, waiting, silent)


async def _execute(pipe: Pipeline) -> list[Any]:
    """Run a pipeline; its first error is raised as the store wrote it, without the client's words around it."""
    answers = await pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


async def connect(url: str, client_name: str | None = None) -> Redis:
    """A client for `url`, after it answered once.

    Args:
        url: `redis://[user:password@]host[:port][/db]`, `rediss://…` or `unix:///path`.
        client_name: what its connections are called in CLIENT LIST.

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
        client_name=client_name,
    )
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            await cast(Awaitable[Any], redis.ping())
    except (exceptions.RedisError, TimeoutError) as error:
        await redis.aclose()
        raise ConnectionError(str(error) or "it does not answer") from None
    return redis
