"""`LocalQueues` on Redis or Valkey: scripts and pipelines on a connection of our own (`rmb_peer.store`), never a round
trip per message per step. Large items and values have a way of their own (`large_values`).

Taking is a move, not a pop: an item is in a list or in the outbox stream at every instant. While both lists are empty
two blocking moves wait, one for each, into lists of their own that the take behind them empties first. Every take that
takes something has the next number, so an answer that is missing is noticed, and its items are read from the outbox.
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
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rmb_peer.local import backlog, keys, large_values
from rmb_peer.local.large_values import LargeValues
from rmb_peer.local.messages import DESTINATIONS_MAX
from rmb_peer.local.queues import (
    Damaged,
    DeadLetter,
    Delivery,
    JournalFailed,
    JournalLimits,
    MessageKind,
    Outcome,
    Overdue,
    Taken,
    Waiting,
)
from rmb_peer.local.waiting_moves import Moved, WaitingMoves
from rmb_peer.logs import event, get_logger
from rmb_peer.store.address import Command, StoreAddress
from rmb_peer.store.client import StoreClient
from rmb_peer.store.script import Script
from rmb_peer.store.wire import LARGE_BYTES

TAKE_BYTES_MAX = 8 * 1024 * 1024
"""Bytes after which one take stops. A guess: large enough for full batches, small enough to hold in memory twice."""

CONNECTIONS_MAX = 8
"""Of the client for administration; a guess, several times what it uses at once."""

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
    large_values.GONE,
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
    keys.TAKES,
]
_REQUEST_PREFIXES = (keys.BACKLOG_PREFIX, keys.OPEN_PREFIX, keys.TOLD_PREFIX)
_ANY_BYTES = "latin-1"
"""Uids are ASCII. A damaged one is none, and can be named all the same in this encoding, back and forth."""

_REMEMBER_KEYS = [keys.DEADLINES, keys.REMEMBERED]
_DELIVER_KEYS = [keys.DEADLINES, keys.DEAD, keys.OUTBOX]
_DELIVER_SETTINGS: list[str | int] = [
    keys.LIST_ENTRIES_MAX,
    keys.DEAD_ENTRIES_MAX,
    keys.BACKLOG_PREFIX,
    keys.OPEN_PREFIX,
    keys.TOLD_PREFIX,
    keys.CALLER_GONE,
    keys.UNREAD_ERROR_S,
]
_KINDS: dict[bytes, MessageKind] = {b"q": "request", b"r": "response"}
_LARGE_KINDS: dict[bytes, MessageKind] = {b"Q": "request", b"R": "response"}
_ALL_KINDS = _KINDS | _LARGE_KINDS
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
        address = StoreAddress.of(redis)
        self._store = StoreClient(address, answer_s_max=ANSWER_S_MAX)
        self._moves = WaitingMoves(
            address,
            ((keys.LOCAL_REQUESTS, keys.TAKING_REQUESTS), (keys.LOCAL_REPLIES, keys.TAKING_REPLIES)),
            wait_s=WAIT_S,
            answer_s_max=ANSWER_S_MAX,
        )
        self._large_values = LargeValues(address, answer_s_max=ANSWER_S_MAX, random_bytes=random_bytes)
        self._take = _script("take.lua", _TAKE_KEYS, (large_values.LARGE_BYTES, keys.OUTBOX_LARGE_PREFIX))
        self._deliver = _script("deliver.lua", _DELIVER_KEYS, _DELIVER_SETTINGS)
        self._remember = _script("remember.lua", _REMEMBER_KEYS, (keys.BACKLOG_PREFIX, keys.OPEN_PREFIX))
        self._last_entry = b"0-0"
        self._takes: int | None = None  # number of the take whose items were returned last
        self._outbox_may_hold_more = True  # entries after _last_entry that no take has returned
        self._lists_may_hold_more = True  # items that no waiting move would be woken by
        self._moved: list[Moved] = []  # answers whose turn has not come
        self._left: list[Taken] = []  # what was not returned yet; large ones have no content until they are
        self._large: set[str] = set()  # entries that have a key of their own, until they are settled
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
        return await self._until_done(partial(self._take_once, count_max))

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
            if len(request.destinations) > 1:
                asked = Counter(request.destinations)
                arguments += (request.uid, backlog.encode(request), request.deadline_s, len(asked))
                arguments += (part for pair in asked.items() for part in pair)
            else:
                arguments += (request.uid, backlog.encode(request), request.deadline_s, b"0")
            twins += len(request.destinations)
            if twins >= REMEMBER_TWINS_MAX or number == len(waiting):
                await self._run(self._remember, (request.entry, *arguments))
                arguments, twins = [], 0

    async def still_open(self, waiting: Sequence[Waiting]) -> list[frozenset[int]]:
        """See `LocalQueues.still_open`."""
        if not waiting:
            return []
        commands: list[Command] = []
        for request in waiting:
            commands.append(("ZSCORE", keys.DEADLINES, request.uid))
            commands.append(("HKEYS", keys.OPEN_PREFIX + request.uid))
        found = await self._ask_many(commands)
        return [
            _open_of(request, deadline, twins)
            for request, deadline, twins in zip(waiting, found[::2], found[1::2], strict=True)
        ]

    async def recall(self, uids: Sequence[str]) -> list[Waiting | Damaged | None]:
        """See `LocalQueues.recall`."""
        if not uids:
            return []
        values = await self._ask((b"MGET", *(keys.BACKLOG_PREFIX + uid for uid in uids)))
        return [None if value is None else _waiting_of(uid, value) for uid, value in zip(uids, values, strict=True)]

    async def overdue(self, now_s: float, count_max: int) -> list[Overdue]:
        """See `LocalQueues.overdue`."""
        uids = await self._ask(
            ("ZRANGE", keys.DEADLINES, "-inf", repr(now_s), "BYSCORE", "LIMIT", 0, count_max)  # both ends belong to it
        )
        if not uids:
            return []
        commands: list[Command] = []
        for uid in uids:
            commands.append(("GET", keys.BACKLOG_PREFIX.encode() + uid))
            commands.append(("HGETALL", keys.OPEN_PREFIX.encode() + uid))
        found = await self._ask_many(commands)
        return [
            _overdue_of(uid.decode(_ANY_BYTES), record or b"", _pairs(asked))
            for uid, record, asked in zip(uids, found[::2], found[1::2], strict=True)
        ]

    async def forget(self, uids: Sequence[str]) -> None:
        """See `LocalQueues.forget`."""
        if not uids:
            return
        commands: list[Command] = [("MULTI",)]
        for name in map(_member, uids):
            commands.append(("DEL", *(prefix.encode() + name for prefix in _REQUEST_PREFIXES)))
            commands.append(("ZREM", keys.DEADLINES, name))
        commands.append(("EXEC",))

        async def once() -> None:
            for answer in (await self._store.call_many(commands))[-1]:
                if isinstance(answer, exceptions.RedisError):
                    raise answer

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
        arguments: list[bytes | str | int | float] = [len(letters)]
        large = False
        for letter in letters:
            arguments += (letter.kind, letter.reason, letter.raw, letter.uid, letter.list_name)
            large = large or len(letter.raw) >= LARGE_BYTES
        arguments.append(len(entries))
        arguments += entries
        large_entries = self._large.intersection(entries) if self._large else ()
        arguments.append(len(large_entries))
        arguments += (keys.OUTBOX_LARGE_PREFIX + entry for entry in large_entries)
        failed = b"1" if bury_failed else b"0"
        parcels = []
        for delivery in deliveries:
            marks, ending = delivery.marks, delivery.ending
            is_parcel = len(delivery.value) >= large_values.LARGE_BYTES and not bury_failed
            if is_parcel:
                parcels.append(len(arguments) + 1)
            arguments += (
                delivery.list_name,
                delivery.value,
                delivery.ttl_s,
                keys.SEEN_PREFIX + marks[0] if marks else b"",
                keys.SEEN_PREFIX + marks[1] if len(marks) > 1 else b"",
                b"p" if is_parcel else failed,
            )
            if ending is None:
                arguments += (b"", b"", b"", b"0")
            else:
                twin = b"" if ending.alone else ending.twin
                arguments += (b"e" if ending.ours else b"a", ending.uid, twin, ending.kept_s)
            large = large or len(delivery.value) >= LARGE_BYTES
        if parcels:
            answers = await self._until_done(partial(self._write_parcels, arguments, parcels))
        else:
            answers = await self._run(self._deliver, tuple(arguments), large)
        self._large.difference_update(large_entries)
        outcomes = []
        for delivery, answer in zip(deliveries, answers, strict=True):
            outcome = _OUTCOMES.get(answer, Outcome.FAILED) if isinstance(answer, int) else Outcome.FAILED
            if outcome is Outcome.FAILED:
                event(_LOG, logging.ERROR, "the store refused a push", list=delivery.list_name, reason=str(answer))
            outcomes.append(outcome)
        return outcomes

    async def _write_parcels(self, arguments: Sequence[bytes | str | int | float], parcels: Sequence[int]) -> Any:
        """One attempt. A later one uses new names: whether this one's parcels were moved, nobody knows."""
        named = list(arguments)
        for at in parcels:
            named[at] = await self._large_values.put(cast(bytes, arguments[at]))
        return await self._store.run(self._deliver, tuple(named), large=True)

    async def uid_key(self) -> bytes:
        """See `LocalQueues.uid_key`."""
        commands: list[Command] = [("SET", keys.UID_KEY, self._random_bytes(32), "NX"), ("GET", keys.UID_KEY)]
        return cast(bytes, (await self._ask_many(commands))[1])

    async def announce(self, status: dict[str, str]) -> None:
        """See `LocalQueues.announce`."""
        await self._ask(("HSET", keys.STATUS, *(part for pair in status.items() for part in pair)))

    async def publish(self, live: bytes) -> None:
        """See `LocalQueues.publish`."""
        await self._ask(("SET", keys.STATUS_LIVE, live))

    async def append_journal(self, chunk: bytes, limits: JournalLimits, now_s: float) -> None:
        """See `LocalQueues.append_journal`. How many chunks make up the bytes is measured from time to time."""
        oldest = str(int((now_s - limits.age_s_max) * 1000))
        self._journal_bytes += len(chunk)
        measure = self._journal_bytes >= limits.bytes_max // JOURNAL_CHECKS
        try:
            commands: list[Command] = [("XADD", keys.JOURNAL, "MINID", "~", oldest, "*", "c", chunk)]
            if measure:
                commands += (("XLEN", keys.JOURNAL), ("MEMORY", "USAGE", keys.JOURNAL))
            answers = await self._store.call_many(commands)
            if measure:
                self._journal_bytes = 0
                entries, used_bytes = answers[1], answers[2] or 0
                if used_bytes > limits.bytes_max:
                    kept = max(1, entries * limits.bytes_max // used_bytes)
                    await self._store.call(("XTRIM", keys.JOURNAL, "MAXLEN", "~", kept))
        except (exceptions.RedisError, TimeoutError) as error:
            raise JournalFailed(str(error) or "no answer") from None

    async def depths(self) -> dict[str, int]:
        """How much our own keys hold."""
        commands: list[Command] = [("XLEN", keys.OUTBOX), ("ZCARD", keys.DEADLINES), ("XLEN", keys.DEAD)]
        return dict(zip(("outbox", "waiting", "dead"), await self._ask_many(commands), strict=True))

    async def why_refused(self) -> str | None:
        """Why the store would refuse a write at this moment, in its own words; `None` when it would not."""
        try:
            async with asyncio.timeout(PROBE_S_MAX):
                await self._store.call(("SETRANGE", keys.PROBE, 0, ""))
        except (exceptions.RedisError, TimeoutError) as error:
            return str(error) or "no answer"
        return None

    async def keep_own_record(self, record: bytes) -> None:
        """See `LocalQueues.keep_own_record`."""
        await self._ask(("SET", keys.OWN_RECORD, record))

    async def own_record(self) -> bytes | None:
        """See `LocalQueues.own_record`."""
        return cast(bytes | None, await self._ask(("GET", keys.OWN_RECORD)))

    async def close(self) -> None:
        """See `LocalQueues.close`. What a waiting move fetches meanwhile is in its own list, or in the outbox."""
        await self._moves.close()
        await self._large_values.close()
        await self._store.close()
        await self._redis.aclose()

    # --- taking ---

    async def _take_once(self, count_max: int) -> list[Taken]:
        limits = (count_max, TAKE_BYTES_MAX)
        while True:
            if not self._left:
                self._left = self._next_of_the_moved()
            if self._left:
                if items := await self._some_of_the_left(count_max):
                    return items
            elif self._outbox_may_hold_more:
                self._left = await self._unseen_entries(count_max)
                self._outbox_may_hold_more = bool(self._left)
            elif self._lists_may_hold_more:
                # If the answer gets lost, the items are in the outbox all the same: look there first next time.
                self._outbox_may_hold_more = True
                answer = await self._store.run(self._take, limits)
                self._outbox_may_hold_more = self._lists_may_hold_more = False
                self._moved.append(Moved(None, answer, count_max))
            elif self._moved and not self._moves.waiting:
                self._outbox_may_hold_more = True  # the answer to an earlier take is missing, and nowhere under way
            else:
                if not self._moved:
                    self._moves.arm(self._take.packed(limits), count_max)
                await self._moves.wait()
                self._collect()

    async def _some_of_the_left(self, count_max: int) -> list[Taken]:
        """The next ones, large ones with their content. What is fetched when this fails need not be fetched again."""
        count, size_bytes = min(count_max, len(self._left)), 0
        if self._large:
            at = 0
            while at < count and size_bytes < TAKE_BYTES_MAX:
                item = self._left[at]
                if not item.raw and item.entry in self._large:
                    raw = await self._large_values.fetch(keys.OUTBOX_LARGE_PREFIX + item.entry)
                    if raw is None:
                        await self._bury_damaged(item.entry, b"", "has lost its content")
                        del self._left[at]
                        count -= 1
                        continue
                    self._left[at] = item = item._replace(raw=raw)
                size_bytes += len(item.raw)
                at += 1
            count = at
        items, self._left = self._left[:count], self._left[count:]
        return items

    async def _bury_damaged(self, entry: str, raw: bytes, what: str) -> None:
        letter = DeadLetter("record", raw, f"the outbox entry {entry} {what}")
        await self.conclude((), (letter,), (entry,))

    def _collect(self) -> None:
        """Keep what moves have brought; after a failure outbox and lists may hold what nobody was told."""
        failures = []
        for moved in self._moves.collect():
            if moved.error is None:
                self._moved.append(moved)
            else:
                self._outbox_may_hold_more = self._lists_may_hold_more = True
                if not isinstance(moved.error, exceptions.NoScriptError):  # the next attempt brings it
                    failures.append(moved.error)
        if failures:
            raise failures[0]

    def _next_of_the_moved(self) -> list[Taken]:
        """The items of the take after the last one, if its answer is here.

        An answer that comes too early stays. What was read from the outbox meanwhile is not returned again.
        """
        self._moved.sort(key=lambda moved: (moved.answer[0], len(moved.answer) == 1))
        while self._moved:
            number, *answer = self._moved[0].answer
            expected = None if self._takes is None else self._takes + bool(answer)
            if expected is None or number == expected:
                count_max = self._moved.pop(0).count_max
                if answer:
                    return self._taken(number, answer, count_max)
            elif number > expected:
                return []
            elif not answer or self._is_returned(answer):
                del self._moved[0]
            else:
                self._outbox_may_hold_more = True  # the store counts anew
                return []
        return []

    def _is_returned(self, answer: list[Any]) -> bool:
        """Whether the items of a take were read from the outbox meanwhile."""
        return _entry_order(answer[-3]) <= _entry_order(self._last_entry)

    def _taken(self, number: int, answer: list[Any], count_max: int) -> list[Taken]:
        self._takes, self._last_entry = number, answer[-3]
        rows = list(zip(answer[::3], answer[1::3], answer[2::3], strict=True))
        items = [self._item(entry.decode(), kind, raw) for entry, kind, raw in rows]
        size_bytes = sum(int(raw) if kind in _LARGE_KINDS else len(raw) for _, kind, raw in rows)
        if len(items) >= count_max or size_bytes >= TAKE_BYTES_MAX:
            self._lists_may_hold_more = True
        return items

    def _item(
        self, entry: str, kind: bytes, raw: bytes, found_since_s: int | None = None, remembered: bool = False
    ) -> Taken:
        if kind in _KINDS:
            return Taken(entry, _KINDS[kind], raw, found_since_s, remembered)
        self._large.add(entry)
        return Taken(entry, _LARGE_KINDS[kind], b"", found_since_s, remembered)

    async def _unseen_entries(self, count_max: int) -> list[Taken]:
        # The number is read first: takes up to it are in what is read then.
        (takes, remembered), rows = await self._store.call_many(
            [
                ("MGET", keys.TAKES, keys.REMEMBERED),
                ("XRANGE", keys.OUTBOX, b"(" + self._last_entry, "+", "COUNT", count_max),
            ]
        )
        last_remembered = _entry_order(remembered or b"")
        items = []
        damaged: list[tuple[bytes, dict[bytes, bytes]]] = []
        for entry, values in rows:
            fields = _pairs(values)
            kind, raw = next(iter(fields.items()), (b"", b""))
            if kind in _ALL_KINDS:
                found_since_s = int(entry.split(b"-")[0]) // 1000
                before = _entry_order(entry) <= last_remembered
                items.append(self._item(entry.decode(), kind, raw, found_since_s, before))
            else:
                damaged.append((entry, fields))
        for entry, fields in damaged:
            event(_LOG, logging.ERROR, "damaged outbox entry", entry=entry.decode(), fields=sorted(fields))
            await self._bury_damaged(entry.decode(), repr(fields).encode(), "is damaged")
        if rows:
            self._last_entry = rows[-1][0]
        else:
            # What is left now was deleted from the outbox by somebody: it has its turn all the same.
            self._moved = [m for m in self._moved if len(m.answer) > 1 and not self._is_returned(m.answer)]
            self._takes = None if self._moved else int(takes) if takes is not None and takes.isdigit() else 0
        return items or (await self._unseen_entries(count_max) if rows else [])

    # --- asking ---

    async def _ask(self, command: Command) -> Any:
        return await self._until_done(partial(self._store.call, command))

    async def _ask_many(self, commands: Sequence[Command]) -> list[Any]:
        return await self._until_done(partial(self._store.call_many, commands))

    async def _run(self, script: Script, arguments: Command, large: bool = False) -> Any:
        """Run a script until it is done. This is what happens for every message: nothing is made for a case that does
        not come up."""
        try:
            answer = await self._store.run(script, arguments, large)
        except (exceptions.RedisError, TimeoutError) as error:
            return await self._until_done(partial(self._store.run, script, arguments, large), error)
        self._done()
        return answer

    async def _until_done(self, attempt: Callable[[], Awaitable[T]], error: Exception | None = None) -> T:
        """Attempt until it succeeds, or fails in a way that does not pass.

        Args:
            attempt: what is tried.
            error: how a first attempt has failed.
        """
        delay_s = RETRY_DELAY_S_MIN
        while True:
            if error is not None:
                self._note_failure(error)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_DELAY_S_MAX)
            try:
                result = await attempt()
            except (exceptions.RedisError, TimeoutError) as failure:
                error = failure
            else:
                self._done()
                return result

    def _note_failure(self, error: Exception) -> None:
        if not isinstance(error, _AWAY + _PASSING_CLASSES) and not str(error).startswith(_PASSING_ERRORS):
            raise error
        reason = str(error) or "no answer"
        if not self._away:
            away = isinstance(error, _AWAY)
            text = "the store is away, waiting for it" if away else "the store refuses, waiting for it"
            event(_LOG, logging.WARNING, text, reason=reason)
        self._away, self._trouble = True, reason

    def _done(self) -> None:
        if self._away:
            event(_LOG, logging.WARNING, "the store is back")
            self._away, self._trouble = False, None


def _pairs(values: list[bytes]) -> dict[bytes, bytes]:
    """Fields and values of a hash or an entry, which come in turn."""
    return dict(zip(values[::2], values[1::2], strict=True))


def _script(name: str, key_names: Sequence[str], settings: Sequence[str | int] = ()) -> Script:
    return Script(files("rmb_peer.local").joinpath(name).read_bytes(), key_names, settings)


def _member(uid: str) -> bytes:
    return uid.encode(_ANY_BYTES, "replace")


def _entry_order(entry: bytes) -> tuple[int, int]:
    """Stream ids in the order of the stream; what is no id comes before all."""
    milliseconds, _, number = entry.partition(b"-")
    try:
        return int(milliseconds), int(number)
    except ValueError:
        return -1, -1


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
