"""Takes entries from Redis lists under leases, and ends each together with its answer (README, "Services that may
crash").

A `Heart` says that this process lives. A `Slot` has one entry in hand at a time: it takes it with a move into its lease
list, lets it be handled, and ends it with one atomic script, which does nothing when the lease was lost meanwhile: then
somebody else answers. Redis may go away and come back at any point; what is in hand is kept. This module refuses to
know what entries mean.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

from redis.asyncio import Redis

from rmb_peer.local import keys
from rmb_peer.local.leases import Lease
from rmb_peer.local.redis_client import ANSWER_S_MAX, AWAY, open_redis
from rmb_peer.logs import event, get_logger
from rmb_peer.sdk.patience import Patience

TAKE_S_MAX = 20
"""Longest single wait for an entry, whole seconds. It bounds how long a connection that died stays unnoticed."""

BEATS_PER_LEASE = 3
"""Heartbeats within the life of one: two may fail. A guess."""

PART_S_MAX = 2.0
"""Longest wait at the end for Redis to hear that we are gone; otherwise it finds out by itself."""

_UNBLOCK_S = 0.05  # between attempts to wake a slot that waits: the first may come just before it begins to wait
_LOG = get_logger("serve")


@dataclass(frozen=True, slots=True)
class Ending:
    """How an entry is to end.

    Attributes:
        reply_list: where the answer goes.
        answer: JSON; empty when nobody can be told.
        dead_because: reason for a dead letter; empty for none.
    """

    reply_list: str
    answer: bytes
    dead_because: str = ""


class Slot:
    """One entry in hand at a time."""

    def __init__(
        self,
        url: str,
        lease: Lease,
        heart: "Heart",
        handle: Callable[[bytes], Awaitable[Ending]],
        stopped: Callable[[bytes], Ending],
    ) -> None:
        """Make a slot; `run` starts it.

        Args:
            url: Redis.
            lease: its own; nobody else uses this name.
            heart: of this process.
            handle: works on an entry. It does not raise; it is cancelled when the lease is lost.
            stopped: the ending of an entry whose handling was cut short by `abort`.

        Raises:
            ValueError: `url` is no Redis URL.
        """
        self.lease = lease
        self._url = url
        self._queue = keys.command_list(lease.command)
        self._heart = heart
        self._handle = handle
        self._stopped = stopped
        self._redis = open_redis(url, single_connection_client=True)
        self._end = self._redis.register_script(files("rmb_peer.local").joinpath("finish.lua").read_text())
        self._stopping = asyncio.Event()
        self._aborting = asyncio.Event()
        self._own_id: int | None = None
        self._waiting_as: int | None = None
        self._unsure = False  # whether an entry may lie in our lease list that we have not seen
        self._task: asyncio.Future[Ending] | None = None
        self._lost = False

    @property
    def in_hand(self) -> object | None:
        """Stands for the entry that is being handled; another one for each."""
        return self._task

    async def run(self) -> None:
        """Work until `stop`."""
        try:
            while not self._stopping.is_set():
                entry = await self._take()
                if entry is not None:
                    await self._work(entry)
        finally:
            await self._redis.aclose()

    async def stop(self) -> None:
        """Take nothing new, and wake the slot if it waits. `run` ends when the entry in hand has ended."""
        self._stopping.set()
        if self._waiting_as is None:
            return
        client = open_redis(self._url)
        try:
            while self._waiting_as is not None:
                async with asyncio.timeout(ANSWER_S_MAX):
                    await client.client_unblock(self._waiting_as)
                await asyncio.sleep(_UNBLOCK_S)
        except AWAY as error:  # the slot's own connection fails as well, or its wait ends by itself
            event(_LOG, logging.WARNING, "cannot wake a worker that waits", reason=str(error))
        finally:
            await client.aclose()

    def abort(self) -> None:
        """Cut short what is being handled, and let go of an answer that cannot be pushed. Use it after `stop`."""
        self._aborting.set()
        if self._task is not None:
            self._task.cancel()

    def lost(self) -> None:
        """Our lease has been taken away: what we have in hand belongs to somebody else now."""
        if self._task is not None:
            self._lost = True
            self._task.cancel()

    async def _take(self) -> bytes | None:
        """The oldest entry, now in our lease list; `None` when there was none for a while, or on `stop`."""
        patience = Patience(self._url)
        while not self._stopping.is_set():
            try:
                if self._unsure:
                    entry = await self._held()
                    self._unsure = False
                    if entry is not None:
                        return entry
                if self._own_id is None:
                    async with asyncio.timeout(ANSWER_S_MAX):
                        self._own_id = int(await self._redis.client_id())
                if self._stopping.is_set():
                    break
                self._waiting_as = self._own_id  # from here on `stop` wakes us
                self._unsure = True  # until the answer is here
                async with asyncio.timeout(TAKE_S_MAX + ANSWER_S_MAX):
                    moved = await cast(
                        Awaitable[bytes | None],
                        self._redis.blmove(self._queue, self.lease.list_name, TAKE_S_MAX, "RIGHT", "LEFT"),
                    )
                self._unsure = False
                if moved is not None and not self._heart.fresh and await self._held() != moved:
                    moved = None  # we were paused: by now a janitor has returned it
            except AWAY as error:
                self._own_id = None
                self._waiting_as = None
                await patience.pause(error, self._stopping)
            else:
                patience.done()
                return moved
            finally:
                self._waiting_as = None
        return None

    async def _held(self) -> bytes | None:
        async with asyncio.timeout(ANSWER_S_MAX):
            return await cast(Awaitable[bytes | None], self._redis.lindex(self.lease.list_name, -1))

    async def _work(self, entry: bytes) -> None:
        self._lost = False
        self._task = asyncio.ensure_future(self._handle(entry))
        try:
            ending = await self._task
        except asyncio.CancelledError:
            if self._lost:
                event(
                    _LOG, logging.WARNING, "lease lost; somebody else has the request now", lease=self.lease.list_name
                )
                return
            if not self._aborting.is_set():
                self._task.cancel()
                raise
            ending = self._stopped(entry)
        finally:
            self._task = None
        await self._finish(entry, ending)

    async def _finish(self, entry: bytes, ending: Ending) -> None:
        patience = Patience(self._url)
        names = [self.lease.list_name, ending.reply_list or keys.LOCAL_REPLIES, keys.DEAD]
        values: list[bytes | str | int] = [
            entry,
            ending.answer,
            ending.dead_because,
            keys.DEAD_ENTRIES_MAX,
            self._queue,
        ]
        for attempt in range(10**9):
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    ended = await self._end(keys=names, args=values)
            except AWAY as error:
                self._own_id = None  # the next connection has another one
                if self._aborting.is_set():
                    # It stays in our lease list, and goes back to its queue when our heartbeat is gone.
                    event(_LOG, logging.ERROR, "stopped before an answer could be pushed", reason=str(error))
                    return
                await patience.pause(error, self._aborting)
            else:
                patience.done()
                if not ended and attempt == 0:  # else an attempt that seemed to fail may have ended it
                    event(_LOG, logging.WARNING, "answer dropped: the lease was lost", lease=self.lease.list_name)
                return


class Heart:
    """Says that this process lives, and notices when it was thought dead."""

    def __init__(
        self, redis: Redis, url: str, worker: str, lease_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Set up; the first `beat` makes the worker known.

        Args:
            redis: client without response decoding; not closed here.
            url: of that Redis, for messages.
            worker: name of this process, new for each run.
            lease_s: how long one heartbeat lives.
            clock: monotonic seconds.
        """
        self.worker = worker
        self._redis = redis
        self._url = url
        self._lease_s = lease_s
        self._clock = clock
        self._last_s: float | None = None
        self._slots: Sequence[Slot] = ()

    @property
    def fresh(self) -> bool:
        """Whether the last heartbeat certainly still lives."""
        return self._last_s is not None and self._clock() - self._last_s < self._lease_s

    async def begin(self, slots: Sequence[Slot], retries: dict[str, int], unless: asyncio.Event) -> None:
        """Make the worker and its settings known, waiting for Redis unless `unless` is set."""
        self._slots = slots
        patience = Patience(self._url)
        while not unless.is_set():
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    await self._redis.hset(keys.RETRIES, mapping=cast(Any, retries))
                await self.beat()
            except AWAY as error:
                await patience.pause(error, unless)
            else:
                patience.done()
                return

    async def run(self) -> None:
        """Beat until cancelled."""
        pause_s = self._lease_s / BEATS_PER_LEASE
        failed = False
        while True:
            await asyncio.sleep(pause_s)
            if not self.fresh and not failed:
                event(
                    _LOG, logging.WARNING,
                    "heartbeat late: this process was paused, or a handler blocks its event loop",
                    worker=self.worker,
                )  # fmt: skip
            try:
                await self.beat()
                failed = False
            except AWAY as error:
                if not failed:
                    event(_LOG, logging.WARNING, "heartbeat failed, trying again", reason=str(error) or "no answer")
                failed = True

    async def beat(self) -> None:
        """One heartbeat, and a look at what we have in hand.

        Raises:
            RedisError, OSError, TimeoutError: Redis is away.
        """
        began_s = self._clock()
        busy = [(slot, slot.in_hand) for slot in self._slots if slot.in_hand is not None]
        async with asyncio.timeout(ANSWER_S_MAX), self._redis.pipeline(transaction=False) as pipe:
            pipe.set(
                keys.ALIVE_PREFIX + self.worker, f"{socket.gethostname()} {os.getpid()}", px=int(self._lease_s * 1000)
            )
            if self._slots:
                pipe.sadd(keys.LEASES, *(slot.lease.list_name for slot in self._slots))
            for slot, _ in busy:
                pipe.exists(slot.lease.list_name)
            answers = await pipe.execute()
        self._last_s = began_s
        for (slot, in_hand), held in zip(busy, answers[len(answers) - len(busy) :], strict=True):
            if not held and slot.in_hand is in_hand:  # it was in hand before and after Redis was asked
                slot.lost()

    async def part(self) -> None:
        """Say that this worker is gone; what it still holds goes back to its queue at the next sweep."""
        with contextlib.suppress(*AWAY):
            async with asyncio.timeout(PART_S_MAX):
                await self._redis.delete(keys.ALIVE_PREFIX + self.worker)
                forget = self._redis.register_script(files("rmb_peer.local").joinpath("forget.lua").read_text())
                for slot in self._slots:
                    await forget(keys=[keys.LEASES, slot.lease.list_name, keys.ALIVE_PREFIX + self.worker])
