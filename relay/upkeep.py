"""What a store of mailboxes needs besides appending and reading: going through all of them, in steps of bounded work.

One step looks at some hundred keys, or reads one page of one mailbox, see `mailbox_scripts`. This module refuses to
know when any of it is worth doing, and what has expired.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from relay.keys import (
    STORED,
    mailbox_field,
    mailbox_key,
    owner_of_field,
    owner_of_mailbox,
    stored_key,
    twin_of_stored,
)
from relay.mailbox_scripts import CHECK, FIELD, SET_SUMS, SETTLE, WALK, read_id
from relay.mailboxes import PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, Entry, Stored
from relay.store import Store, is_cluster
from rmb_peer.protocol.address import Address

SCAN_KEYS = 200
"""Keys that the store looks at in one step; a guess: well under a millisecond."""

CHECK_MAILBOXES = 100
"""Mailboxes checked by one call of a script; a guess: about a millisecond."""


@dataclass(frozen=True, slots=True)
class Step:
    """One page of a mailbox that is looked through.

    Attributes:
        entries: of the right shape; reading deletes the others.
        seen: entries of any shape.
        ended: nothing is left, or somebody else changed the mailbox and another time is better.
    """

    entries: list[Entry]
    seen: int
    ended: bool


class Upkeep:
    """All mailboxes of a store, with their counters. Every call may raise what redis-py raises."""

    def __init__(self, client: Store) -> None:
        """Set up; the client is not owned."""
        self._client: Any = client  # the types of both clients' commands differ without need
        self._cluster = is_cluster(client)
        self._check = self._client.register_script(CHECK)
        self._walk = self._client.register_script(WALK)
        self._settle = self._client.register_script(SETTLE)
        self._set_sums = self._client.register_script(SET_SUMS)

    @property
    def keeps_sums(self) -> bool:
        """Whether the scripts do; on a cluster they change only by `correct_sums`."""
        return not self._cluster

    async def sums(self) -> Stored:
        """How much is stored in all, as the scripts count it."""
        count, size = await self._client.hmget(STORED, "n", "b")
        return Stored(int(count or 0), int(size or 0))

    async def correct_sums(self, believed: Stored, counted: Stored) -> bool:
        """Replace the sums, unless anybody has changed them since they were `believed`; whether that was done."""
        arguments = [believed.count, believed.bytes, counted.count, counted.bytes]
        return bool(await self._set_sums(keys=[STORED], args=arguments))

    async def twins(self) -> AsyncIterator[tuple[dict[int, set[Address]], Stored]]:
        """Everything there is, some keys at a time.

        Yields:
            mailboxes by their twin, those that only the counters know included; and what the counters of some twins add
            up to, each twin once (or twice when the store rearranges its keys meanwhile).
        """
        async for keys in self._keys_by_step():
            found: dict[int, set[Address]] = {}
            count = size = 0
            for key in keys:
                if (owner := owner_of_mailbox(key)) is not None:
                    found.setdefault(owner.twin, set()).add(owner)
                elif (twin := twin_of_stored(key)) is not None:
                    try:
                        fields = await self._client.hgetall(key)
                    except ResponseError:
                        continue  # somebody put something else there; it must not hold up the rest
                    owners = (owner_of_field(twin, field) for field in fields)
                    found.setdefault(twin, set()).update(owner for owner in owners if owner is not None)
                    total = fields.get(b"t", b"0 0 0").split(b" ")
                    count, size = count + int(total[0]), size + int(total[1])
            yield found, Stored(count, size)

    async def _keys_by_step(self) -> AsyncIterator[list[bytes]]:
        if not self._cluster:
            cursor, keys = await self._client.scan(0, count=SCAN_KEYS)
            yield keys
            while cursor:
                cursor, keys = await self._client.scan(cursor, count=SCAN_KEYS)
                yield keys
            return
        await self._client.initialize()
        for node in self._client.get_primaries():
            cursors, keys = await self._client.scan(0, count=SCAN_KEYS, target_nodes=node)
            yield keys
            while cursor := cursors[node.name]:
                cursors, keys = await self._client.scan(cursor, count=SCAN_KEYS, target_nodes=node)
                yield keys

    async def mailboxes_of(self, twin: int) -> set[Address]:
        """The mailboxes of a twin that the counters know."""
        owners = (owner_of_field(twin, field) for field in await self._client.hkeys(stored_key(twin)))
        return {owner for owner in owners if owner is not None}

    async def check(self, twin: int, owners: Sequence[Address], now_s: int) -> list[Address]:
        """Correct the counts of some mailboxes of a twin; those that are worth looking through at this second."""
        due: list[Address] = []
        for start in range(0, len(owners), CHECK_MAILBOXES):
            part = owners[start : start + CHECK_MAILBOXES]
            keys = [self._sums_key(twin), stored_key(twin), *(self._key(owner) for owner in part)]
            numbers = await self._check(keys=keys, args=[now_s, *map(mailbox_field, part)])
            due += [part[number - 1] for number in numbers]
        return due

    async def walk(self, owner: Address, begin_until_s: int | None) -> Step:
        """The next page of a mailbox that is looked through, and counted anew on the way.

        Args:
            owner: whose mailbox.
            begin_until_s: to begin: until this second nobody else needs to; `None` to go on.
        """
        begin = "" if begin_until_s is None else str(begin_until_s)
        arguments: list[str | int] = [mailbox_field(owner), begin, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX]
        ended, page = await self._walk(keys=self._keys(owner), args=arguments)
        entries = [Entry(read_id(each), fields[1]) for each, fields in page if len(fields) == 2 and fields[0] == FIELD]
        return Step(entries, len(page), bool(ended))

    async def settle(self, owner: Address, again_s: int) -> None:
        """A mailbox was looked through: it need not be before this second."""
        await self._settle(keys=self._keys(owner), args=[mailbox_field(owner), again_s])

    def _keys(self, owner: Address) -> list[str]:
        return [self._sums_key(owner.twin), self._key(owner), stored_key(owner.twin)]

    def _key(self, owner: Address) -> str:
        return mailbox_key(owner, cluster=self._cluster)

    def _sums_key(self, twin: int) -> str:
        return stored_key(twin) if self._cluster else STORED
