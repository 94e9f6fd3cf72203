"""Returns the work of dead workers to its queue, or ends it with an error: carries out what `leases.py` decides.

Any number of janitors may run on one store, in gateways and in workers: each step is one atomic script that does
nothing when another was faster. What a sweep reads and holds in memory is bounded. It refuses to know what entries
mean.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from rmb_peer.local import keys, leases
from rmb_peer.local.lease_events import LeaseEvent, LeaseStep, report
from rmb_peer.local.lease_settings import RETRIES_DEFAULT
from rmb_peer.local.leases import GiveUp, Lease, TryAgain
from rmb_peer.local.redis_client import AWAY
from rmb_peer.logs import event, get_logger

PERIOD_S = 5.0
"""Between two sweeps. A guess: a sixth of the default lease; an idle sweep is three short commands."""

LEASES_MAX = 10_000
"""Lease lists looked at in one sweep. A guess: more slots than services of one store have."""

SCAN_COUNT = 1000
"""Keys looked at in one sweep in search of lease lists that nobody has announced. A guess: a millisecond of the store's
time; a store of a million keys is seen once within an hour and a half."""

ROUNDS_MAX = 100
"""Entries taken from one lease list in one sweep. Workers of ours hold one."""

LATER_ENTRIES_MAX = 10_000
"""Entries that may wait for their next try; further ones go back at once. A guess: a service list holds as many."""

LATER_BATCH = 8
"""Waiting entries read at once; a guess that bounds memory: each may be as large as a message."""

SWEEP_S_MAX = 60.0
"""Longest sweep; a guess. The next one goes on where this one was."""

_MEMBER = re.compile(rb"(\d+):(\d+):")
_LOG = get_logger("leases")


@dataclass(frozen=True, slots=True)
class _Abandoned:
    """The newest entry in the lease list of a dead worker, and what becomes of it."""

    lease: Lease
    digest: str
    fate: TryAgain | GiveUp


class Janitor:
    """Cleans up behind the workers of one store."""

    def __init__(
        self, redis: Redis, *, tell: Callable[[LeaseEvent], None] = report, period_s: float = PERIOD_S
    ) -> None:
        """Set up.

        Args:
            redis: client without response decoding and without socket timeout; not closed here.
            tell: hears of every entry that was returned or given up.
            period_s: see `PERIOD_S`.
        """
        self._redis = redis
        self._tell = tell
        self._period_s = period_s
        scripts = files("rmb_peer.local")
        self._reclaim = redis.register_script(scripts.joinpath("reclaim.lua").read_text())
        self._forget = redis.register_script(scripts.joinpath("forget.lua").read_text())
        self._cursor = 0

    async def run(self) -> None:
        """Sweep now and then until cancelled. A store that is away, or refuses, is waited for."""
        failed = False
        while True:
            try:
                async with asyncio.timeout(SWEEP_S_MAX):
                    await self.sweep()
                failed = False
            except AWAY as error:
                if not failed:
                    event(_LOG, logging.WARNING, "cannot look after leases, trying again", reason=str(error))
                failed = True
            await asyncio.sleep(self._period_s)

    async def sweep(self) -> int:
        """Look through everything once.

        Returns:
            how many entries were returned to their queue, put off, or given up.

        Raises:
            RedisError: the store is away or refuses.
        """
        now_s = int((await self._redis.time())[0])
        count = await self._release_due(now_s)
        await self._find_unannounced()
        dead = await self._dead_leases()
        for _ in range(ROUNDS_MAX):
            found = [item for lease in dead if (item := await self._look_into(lease, now_s)) is not None]
            # Each goes to the end where workers take: the oldest last, so that it is the next one.
            dead = []
            for item in sorted(found, key=lambda item: item.fate.sent_at_s, reverse=True):
                if await self._end_lease(item, now_s):
                    count += 1
                    dead.append(item.lease)
            if not dead:
                break
        return count

    async def _find_unannounced(self) -> None:
        """Lease lists whose worker did not announce them, or was thought dead and forgotten when it took work."""
        self._cursor, names = await self._redis.scan(
            self._cursor, match=keys.LEASE_PREFIX + "*", count=SCAN_COUNT, _type="LIST"
        )
        if names:
            await self._redis.sadd(keys.LEASES, *names)

    async def _dead_leases(self) -> list[Lease]:
        names: set[bytes] = set()
        cursor = 0
        while True:
            cursor, some = await cast(Awaitable[Any], self._redis.sscan(keys.LEASES, cursor, count=SCAN_COUNT))
            names.update(some)
            if cursor == 0 or len(names) >= LEASES_MAX:
                break
        announced: list[Lease] = []
        for name in sorted(names):
            lease = leases.parse_lease(name.decode(errors="replace"))
            if lease is None or lease.list_name.encode() != name:
                event(_LOG, logging.WARNING, "no name of a lease list; forgotten", name=repr(name[:100]))
                await self._redis.srem(keys.LEASES, name)
            else:
                announced.append(lease)
        if not announced:
            return []
        workers = sorted({lease.worker for lease in announced})
        async with self._redis.pipeline(transaction=False) as pipe:
            for worker in workers:
                pipe.exists(keys.ALIVE_PREFIX + worker)
            alive = dict(zip(workers, await pipe.execute(), strict=True))
        return [lease for lease in announced if not alive[lease.worker]]

    async def _look_into(self, lease: Lease, now_s: int) -> _Abandoned | None:
        entry = await cast(Awaitable[bytes | None], self._redis.lindex(lease.list_name, 0))
        if entry is None:
            await self._forget(keys=[keys.LEASES, lease.list_name, keys.ALIVE_PREFIX + lease.worker])
            return None
        digest = hashlib.sha1(entry, usedforsecurity=False).hexdigest()
        failed = await cast(Awaitable[bytes | None], self._redis.get(keys.TRIES_PREFIX + digest))
        setting = await cast(Awaitable[Any], self._redis.hget(keys.RETRIES, lease.command))
        tries = _number(failed, 0) + 1
        return _Abandoned(lease, digest, leases.fate(entry, tries, _number(setting, RETRIES_DEFAULT), now_s))

    async def _end_lease(self, item: _Abandoned, now_s: int) -> bool:
        lease, fate = item.lease, item.fate
        done = await self._carry_out(
            lease.command, fate, now_s, held_in=lease.list_name, by="lease", identity=item.digest,
            alive=keys.ALIVE_PREFIX + lease.worker, tries_key=keys.TRIES_PREFIX + item.digest,
        )  # fmt: skip
        if done:
            self._report(fate, lease.command, lease.worker)
        return bool(done)

    async def _release_due(self, now_s: int) -> int:
        """Put entries whose pause is over back into their queue, the newest first, so that the oldest is the next."""
        count = stuck = 0
        while True:
            members = await self._redis.zrevrangebyscore(keys.LATER, now_s, "-inf", start=stuck, num=LATER_BATCH)
            for member in cast(list[bytes], members):
                released = await self._release(member, now_s)
                count += released or 0
                stuck += released is None
            if len(members) < LATER_BATCH:
                return count

    async def _release(self, member: bytes, now_s: int) -> int | None:
        match = _MEMBER.match(member)
        begin = match.end() + int(match[2]) if match else 0
        if match is None or begin > len(member):
            event(_LOG, logging.WARNING, "no entry that waits for its next try; forgotten", member=repr(member[:100]))
            return await self._redis.zrem(keys.LATER, member)
        command = member[match.end() : begin].decode(errors="surrogateescape")
        fate = leases.overdue(member[begin:], now_s)
        done = await self._carry_out(
            command, fate, now_s, held_in=keys.LATER, by="pause", identity=member, alive=keys.LATER,
            tries_key=keys.LATER, begin=begin + 1,
        )  # fmt: skip
        if done and fate is not None:
            self._report(fate, command, "")
        return done

    async def _carry_out(
        self,
        command: str,
        fate: TryAgain | GiveUp | None,
        now_s: int,
        *,
        held_in: str,
        by: str,
        identity: str | bytes,
        alive: str,
        tries_key: str,
        begin: int = 0,
    ) -> int | None:
        """One run of `reclaim.lua`; `fate` is `None` for an entry that just goes back to its queue.

        The answer is that of the script; `None` when the store refuses: a list's name belongs to something else.
        """
        again = fate if isinstance(fate, TryAgain) else None
        end = fate if isinstance(fate, GiveUp) else None
        action = "bury" if end else "wait" if again and again.pause_s > 0 else "queue"
        queue = keys.command_list(command).encode(errors="surrogateescape")
        reply_list = end.reply_list if end and end.reply_list else keys.LOCAL_REPLIES
        try:
            answer = await self._reclaim(
                keys=[held_in, alive, queue, keys.LATER, tries_key, keys.DEAD, reply_list],
                args=[
                    by, identity, action,
                    again.tries if again else 0, again.remember_s if again else 0,
                    now_s + again.pause_s if again else 0, command.encode(errors="surrogateescape"), LATER_ENTRIES_MAX,
                    end.reason if end else "", keys.DEAD_ENTRIES_MAX, end.answer if end else b"",
                    begin,
                ],
            )  # fmt: skip
        except ResponseError as error:
            event(_LOG, logging.ERROR, "the store keeps unfinished work", queue=repr(queue), reason=str(error))
            return None
        return int(answer)

    def _report(self, fate: TryAgain | GiveUp, command: str, worker: str) -> None:
        if isinstance(fate, TryAgain):
            when = f"again in {fate.pause_s:g} s" if fate.pause_s else "again at once"
            detail = f"{fate.tries} unfinished so far, {when}"
            self._tell(LeaseEvent(LeaseStep.RETURNED, fate.uid, command, worker, detail))
        else:
            self._tell(LeaseEvent(LeaseStep.GIVEN_UP, fate.uid, command, worker, fate.reason))


def _number(value: bytes | None, default: int) -> int:
    """A number that anybody may have written; anything else counts as absent."""
    if value is None or not value.isdigit() or len(value) > 6:
        return default
    return int(value)
