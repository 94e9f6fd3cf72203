"""Looks after the mailboxes of those who do not read them: drops what has expired, and counts anew.

Once a minute at most, all keys of the store are gone through, without reading any mailbox. A mailbox is read when its
counters say that something in it has expired, when somebody who does not count has changed it, and once an hour. One
that is full is read at once, since its sender was told to try again.

What it costs: going through a million mailboxes takes 5,000 steps of 200 keys and as many checks as there are twins.
Reading takes 500 µs per entry of pause, so no more than 2,000 entries a second are read, which is some percent of one
core; a million entries that all expire in the same second are gone after some 8 minutes. One mailbox of 10,000 is not
read more often than every 5 minutes, even if something in it expires every second. Whoever connects meanwhile gets
nothing that has expired: reading looks, too.

Going through everything is done by one process per store. This module refuses to know how mailboxes are kept.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from redis.exceptions import ResponseError

from relay.expiring import Sieve
from relay.lease import Lease
from relay.log_lines import printable
from relay.mailboxes import LOOK_THROUGH_S, Limit, MailboxFailed, Stored
from relay.store import STORE_ERRORS
from relay.upkeep import Upkeep
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import Address

ROUND_S = 60.0
"""From the start of one round to the start of the next; a guess."""

STEP_S = 0.01
"""Pause after each step through the keys; a guess: a million keys take a minute."""

ENTRY_S = 0.0005
"""Pause per entry that was read; a guess, see above."""

AGAIN_S = 30
"""A mailbox is not read again earlier; a guess."""

AGAIN_ENTRY_S = 0.03
"""Per entry in it: 10,000 make 5 minutes. A guess."""

HURRIED_MAX = 1000
"""Full mailboxes that wait to be read; a guess. The others wait for their round."""

SUMS_S = 10.0
"""How often a process asks for the sums that its metrics show; a guess."""

RETRY_S = 5.0
"""Pause when the store does not answer; a guess."""

_LOG = get_logger("relay")


class Watches(Protocol):
    """Shows how much is stored."""

    stored: Stored


class Janitor:
    """One per process. Run `run` as a task."""

    def __init__(
        self,
        upkeep: Upkeep,
        sieve: Sieve,
        lease: Lease,
        shown: Watches,
        now_s: Callable[[], float],
        *,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        """Set up.

        Args:
            upkeep: the store.
            sieve: drops what has expired.
            lease: the right to go through everything.
            shown: gets the sums.
            now_s: Unix seconds.
            sleep: `asyncio.sleep`, or another one in tests.
        """
        self._upkeep = upkeep
        self._sieve = sieve
        self._lease = lease
        self._shown = shown
        self._now_s = now_s
        self._sleep = sleep
        self._hurried: OrderedDict[Address, bool] = OrderedDict()
        """Full mailboxes, and whether the whole twin is meant."""
        self._not_before: OrderedDict[Address, float] = OrderedDict()
        """When a full mailbox may be read again."""
        self._stirred = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lease.keep(self._rounds))
            tasks.create_task(self._hurry())
            tasks.create_task(self._watch())

    def is_full(self, owner: Address, limit: Limit) -> None:
        """Something did not fit: look soon whether anything there has expired."""
        if limit == "store" or len(self._hurried) >= HURRIED_MAX or owner in self._hurried:
            return
        now_s = self._now_s()
        if self._not_before.get(owner, 0.0) > now_s:
            return
        self._not_before[owner] = now_s + AGAIN_S
        while len(self._not_before) > HURRIED_MAX:
            self._not_before.popitem(last=False)
        self._hurried[owner] = limit not in ("count", "bytes")
        self._stirred.set()

    async def round(self) -> None:
        """Go through everything once."""
        believed = await self._upkeep.sums()
        counted = Stored()
        async for twins, stored in self._upkeep.twins():
            counted = Stored(counted.count + stored.count, counted.bytes + stored.bytes)
            for twin, owners in twins.items():
                for owner in await self._upkeep.check(twin, sorted(owners, key=str), int(self._now_s())):
                    await self._try(owner)
            await self._sleep(STEP_S)
        if counted == believed or not await self._upkeep.correct_sums(believed, counted):
            return
        if self._upkeep.keeps_sums:
            event(_LOG, logging.INFO, "the sums of what is stored were wrong", count=counted.count, bytes=counted.bytes)

    async def look_through(self, owner: Address) -> None:
        """Read a mailbox, drop what has expired, count the rest."""
        now_s = int(self._now_s())
        step = await self._upkeep.walk(owner, now_s + LOOK_THROUGH_S)
        again_s, seen = now_s + LOOK_THROUGH_S, 0
        while True:
            kept, earliest_s = await self._sieve.sift(owner, step.entries)
            again_s, seen = min(again_s, earliest_s), seen + step.seen
            event(_LOG, logging.DEBUG, "looked through", session=printable(owner), seen=step.seen, kept=len(kept))
            await self._sleep(step.seen * ENTRY_S)
            if step.ended:
                break
            step = await self._upkeep.walk(owner, None)
        not_before_s = int(self._now_s() + max(AGAIN_S, seen * AGAIN_ENTRY_S))
        await self._upkeep.settle(owner, max(again_s, not_before_s))

    async def _rounds(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                await self.round()
            except (*STORE_ERRORS, MailboxFailed) as error:
                event(_LOG, logging.WARNING, "a round through the store was broken off", reason=type(error).__name__)
            await self._sleep(max(RETRY_S, began_s + ROUND_S - loop.time()))

    async def _hurry(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while self._hurried:
                owner, whole_twin = self._hurried.popitem(last=False)
                try:
                    await self._look_soon(owner, whole_twin)
                except (*STORE_ERRORS, MailboxFailed) as error:
                    event(_LOG, logging.WARNING, "a full mailbox could not be read", reason=type(error).__name__)
                    await self._sleep(RETRY_S)

    async def _look_soon(self, owner: Address, whole_twin: bool) -> None:
        if not whole_twin:
            await self._try(owner)
            return
        owners = sorted(await self._upkeep.mailboxes_of(owner.twin), key=str)
        for each in await self._upkeep.check(owner.twin, owners, int(self._now_s())):
            await self._try(each)

    async def _try(self, owner: Address) -> None:
        """One mailbox that is no good must not hold up the others."""
        try:
            await self.look_through(owner)
        except ResponseError as error:
            event(_LOG, logging.WARNING, "a mailbox cannot be read", session=printable(owner), reason=str(error))

    async def _watch(self) -> None:
        while True:
            with suppress(*STORE_ERRORS):  # the store's absence is told where it matters
                self._shown.stored = await self._upkeep.sums()
            await self._sleep(SUMS_S)
