"""Mailboxes as Redis or Valkey streams, in the layout that other relays use (spec rmb 6.7).

Key `stream:<twin>` or `stream:<twin>:<session>`; one field, `_`, holds the serialised envelope. An entry of any other
shape cannot be delivered; it is deleted when it is met, and counted (spec rmb 10.7).

Appends travel as one call of a script per batch. When the connection breaks before the answer came, nobody knows
whether the batch was carried out; so the script leaves the number and the result of the last batch behind, and a batch
that is sent again only reads them.

The script also looks up where the session is connected: its process is told when another one appends
(`presence_script`). On a cluster a batch travels as one call per twin, whose keys share a slot.

This module refuses to know who is connected here.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from relay.batcher import Batcher
from relay.keys import appended_key, mailbox_key, presence_field, presence_key
from relay.mailboxes import (
    APPEND_S_MAX,
    ENTRIES_MAX,
    LIFETIME_S,
    LIFETIME_S_MAX,
    PAGE_BYTES_MAX,
    PAGE_ENTRIES_MAX,
    Entry,
    EntryId,
    MailboxFailed,
    MailboxFull,
    Page,
    Receipt,
)
from relay.presence_script import TELL
from relay.store import STORE_ERRORS, Store, by_group, is_cluster, says_no
from relay.tasks import end
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address

FIELD = b"_"

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

_MARKER_S = 300
"""Outlives every repetition of a batch."""

_APPEND = (
    TELL
    + """
local last = redis.call('GET', KEYS[1])
if last and string.find(last, ARGV[1] .. ' ', 1, true) == 1 then return last end
local results = {ARGV[1]}
local process = ARGV[#ARGV]
local count = (#KEYS - 1) / 2  -- after the mailboxes come the keys of presence, after their arguments those of presence
for i = 2, count + 1 do
  local data, lifetime = ARGV[2 * i], ARGV[2 * i + 1]
  local depth, result = redis.pcall('XLEN', KEYS[i]), nil
  if type(depth) == 'table' then
    result = depth
  elseif depth < tonumber(ARGV[2]) then
    result = redis.pcall('XADD', KEYS[i], 'MAXLEN', '~', ARGV[2], '*', '_', data)
  end
  if result == nil then
    results[i] = 'full'
  elseif type(result) == 'table' then
    results[i] = '!' .. string.gsub(result['err'], '%s', '\\t')
  else
    local owner = 2 * count + 2 * i  -- an argument: the session it is for, behind it its field
    results[i] = result .. '-' .. (depth + 1) .. tell(KEYS[count + i], ARGV[owner + 1], ARGV[owner], process)
    if redis.call('TTL', KEYS[i]) < tonumber(lifetime) then redis.call('EXPIRE', KEYS[i], lifetime) end
  end
end
local result = table.concat(results, ' ')
redis.pcall('SET', KEYS[1], result, 'EX', ARGV[3])
publish()
return result
"""
)

_READ = """
local page, size, last = {}, 0, ARGV[1]
while #page < tonumber(ARGV[2]) and size < tonumber(ARGV[3]) do
  local found = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)
  if #found == 0 then return {1, page} end
  page[#page + 1] = found[1]
  last = found[1][1]
  for _, value in ipairs(found[1][2]) do size = size + #value end
end
return {0, page}
"""

_LOG = get_logger("mailboxes")


@dataclass(frozen=True, slots=True)
class _Append:
    owner: Address
    data: bytes
    lifetime_s: int


@dataclass(frozen=True, slots=True)
class _Delete:
    owner: Address
    ids: tuple[EntryId, ...]


class RedisMailboxes:
    """`Mailboxes` on a Redis or Valkey server. Run `run` as a task."""

    def __init__(
        self,
        client: Store,
        *,
        process: str,
        on_poison: Callable[[int], None] = lambda count: None,
        append_s_max: float = APPEND_S_MAX,
        held_bytes_max: int = HELD_BYTES_MAX,
    ) -> None:
        """Set up; nothing is sent before `run`.

        Args:
            client: it must not repeat commands by itself: appends are repeated here, with care.
            process: a name that no other process on this store uses, now or before.
            on_poison: told how many entries were deleted because of their shape.
            append_s_max: see `APPEND_S_MAX`.
            held_bytes_max: see `HELD_BYTES_MAX`.
        """
        self._client: Any = client  # the types of both clients' commands differ without need
        self._cluster = is_cluster(client)
        self._process = process
        self._on_poison = on_poison
        self._append_s_max = append_s_max
        self._append_script = self._client.register_script(_APPEND)
        self._read_script = self._client.register_script(_READ)
        self._batch_number = 0
        self._reads = asyncio.Semaphore(READS_MAX)
        self._closing = asyncio.Event()
        self._calls: set[asyncio.Task[Page | MailboxFailed]] = set()
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
            batch_items_max=BATCH_ITEMS_MAX,
            batch_bytes_max=BATCH_BYTES_MAX,
            held_items_max=HELD_ITEMS_MAX,
            held_bytes_max=held_bytes_max,
        )

    async def run(self) -> None:
        """Carry out appends and deletes until `close`."""
        async with asyncio.TaskGroup() as tasks:
            workers = [tasks.create_task(self._appends.run()), tasks.create_task(self._deletes.run())]
            await self._closing.wait()
            await end([*workers, *self._calls])

    def append(self, owner: Address, data: bytes, lifetime_s: int) -> "asyncio.Future[Receipt]":
        """See `Mailboxes.append`."""
        return self._appends.submit(_Append(owner, data, min(max(lifetime_s, LIFETIME_S), LIFETIME_S_MAX)))

    def has_room(self) -> bool:
        """See `Mailboxes.has_room`."""
        return self._appends.has_room

    async def room(self) -> None:
        """See `Mailboxes.room`."""
        await self._appends.room()

    async def read(self, owner: Address, after: EntryId) -> Page:
        """See `Mailboxes.read`. A cancelled caller leaves the call alone: breaking it off would cost a connection."""
        call = asyncio.create_task(self._read(owner, after))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        page = await asyncio.shield(call)
        if isinstance(page, MailboxFailed):
            raise page
        return page

    async def _read(self, owner: Address, after: EntryId) -> Page | MailboxFailed:
        arguments: list[str | int] = [_id_text(after), PAGE_ENTRIES_MAX, PAGE_BYTES_MAX]
        try:
            async with self._reads:
                complete, raw = await self._read_script(keys=[self._key(owner)], args=arguments)
        except STORE_ERRORS as error:
            return _failed(error)
        entries, poison = [], []
        for id_bytes, fields in raw:
            if len(fields) == 2 and fields[0] == FIELD:
                entries.append(Entry(_read_id(id_bytes), fields[1]))
            else:
                poison.append(_read_id(id_bytes))
        if poison:
            self._discard(owner, poison)
        return Page(entries, _read_id(raw[-1][0]) if raw else after, bool(complete))

    def delete(self, owner: Address, ids: Sequence[EntryId]) -> "asyncio.Future[None]":
        """See `Mailboxes.delete`."""
        future = self._deletes.submit(_Delete(owner, tuple(ids)))
        future.add_done_callback(_look_at)
        return future

    async def ping(self) -> None:
        """See `Mailboxes.ping`."""
        try:
            await asyncio.wait_for(self._client.ping(), PING_S_MAX)
        except (*STORE_ERRORS, TimeoutError) as error:
            raise _failed(error) from error

    async def idle(self) -> None:
        """Wait until no append and no deletion is under way."""
        await self._appends.idle()
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
        return await by_group(batch, self._twin_of, self._append_group)

    async def _append_group(self, batch: Sequence[_Append]) -> list[Receipt | Exception]:
        twin = batch[0].owner.twin if self._cluster else None
        keys = [
            appended_key(self._process, twin),
            *(self._key(item.owner) for item in batch),
            *(presence_key(item.owner.twin) for item in batch),
        ]
        arguments: list[Any] = [self._batch_number, ENTRIES_MAX, _MARKER_S]
        for item in batch:
            arguments += (item.data, item.lifetime_s)
        for item in batch:
            arguments += (str(item.owner), presence_field(item.owner.session))
        arguments.append(self._process)
        give_up_at = asyncio.get_running_loop().time() + self._append_s_max
        try:
            answer = await self._persist(lambda: self._append_script(keys=keys, args=arguments), give_up_at)
        except STORE_ERRORS as error:
            return [_failed(error) for _ in batch]
        return [_read_result(text) for text in answer.split(b" ")[1:]]

    async def _delete_batch(self, batch: Sequence[_Delete]) -> list[Exception | None]:
        return await by_group(batch, self._owner_of, self._delete_group)

    async def _delete_group(self, batch: Sequence[_Delete]) -> list[Exception | None]:
        async def send() -> list[Any]:
            if self._cluster:
                ids = [_id_text(entry_id) for item in batch for entry_id in item.ids]
                return [await self._client.xdel(self._key(batch[0].owner), *ids)] * len(batch)
            pipeline = self._client.pipeline(transaction=False)
            for item in batch:
                pipeline.xdel(self._key(item.owner), *map(_id_text, item.ids))
            found: list[Any] = await pipeline.execute(raise_on_error=False)
            return found

        try:
            answers = await self._persist(send, None)
        except STORE_ERRORS as error:
            answers = [error for _ in batch]
        return [_failed(answer) if isinstance(answer, Exception) else None for answer in answers]

    def _twin_of(self, item: _Append) -> Hashable:
        """What may travel in one script: on a cluster, what is for one twin."""
        return item.owner.twin if self._cluster else None

    def _owner_of(self, item: _Delete) -> Hashable:
        """What may travel in one pipeline: on a cluster, what is for one session."""
        return item.owner if self._cluster else None

    def _key(self, owner: Address) -> str:
        return mailbox_key(owner, cluster=self._cluster)

    async def _persist(self, send: Callable[[], Any], give_up_at: float | None) -> Any:
        """Send until the store answers. An answer that says no is raised at once: asking again will not help."""
        pause_s = RETRY_S_FIRST
        while True:
            try:
                return await send()
            except STORE_ERRORS as error:
                if says_no(error):
                    raise
                if give_up_at is not None and asyncio.get_running_loop().time() + pause_s > give_up_at:
                    raise
                event(_LOG, logging.WARNING, "the store does not answer, trying again", reason=type(error).__name__)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)


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


def _read_result(text: bytes) -> Receipt | Exception:
    if text == b"full":
        return MailboxFull()
    if text.startswith(b"!"):
        return MailboxFailed("redis error: " + text[1:].decode(errors="replace").replace("\t", " "))
    milliseconds, counter, depth, *foreign = map(int, text.split(b"-"))
    return Receipt((milliseconds, counter), depth, (foreign[0], foreign[1]) if foreign else None)


def _read_id(text: bytes) -> EntryId:
    milliseconds, _, counter = text.partition(b"-")
    return int(milliseconds), int(counter)


def _id_text(entry_id: EntryId) -> str:
    return f"{entry_id[0]}-{entry_id[1]}"
