"""A lease: work that acts on the store by itself is done by one process at a time, whichever it is.

A key in the store names the holder and expires by itself; the holder renews it. So another process takes over some
seconds after the holder died, was paused, or lost the store. The holder stops *before* the key can expire: it counts
from the moment it asked, by its own clock, so slow answers make its lease shorter and never longer.

One thing no lease can do: a process that is paused for longer than the lease, in the middle of one act, finishes that
act when it goes on. Work asks `held` before each act, and keeps an act harmless when it is done twice.

This module refuses to know what the work is.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from relay.keys import lease_key
from relay.store import STORE_ERRORS, Store
from relay.tasks import end
from rmb_peer.logs import event, get_logger

LEASE_S = 5.0
"""How long a lease lasts without being renewed: the longest gap when a holder dies, and nearly the longest stall of a
store that its holder survives. A guess."""

_STOP_EARLY = 0.2
"""The part of the lease before its end at which the holder stops, so that it has stopped when somebody else starts."""

_RENEW = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('PEXPIRE', KEYS[1], ARGV[2])"
_RELEASE = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('DEL', KEYS[1])"

_LOG = get_logger("relay.lease")


class Lease:
    """The right to do one kind of work. Run `keep` as a task.

    Attributes:
        name: of the work, such as `outbox:relay.example.org`.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        lease_s: float = LEASE_S,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        """Set up, not held.

        Args:
            store: the connection; not owned.
            name: of the work.
            lease_s: how long the lease lasts without being renewed.
            now_s: tells seconds, monotonic; the event loop's by default.
        """
        self.name = name
        self._store: Any = store  # the types of both clients' commands differ without need
        self._key = lease_key(name)
        self._holder = secrets.token_hex(8)  # not the process: two leases of one name exclude each other anywhere
        self._lease_s = lease_s
        self._now_s = now_s or asyncio.get_running_loop().time
        self._until_s = 0.0

    @property
    def held(self) -> bool:
        """Whether it is certainly ours at this moment."""
        return self._now_s() < self._until_s

    async def take(self) -> bool:
        """Take it if nobody has it, or renew it if it is ours; whether it is ours now.

        A store that does not answer gives no lease; what `held` said before stays true as long as it can be.
        """
        asked_s = self._now_s()
        try:
            async with asyncio.timeout(self._lease_s / 3):
                taken = await self._ask(_RENEW, self._milliseconds) or await cast(
                    Awaitable[Any], self._store.set(self._key, self._holder, nx=True, px=self._milliseconds)
                )
        except (*STORE_ERRORS, TimeoutError) as error:
            event(_LOG, logging.DEBUG, "no answer about a lease", name=self.name, reason=type(error).__name__)
            return self.held
        self._until_s = asked_s + self._lease_s * (1 - _STOP_EARLY) if taken else 0.0
        return self.held

    async def release(self) -> None:
        """Give it up, so that others need not wait for its end; harmless when it is not ours."""
        self._until_s = 0.0
        try:
            async with asyncio.timeout(self._lease_s / 3):
                await self._ask(_RELEASE)
        except (*STORE_ERRORS, TimeoutError) as error:
            event(_LOG, logging.DEBUG, "a lease runs out by itself", name=self.name, reason=type(error).__name__)

    async def keep(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work whenever the lease is ours, until cancelled.

        Args:
            work: started when the lease was taken; cancelled when it is lost. When it returns, the lease is given up,
                and taken again after a pause. What it raises ends `keep`.
        """
        try:
            while True:
                if await self.take():
                    await self._while_held(work)
                await asyncio.sleep(self._lease_s / 3)
        finally:
            await self.release()

    async def _while_held(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        event(_LOG, logging.DEBUG, "lease taken", name=self.name)
        working = asyncio.create_task(work())
        renewing = asyncio.create_task(self._renew())
        try:
            while self.held and not working.done():  # whatever renewing is waiting for
                await asyncio.wait((working,), timeout=max(0.0, self._until_s - self._now_s()))
        finally:
            await end((working, renewing))
        if working.cancelled():
            event(_LOG, logging.INFO, "lease lost", name=self.name)
        else:
            await self.release()
            working.result()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            await self.take()

    async def _ask(self, script: str, *arguments: object) -> Any:
        return await cast(Awaitable[Any], self._store.eval(script, 1, self._key, self._holder, *arguments))

    @property
    def _milliseconds(self) -> int:
        return int(self._lease_s * 1000)
