"""Outboxes as Redis or Valkey streams. Fields of an entry: `_` the envelope, `x` when it expires, `t` who was tried.

All keys of one outbox have one hash tag, so every script runs on a cluster, too. A batch whose answer was lost is sent
again; a marker tells that it was carried out (as in `redis_mailboxes`). This module refuses to know who is sent what.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.asyncio import Redis

from relay.batcher import Batcher
from relay.federation.outbox import (
    LIFETIME_S_MAX,
    PAGE_BYTES_MAX,
    PAGE_ENTRIES_MAX,
    Orders,
    OutboxFailed,
    OutboxFull,
    Page,
    View,
)
from relay.federation.speaker import Queued
from relay.keys import OUTBOX_CALLS, OUTBOXES, outbox_key, outbox_lease_key, outbox_marker_key, outbox_state_key
from relay.mailboxes import APPEND_S_MAX
from relay.store import STORE_ERRORS, Store, by_group, is_cluster, persist, says_no
from relay.tasks import end
from rmb_peer.logs import event, get_logger

BATCH_ITEMS_MAX = 500
"""As for mailboxes."""

BATCH_BYTES_MAX = 4 * 1024 * 1024
"""As for mailboxes."""

HELD_ITEMS_MAX = 2 * BATCH_ITEMS_MAX
"""Envelopes held in memory until they are stored; beyond, sessions are not read."""

HELD_BYTES_MAX = 32 * 1024 * 1024
"""Their bytes; a guess: two of the largest, beside what mailboxes hold."""

KEYS_S_MAX = LIFETIME_S_MAX + 24 * 3600
"""An outbox that nobody empties goes a day after the last envelope in it can have expired."""

RETRY_S = 0.25
"""Pause before a batch is sent again to a store that does not answer; a guess for one that is close by."""

CALLS_RETRY_S = 1.0
"""Pause before the channel is listened to again; a guess."""

CLOSE_S_MAX = 3.0
"""How long closing waits for what is under way; a guess."""

_MARKER_S = 300
_ENTRY_BYTES = 100
"""What an entry costs beside its envelope; a guess, so that a million empty ones have a size."""

_PUT = """
local last = redis.call('GET', KEYS[3])
if last and string.find(last, ARGV[1] .. ' ', 1, true) == 1 then return last end
local count = redis.call('XLEN', KEYS[1])
local bytes = count == 0 and 0 or tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0')
local results = {ARGV[1]}
for i = 7, #ARGV, 3 do
  local size = #ARGV[i] + tonumber(ARGV[6])
  if count + 1 > tonumber(ARGV[2]) then
    results[#results + 1] = 'count'
  elseif bytes + size > tonumber(ARGV[3]) then
    results[#results + 1] = 'bytes'
  else
    local added
    if ARGV[i + 2] == '' then
      added = redis.pcall('XADD', KEYS[1], '*', '_', ARGV[i], 'x', ARGV[i + 1])
    else
      added = redis.pcall('XADD', KEYS[1], '*', '_', ARGV[i], 'x', ARGV[i + 1], 't', ARGV[i + 2])
    end
    if type(added) == 'table' then
      results[#results + 1] = '!' .. string.gsub(added['err'], '%s', '\\t')
    else
      count, bytes = count + 1, bytes + size
      results[#results + 1] = tostring(count)
    end
  end
end
redis.pcall('HSET', KEYS[2], 'bytes', bytes)
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
local result = table.concat(results, ' ')
redis.pcall('SET', KEYS[3], result, 'EX', ARGV[5])
return result
"""

_READ = """
local page, size, last = {}, 0, ARGV[1]
while #page < tonumber(ARGV[2]) and size < tonumber(ARGV[3]) do
  local found = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)
  if #found == 0 then break end
  page[#page + 1] = found[1]
  last = found[1][1]
  for _, value in ipairs(found[1][2]) do size = size + #value end
end
return page
"""

_REMOVE = """
local bytes = 0
for i = 2, #ARGV do
  local found = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])
  if #found > 0 and redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    bytes = bytes + #(found[1][2][2]) + tonumber(ARGV[1])
  end
end
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('HDEL', KEYS[2], 'bytes')
elseif bytes > 0 then
  redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
end
"""

_LOOK = """
local count = redis.call('XLEN', KEYS[1])
local owner = redis.call('GET', KEYS[3]) or ''
if tonumber(ARGV[2]) > 0 and (owner == ARGV[1] or (owner == '' and count > 0)) then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
  owner = ARGV[1]
end
local oldest = ''
if count > 0 then oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1] end
return {count, owner, oldest, redis.call('HMGET', KEYS[2], 'bytes', 'health', 'paused', 'retry', 'drain')}
"""

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"

_LOG = get_logger("federation")


@dataclass(frozen=True, slots=True)
class _Put:
    name: str
    data: bytes
    expires_at_s: int
    tried: str


class RedisOutboxes:
    """`Outboxes` on a Redis or Valkey server. Run `run` as a task."""

    def __init__(
        self,
        client: Store,
        *,
        process: str,
        entries_max: int,
        bytes_max: int,
        put_s_max: float = APPEND_S_MAX,
        held_bytes_max: int = HELD_BYTES_MAX,
        news: Callable[[], Redis] | None = None,
    ) -> None:
        """Set up; nothing is sent before `run`.

        Args:
            client: it must not repeat commands by itself: puts are repeated here, with care.
            process: a name that no other process on this store uses, now or before.
            entries_max: envelopes in one outbox.
            bytes_max: their bytes, with about a hundred for each.
            put_s_max: how long a put is tried while the store does not answer.
            held_bytes_max: see `HELD_BYTES_MAX`.
            news: makes a connection on which to wait for what others say; by default `client` is used, which has to be
                a single server's.
        """
        self._client: Any = client  # the types of both clients' commands differ without need
        self._cluster = is_cluster(client)
        self._news = news
        self._process = process
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._put_s_max = put_s_max
        self._put_script = self._client.register_script(_PUT)
        self._read_script = self._client.register_script(_READ)
        self._remove_script = self._client.register_script(_REMOVE)
        self._look_script = self._client.register_script(_LOOK)
        self._release_script = self._client.register_script(_RELEASE)
        self._batch_number = 0
        self._puts: Batcher[_Put, int] = Batcher(
            self._put_batch,
            lambda item: len(item.data) + _ENTRY_BYTES,
            lambda: OutboxFailed("the relay is shutting down"),
            batch_items_max=BATCH_ITEMS_MAX,
            batch_bytes_max=BATCH_BYTES_MAX,
            held_items_max=HELD_ITEMS_MAX,
            held_bytes_max=held_bytes_max,
        )

    async def run(self) -> None:
        """Carry out puts until cancelled."""
        await self._puts.run()

    async def idle(self) -> None:
        """Wait until no put is under way."""
        await self._puts.idle()

    def put(self, name: str, data: bytes, expires_at_s: int, tried: str = "") -> "asyncio.Future[int]":
        """See `Outboxes.put`."""
        return self._puts.submit(_Put(name, data, expires_at_s, tried))

    def has_room(self) -> bool:
        """See `Outboxes.has_room`."""
        return self._puts.has_room

    async def room(self) -> None:
        """See `Outboxes.room`."""
        await self._puts.room()

    async def read(self, name: str, after: str, entries_max: int = PAGE_ENTRIES_MAX) -> Page:
        """See `Outboxes.read`."""
        raw: Any = await _told(self._read_script(keys=[outbox_key(name)], args=[after, entries_max, PAGE_BYTES_MAX]))
        entries, damaged = [], []
        for id_bytes, values in raw:
            entry_id = id_bytes.decode()
            fields = dict(zip(values[::2], values[1::2], strict=True))
            expires = fields.get(b"x", b"")
            if values[0] == b"_" and expires.isdigit():
                tried = fields.get(b"t", b"").decode(errors="replace")
                entries.append(Queued(entry_id, fields[b"_"], int(expires), tried))
            else:
                damaged.append(entry_id)
        return Page(entries, raw[-1][0].decode() if raw else after, damaged)

    async def remove(self, name: str, ids: Sequence[str]) -> None:
        """See `Outboxes.remove`."""
        if ids:
            keys = [outbox_key(name), outbox_state_key(name)]
            await _told(self._remove_script(keys=keys, args=[_ENTRY_BYTES, *ids]))

    async def names(self) -> list[str]:
        """See `Outboxes.names`."""
        members: Any = await _told(self._client.smembers(OUTBOXES))
        return sorted(member.decode() for member in members)

    async def look(self, names: Sequence[str], *, lease_ms: int = 0) -> list[View]:
        """See `Outboxes.look`."""
        if not names:
            return []
        if self._cluster:
            looked: list[Any] = await _told(by_group(names, lambda name: name, partial(self._look_at, lease_ms)))
            return [self._view(answer) for answer in looked]
        async with self._pipeline() as pipeline:
            for name in names:
                keys = [outbox_key(name), outbox_state_key(name), outbox_lease_key(name)]
                await self._look_script(keys=keys, args=[self._process, lease_ms], client=pipeline)
            answers: list[Any] = await _told(pipeline.execute())
        return [self._view(answer) for answer in answers]

    async def _look_at(self, lease_ms: int, names: Sequence[str]) -> list[Any]:
        keys = [outbox_key(names[0]), outbox_state_key(names[0]), outbox_lease_key(names[0])]
        return [await self._look_script(keys=keys, args=[self._process, lease_ms])] * len(names)

    def _pipeline(self) -> Any:
        """Of a single server; to be used in `async with`: one that is left half-way holds a connection."""
        return self._client.pipeline(transaction=False)

    def _view(self, answer: Any) -> View:
        count, owner, oldest, (size, health, paused, retry, drain) = answer
        return View(
            count=count,
            size_bytes=_number(size),
            oldest_at_s=_number(oldest.partition(b"-")[0]) / 1000,
            mine=owner == self._process.encode(),
            owner=owner.decode(errors="replace"),
            health=health,
            orders=Orders(paused == b"1", retry == b"1", drain == b"1"),
        )

    async def release(self, name: str) -> None:
        """See `Outboxes.release`."""
        await _told(self._release_script(keys=[outbox_lease_key(name)], args=[self._process]))

    async def save(self, name: str, health: bytes) -> None:
        """See `Outboxes.save`."""
        await self._write(name, [("HSET", ("health", health))])

    async def order(self, name: str, *, paused: bool | None = None, retry: bool = False, drain: bool = False) -> None:
        """See `Outboxes.order`."""

        wanted = [("paused", int(paused))] if paused is not None else []
        wanted += [(field, 1) for field, given in (("retry", retry), ("drain", drain)) if given]
        await self._write(name, [("HSET", change) for change in wanted])
        await _told(self._client.sadd(OUTBOXES, name))
        await _told(self._client.publish(OUTBOX_CALLS, name))

    async def obeyed(self, name: str) -> None:
        """See `Outboxes.obeyed`."""
        await self._write(name, [("HDEL", ("retry", "drain"))])

    async def _write(self, name: str, changes: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Change what is known about an outbox: commands, and their arguments after the key."""
        key = outbox_state_key(name)
        if self._cluster:
            for command, arguments in changes:
                await _told(self._client.execute_command(command, key, *arguments))
            await _told(self._client.expire(key, KEYS_S_MAX))
            return
        async with self._pipeline() as pipeline:
            for command, arguments in changes:
                pipeline.execute_command(command, key, *arguments)
            pipeline.expire(key, KEYS_S_MAX)
            await _told(pipeline.execute())

    async def forget(self, name: str) -> None:
        """See `Outboxes.forget`. Whoever puts something names the outbox before and after, so none is missed."""
        if await _told(self._client.xlen(outbox_key(name))) == 0:
            await _told(self._client.srem(OUTBOXES, name))
            if await _told(self._client.xlen(outbox_key(name))) > 0:
                await _told(self._client.sadd(OUTBOXES, name))

    async def calls(self) -> AsyncIterator[str]:
        """See `Outboxes.calls`."""
        while True:
            client = self._client if self._news is None else self._news()
            listener = client.pubsub()
            try:
                await listener.subscribe(OUTBOX_CALLS)
                while True:
                    message = await listener.get_message(ignore_subscribe_messages=True, timeout=None)
                    if message is not None:
                        yield message["data"].decode(errors="replace")
            except STORE_ERRORS as error:
                event(_LOG, logging.DEBUG, "the store's channel is lost", reason=type(error).__name__)
            finally:
                await listener.aclose()
                if client is not self._client:
                    await client.aclose()
            await asyncio.sleep(CALLS_RETRY_S)

    async def _put_batch(self, batch: Sequence[_Put]) -> list[int | Exception]:
        self._batch_number += 1
        by_name: dict[str, list[int]] = {}
        for position, item in enumerate(batch):
            by_name.setdefault(item.name, []).append(position)
        results: list[int | Exception] = [OutboxFailed("not put")] * len(batch)
        give_up_at = asyncio.get_running_loop().time() + self._put_s_max
        try:
            answers = await persist(lambda: self._send(batch, by_name), give_up_at, _LOG, (RETRY_S, RETRY_S))
        except STORE_ERRORS as error:
            return [_failed(error)] * len(batch)
        for (name, positions), answer in zip(by_name.items(), answers, strict=True):
            texts = [answer] * len(positions) if isinstance(answer, Exception) else answer.split(b" ")[1:]
            for position, text in zip(positions, texts, strict=True):
                results[position] = self._result(name, text)
        return results

    async def _send(self, batch: Sequence[_Put], by_name: dict[str, list[int]]) -> list[Any]:
        if self._cluster:
            return await self._send_to_cluster(batch, by_name)
        async with self._pipeline() as pipeline:
            pipeline.sadd(OUTBOXES, *by_name)
            for name, positions in by_name.items():
                keys, arguments = self._put_words(name, [batch[position] for position in positions])
                await self._put_script(keys=keys, args=arguments, client=pipeline)
            pipeline.sadd(OUTBOXES, *by_name)
            for name in by_name:
                pipeline.publish(OUTBOX_CALLS, name)
            answers = await pipeline.execute(raise_on_error=False)
        return list(answers[1 : 1 + len(by_name)])

    async def _send_to_cluster(self, batch: Sequence[_Put], by_name: dict[str, list[int]]) -> list[Any]:
        """A call per outbox: no pipeline of a cluster knows scripts."""

        async def put(names: Sequence[str]) -> list[Any]:
            keys, arguments = self._put_words(names[0], [batch[position] for position in by_name[names[0]]])
            try:
                return [await self._put_script(keys=keys, args=arguments)]
            except STORE_ERRORS as error:
                if not says_no(error):
                    raise
                return [error]

        names = list(by_name)
        await self._client.sadd(OUTBOXES, *names)
        answers: list[Any] = await by_group(names, lambda name: name, put)
        await self._client.sadd(OUTBOXES, *names)
        for name in names:
            await self._client.publish(OUTBOX_CALLS, name)
        return answers

    def _put_words(self, name: str, items: Sequence[_Put]) -> tuple[list[str], list[Any]]:
        """Keys and arguments of the script that puts."""
        keys = [outbox_key(name), outbox_state_key(name), outbox_marker_key(name, self._process)]
        arguments: list[Any] = [self._batch_number, self._entries_max, self._bytes_max, KEYS_S_MAX, _MARKER_S]
        arguments.append(_ENTRY_BYTES)
        for item in items:
            arguments += (item.data, item.expires_at_s, item.tried)
        return keys, arguments

    def _result(self, name: str, text: bytes | Exception) -> int | Exception:
        if isinstance(text, Exception):
            return _failed(text)
        if text == b"count":
            return OutboxFull(f"outbox for relay {name} is full: {self._entries_max} messages wait")
        if text == b"bytes":
            return OutboxFull(f"outbox for relay {name} is full: {self._bytes_max} bytes may wait")
        if text.startswith(b"!"):
            return OutboxFailed("redis error: " + text[1:].decode(errors="replace").replace("\t", " "))
        return int(text)


async def close(task: "asyncio.Task[None]", outboxes: RedisOutboxes, patience_s: float = CLOSE_S_MAX) -> None:
    """Finish what is being put, as far as the store answers, then end the task that runs `RedisOutboxes.run`."""
    try:
        async with asyncio.timeout(patience_s):
            await outboxes.idle()
    except TimeoutError:
        event(_LOG, logging.ERROR, "the store does not answer, closing without it")
    await end([task])


async def _told(answer: Any) -> Any:
    try:
        return await answer
    except STORE_ERRORS as error:
        raise _failed(error) from error


def _failed(error: Exception) -> OutboxFailed:
    """The server's own words, but nothing about where it is."""
    if says_no(error):
        return OutboxFailed(f"redis error: {error}")
    return OutboxFailed(f"the store does not answer ({type(error).__name__})")


def _number(text: bytes | None) -> int:
    return int(text) if text and text.isdigit() and len(text) < 16 else 0
