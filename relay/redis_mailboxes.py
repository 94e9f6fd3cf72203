"""Mailboxes as Redis or Valkey streams, in the layout that other relays use (spec rmb 6.7).

Key `stream:<twin>` or `stream:<twin>:<session>`; one field, `_`, holds the serialised envelope. An entry of any other
shape cannot be delivered; it is deleted when it is met, and counted (spec rmb 10.7).

Appends travel as one call of a script per batch. When the connection breaks before the answer came, nobody knows
whether the batch was carried out; so the script leaves the number and the result of the last batch behind, and a batch
that is sent again only reads them. The scripts also count what is stored, see `mailbox_scripts`; what they drop to make
room they leave in a list for this process, which tells about it, also when the answer was lost.

The script also looks up where the session is connected: its process is told when another one appends
(`presence_script`). On a cluster a batch travels as one call per twin, whose keys share a slot.

This module refuses to know who is connected here.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from relay.batcher import Batcher, settle
from relay.keys import (
    STORED,
    appended_key,
    dropped_key,
    mailbox_field,
    mailbox_key,
    presence_field,
    presence_key,
    stored_key,
)
from relay.mailbox_scripts import APPEND, FIELD, READ, REMOVE, read_id
from relay.mailboxes import (
    APPEND_S_MAX,
    LIFETIME_S,
    LOOK_THROUGH_S,
    PAGE_BYTES_MAX,
    PAGE_ENTRIES_MAX,
    SLACK_S,
    Entry,
    EntryId,
    Limit,
    MailboxFailed,
    MailboxFull,
    OnDropped,
    OnFull,
    Page,
    Receipt,
    Then,
)
from relay.retention import Retention
from relay.script_calls import script_calls
from relay.store import STORE_ERRORS, Store, by_group, is_cluster, persist, says_no
from relay.tasks import end
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address
from rmb_peer.store.script import KeyedScript
from rmb_peer.store.wire import LARGE_BYTES

RETRY_S_FIRST = 0.05
RETRY_S_MAX = 1.0
"""Pause before the next attempt, doubled each time up to the maximum; guesses for a store that is close by."""

BATCH_ITEMS_MAX = 500
"""Longer batches gain nothing more and delay other clients of the store."""

BATCH_BYTES_MAX = 4 * 1024 * 1024
"""A guess; a larger single envelope still travels, alone."""

HELD_ITEMS_MAX = 2 * BATCH_ITEMS_MAX
"""Envelopes held in memory until they are stored: one batch on its way, one being gathered. Beyond, sessions are not
read, so that what is written to clients keeps pace with what is read from them."""

HELD_BYTES_MAX = 64 * 1024 * 1024
"""Their bytes; a guess: four of the largest."""

READS_MAX = 8
"""Pages read at once, which bounds their memory when all sessions reconnect together; a guess."""

PING_S_MAX = 2.0
"""A store that takes longer for a sign of life is called unhealthy; a guess."""

CLOSE_S_MAX = 3.0
"""How long closing waits for what is under way; a guess."""

REMOVALS_MAX = 100
"""Mailboxes in one call that removes: what is removed is read for its size, a client's window of 8 MiB each at most."""

DROPPED_BYTES_MAX = 16 * 1024 * 1024
"""Dropped by one call that appends; what needs more room is refused. A guess: the largest envelope."""

_MARKER_S = 300
"""Outlives every repetition of a batch."""

_TOLD_ENTRIES = 100
"""Dropped entries fetched at once."""

_APPEND, _READ, _REMOVE = KeyedScript(APPEND), KeyedScript(READ), KeyedScript(REMOVE)

_LOG = get_logger("mailboxes")


class _Append(NamedTuple):
    owner: Address
    data: bytes
    look_at_s: int
    keep_s: int
    connected: bool


class _Delete(NamedTuple):
    owner: Address
    ids: tuple[EntryId, ...]


class RedisMailboxes:
    """`Mailboxes` on a Redis or Valkey server. Run `run` as a task."""

    def __init__(
        self,
        client: Store,
        *,
        process: str,
        retention: Retention | None = None,
        on_poison: Callable[[int], None] = lambda count: None,
        on_dropped: OnDropped = lambda data: None,
        on_full: OnFull = lambda owner, limit: None,
        now_s: Callable[[], float] = time.time,
        stored_bytes: Callable[[], int] = lambda: 0,
        append_s_max: float = APPEND_S_MAX,
        held_bytes_max: int = HELD_BYTES_MAX,
    ) -> None:
        """Set up; nothing is sent before `run`.

        Args:
            client: it must not repeat commands by itself: appends are repeated here, with care. It tells where a
                single server is, which is asked by connections of our own, see `script_calls`; not owned.
            process: a name that no other process on this store uses, now or before.
            retention: how much is kept.
            on_poison: told how many entries were deleted because of their shape.
            on_dropped: told of each entry that was dropped for a newer one.
            on_full: told of each envelope that did not fit, with the limit.
            now_s: Unix seconds.
            stored_bytes: how much is stored in all, as it was counted last; asked on a cluster only.
            append_s_max: see `APPEND_S_MAX`.
            held_bytes_max: see `HELD_BYTES_MAX`.
        """
        self._client: Any = client  # the types of both clients' commands differ without need
        self._cluster = is_cluster(client)
        self._process = process
        self._retention = retention or Retention()
        self._stored_bytes = stored_bytes
        self._on_poison = on_poison
        self._on_dropped = on_dropped
        self._on_full = on_full
        self._now_s = now_s
        self._append_s_max = append_s_max
        self._calls = script_calls(client)
        self._reads = script_calls(client)
        """Pages come by another connection, so that what is stored meanwhile is not answered behind their bytes."""
        self._dropped = asyncio.Event()
        self._dropped_in: set[int | None] = set()
        """Where something was dropped: twins on a cluster, else `None`."""
        self._batch_number = 0
        self._reading = asyncio.Semaphore(READS_MAX)
        self._closing = asyncio.Event()
        self._pages: set[asyncio.Task[Page | MailboxFailed]] = set()
        self._appends: Batcher[_Append, Receipt] = Batcher(
            self._append_batch,
            lambda item: len(item.data),
            _closed,
            batch_items_max=BATCH_ITEMS_MAX,
            batch_bytes_max=BATCH_BYTES_MAX,
            held_items_max=HELD_ITEMS_MAX,
            held_bytes_max=held_bytes_max,
        )
        self._deletes: Batcher[_Delete, None] = Batcher(
            self._delete_batch,
            lambda item: 0,
            _closed,
            batch_items_max=REMOVALS_MAX,
            batch_bytes_max=BATCH_BYTES_MAX,
            held_items_max=HELD_ITEMS_MAX,
            held_bytes_max=held_bytes_max,
        )

    async def run(self) -> None:
        """Carry out appends and deletes until `close`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                work = (self._appends.run(), self._deletes.run(), self._tell_dropped())
                workers: list[asyncio.Task[None]] = [tasks.create_task(each) for each in work]
                await self._closing.wait()
                await end([*workers, *self._pages])
        finally:
            await self._calls.close()
            await self._reads.close()

    def append(
        self, owner: Address, data: bytes, lifetime_s: int, *, connected: bool = False
    ) -> "asyncio.Future[Receipt]":
        """See `Mailboxes.append`."""
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.put(owner, data, lifetime_s, partial(settle, future), connected=connected)
        return future

    def put(self, owner: Address, data: bytes, lifetime_s: int, then: Then, *, connected: bool = False) -> None:
        """See `Mailboxes.put`."""
        lifetime_s = min(lifetime_s, self._retention.age_s)
        keep_s = max(lifetime_s + SLACK_S, LIFETIME_S)
        look_at_s = int(self._now_s()) + min(lifetime_s, LOOK_THROUGH_S)
        self._appends.submit_then(_Append(owner, data, look_at_s, keep_s, connected), then)

    def has_room(self) -> bool:
        """See `Mailboxes.has_room`."""
        return self._appends.has_room

    async def room(self) -> None:
        """See `Mailboxes.room`."""
        await self._appends.room()

    async def read(self, owner: Address, after: EntryId) -> Page:
        """See `Mailboxes.read`. A cancelled caller leaves the call alone: breaking it off would cost a connection."""
        call = asyncio.create_task(self._read(owner, after))
        self._pages.add(call)
        call.add_done_callback(self._pages.discard)
        page = await asyncio.shield(call)
        if isinstance(page, MailboxFailed):
            raise page
        return page

    async def _read(self, owner: Address, after: EntryId) -> Page | MailboxFailed:
        arguments: list[str | int] = [_id_text(after), PAGE_ENTRIES_MAX, PAGE_BYTES_MAX]
        try:
            async with self._reading:
                complete, raw = await self._reads.run(_READ, [self._key(owner)], arguments)
        except STORE_ERRORS as error:
            return _failed(error)
        entries, poison = [], []
        for id_bytes, fields in raw:
            if len(fields) == 2 and fields[0] == FIELD:
                entries.append(Entry(read_id(id_bytes), fields[1]))
            else:
                poison.append(read_id(id_bytes))
        if poison:
            self._discard(owner, poison)
        return Page(entries, read_id(raw[-1][0]) if raw else after, bool(complete))

    def delete(self, owner: Address, ids: Sequence[EntryId]) -> "asyncio.Future[None]":
        """See `Mailboxes.delete`."""
        future = self._deletes.submit(_Delete(owner, tuple(sorted(ids))))
        future.add_done_callback(_look_at)
        return future

    async def remove(self, owner: Address, ids: Sequence[EntryId]) -> list[EntryId]:
        """See `Mailboxes.remove`."""
        item = _Delete(owner, tuple(sorted(ids)))
        try:
            (answer,) = await self._send_removals([item])
        except STORE_ERRORS as error:
            raise _failed(error) from error
        if answer.startswith(b"!"):
            raise _refused(answer)
        return [entry_id for entry_id, flag in zip(item.ids, answer.decode(), strict=True) if flag == "1"]

    async def ping(self) -> None:
        """See `Mailboxes.ping`."""
        try:
            await asyncio.wait_for(self._client.ping(), PING_S_MAX)
        except (*STORE_ERRORS, TimeoutError) as error:
            raise _failed(error) from error

    async def idle(self) -> None:
        """Wait until no append and no deletion is under way."""
        await self._appends.idle()
        await asyncio.sleep(0)  # whoever hears of the last append just now may delete it: it was delivered meanwhile
        await self._deletes.idle()

    async def close(self) -> None:
        """See `Mailboxes.close`."""
        if self._closing.is_set():
            return
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self.idle()
        except TimeoutError:
            event(_LOG, logging.ERROR, "the store does not answer, closing without it", bytes=self._appends.held_bytes)
        self._closing.set()

    def _discard(self, owner: Address, poison: list[EntryId]) -> None:
        event(
            _LOG,
            logging.WARNING,
            "entries without exactly one field deleted",
            key=self._key(owner),
            count=len(poison),
        )
        self.delete(owner, poison)
        self._on_poison(len(poison))

    async def _append_batch(self, batch: Sequence[_Append]) -> list[Receipt | Exception]:
        self._batch_number += 1
        if self._cluster:
            return await by_group(batch, self._group_of, self._append_group)
        return await self._append_group(batch)

    async def _append_group(self, batch: Sequence[_Append]) -> list[Receipt | Exception]:
        twin = self._group_of(batch[0])
        limits = self._retention
        keys = [appended_key(self._process, twin), dropped_key(self._process, twin), self._sums_key(twin)]
        arguments: list[Any] = [
            self._batch_number,
            _MARKER_S,
            limits.count,
            limits.bytes,
            limits.twin_count,
            limits.twin_bytes,
            limits.twin_mailboxes,
            limits.stored_bytes - self._stored_bytes() if self._cluster else limits.stored_bytes,
            int(limits.when_full == "drop-oldest"),
            DROPPED_BYTES_MAX,
            int(self._now_s()),
            self._process,
        ]
        boxes: dict[tuple[int, str | None], int] = {}
        runs: list[Any] = []
        alike: tuple[object, ...] = ()
        for item in batch:
            owner = item.owner
            box = boxes.get((owner.twin, owner.session))
            if box is None:
                boxes[owner.twin, owner.session] = box = len(boxes) + 1
                keys += (self._key(owner), stored_key(owner.twin), presence_key(owner.twin))
                arguments += (mailbox_field(owner), presence_field(owner.session), str(owner))
            before, alike = alike, (box, item.look_at_s, item.keep_s, item.connected)
            if alike != before:  # a run begins, see APPEND
                runs += (box, item.look_at_s, item.keep_s, int(item.connected), 0)
                length_at = len(runs) - 1
            runs[length_at] += 1
            runs.append(item.data)
        arguments += runs
        large = any(len(item.data) >= LARGE_BYTES for item in batch)
        give_up_at = asyncio.get_running_loop().time() + self._append_s_max
        try:
            answer = await self._persist(lambda: self._calls.run(_APPEND, keys, arguments, large=large), give_up_at)
        except STORE_ERRORS as error:
            return [_failed(error) for _ in batch]
        _, dropped, *results = answer.split(b" ")
        if dropped != b"0":
            self._dropped_in.add(twin)
            self._dropped.set()
        return [self._read_result(item.owner, text) for item, text in zip(batch, results, strict=True)]

    def _read_result(self, owner: Address, text: bytes) -> Receipt | Exception:
        if text.startswith(b"?"):
            limit = cast(Limit, text[1:].decode())  # the script knows no others
            self._on_full(owner, limit)
            return MailboxFull(limit, self._retention.value(limit))
        if text.startswith(b"!"):
            return _refused(text)
        milliseconds, counter, depth, *foreign = map(int, text.split(b"-"))
        return Receipt((milliseconds, counter), depth, (foreign[0], foreign[1]) if foreign else None)

    async def _delete_batch(self, batch: Sequence[_Delete]) -> list[Exception | None]:
        if self._cluster:
            return await by_group(batch, self._group_of, self._delete_group)
        return await self._delete_group(batch)

    async def _delete_group(self, batch: Sequence[_Delete]) -> list[Exception | None]:
        try:
            answers = await self._persist(lambda: self._send_removals(batch), None)
        except STORE_ERRORS as error:
            return [_failed(error) for _ in batch]
        return [_refused(answer) if answer.startswith(b"!") else None for answer in answers]

    async def _send_removals(self, items: Sequence[_Delete]) -> list[bytes]:
        keys, arguments = [self._sums_key(self._group_of(items[0]))], list[str | int]()
        for item in items:
            keys += (self._key(item.owner), stored_key(item.owner.twin))
            arguments += (mailbox_field(item.owner), len(item.ids), *map(_id_text, item.ids))
        answers: list[bytes] = await self._calls.run(_REMOVE, keys, arguments)
        return answers

    async def _tell_dropped(self) -> None:
        """Fetch what was dropped for our appends, and tell about it.

        Reading and removing are two steps, each of which may be repeated: the client of a cluster repeats commands by
        itself when it loses a connection, and what a repeated LPOP had taken would be told to nobody.
        """
        while True:
            await self._dropped.wait()
            self._dropped.clear()
            while self._dropped_in:
                key = dropped_key(self._process, self._dropped_in.pop())
                try:
                    while found := await self._persist(partial(self._client.lrange, key, 0, _TOLD_ENTRIES - 1), None):
                        remove = [self._persist(partial(self._client.lrem, key, 1, data), None) for data in found]
                        await asyncio.gather(*remove)
                        for data in found:
                            self._on_dropped(data)
                except STORE_ERRORS as error:
                    event(_LOG, logging.ERROR, "senders of dropped messages are not told", reason=str(error))

    def _group_of(self, item: _Append | _Delete) -> int | None:
        """What may travel in one script: on a cluster, what is for one twin."""
        return item.owner.twin if self._cluster else None

    @staticmethod
    def _sums_key(twin: int | None) -> str:
        """The sums over all twins; none on a cluster, see `mailbox_scripts`."""
        return STORED if twin is None else stored_key(twin)

    def _key(self, owner: Address) -> str:
        return mailbox_key(owner, cluster=self._cluster)

    async def _persist(self, send: Callable[[], Any], give_up_at: float | None) -> Any:
        return await persist(send, give_up_at, _LOG, (RETRY_S_FIRST, RETRY_S_MAX))


def _failed(error: Exception) -> MailboxFailed:
    """What may be told to a remote requester: the server's own words, but nothing about where it is."""
    if says_no(error):
        return MailboxFailed(f"redis error: {error}")
    return MailboxFailed(f"the store does not answer ({type(error).__name__})")


def _closed() -> MailboxFailed:
    return MailboxFailed("the relay is shutting down")


def _look_at(future: "asyncio.Future[None]") -> None:
    """Deletes are rarely waited for; this reports the ones that failed."""
    if not future.cancelled() and (error := future.exception()):
        event(_LOG, logging.ERROR, "delivered entries could not be deleted", reason=str(error))


def _refused(text: bytes) -> MailboxFailed:
    """What a script says of one item."""
    return MailboxFailed("redis error: " + text[1:].decode(errors="replace").replace("\t", " "))


def _id_text(entry_id: EntryId) -> str:
    return f"{entry_id[0]}-{entry_id[1]}"
