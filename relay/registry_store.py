"""The twins that a relay keeps for others, in its Redis or Valkey.

Ids are allocated from 1 and belong to an account for good. A record becomes visible when its twin has signed it; each
further version must be greater. Both rules are kept by scripts on the server, so that any number of relay processes can
share one store.

All keys begin with `rmb:registry:`, far from the hash `twin` of another implementation (spec rmb 7.4), and share one
hash tag, so that a cluster keeps them together. This module refuses to know HTTP.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
from redis.commands.core import AsyncScript

from relay.store import STORE_ERRORS, Store
from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.twin import Twin
from rmb_peer.protocol.twin_record import VERSION_MAX, SignedTwin, sign_twin
from rmb_peer.registry.base import RegistryRefused, RegistryUnavailable

TWINS_MAX = 1_000_000
"""Accounts with an id. A guess: about 1 GB of store, with records of the usual size."""

CLAIM_KEEP_S = 24 * 3600.0
"""How long an id waits for its first record; then the account must claim again. A guess."""

WATCH_POLL_S = 1.0
"""How often `watch` asks for changes: one small read."""

_WATCH_BATCH = 500
_CLAIMS_FORGOTTEN_AT_ONCE = 100
_PREFIX = "rmb:registry:{v1}:"
_ACCOUNTS = _PREFIX + "accounts"  # hash: account in hex -> id
_CLAIMS = _PREFIX + "claims"  # sorted set: accounts with an id and no record, by time of the claim
_LAST_ID = _PREFIX + "last-id"  # integer: the id allocated last
_RECORDS = _PREFIX + "records"  # hash: id -> signed record as JSON
_IDS = _PREFIX + "ids"  # sorted set: ids with a record, by id
_CHANGES = _PREFIX + "changes"  # sorted set: ids with a record, by number of their last change
_LAST_CHANGE = _PREFIX + "last-change"  # integer: number of the last change
_FEED = _PREFIX + "feed"  # string: random name of this numbering; another one means that the store began anew

_CLAIM_SCRIPT = """
local accounts, claims, last_id = KEYS[1], KEYS[2], KEYS[3]
local account, now, forget_before = ARGV[1], ARGV[2], ARGV[3]
local id = redis.call('HGET', accounts, account)
if id then
    redis.call('ZADD', claims, 'XX', now, account)
    return {tonumber(id), 0}
end
local late = redis.call('ZRANGEBYSCORE', claims, '-inf', '(' .. forget_before, 'LIMIT', 0, tonumber(ARGV[4]))
for _, other in ipairs(late) do
    redis.call('HDEL', accounts, other)
    redis.call('ZREM', claims, other)
end
if redis.call('HLEN', accounts) >= tonumber(ARGV[5]) then return {0, 0} end
if tonumber(redis.call('GET', last_id) or '0') >= tonumber(ARGV[6]) then return {0, 0} end
id = redis.call('INCR', last_id)
redis.call('HSET', accounts, account, id)
redis.call('ZADD', claims, now, account)
return {id, 1}
"""

_STORE_SCRIPT = """
local accounts, claims, records, ids, changes, last_change = unpack(KEYS)
local id, account, version, record = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', accounts, account) ~= id then return {'not yours', 0} end
local current = redis.call('HGET', records, id)
if current then
    local have = cjson.decode(current).version
    if tonumber(version) <= have then return {'old', have} end
end
redis.call('HSET', records, id, record)
redis.call('ZADD', ids, id, id)
redis.call('ZADD', changes, redis.call('INCR', last_change), id)
redis.call('ZREM', claims, account)
return {current and 'updated' or 'created', 0}
"""

_LOG = get_logger("relay.registry")


class IdNotYours(RegistryRefused):
    """The record's id was not allocated to its account."""


class VersionNotGreater(RegistryRefused):
    """A record of this or a later version is already here.

    Attributes:
        current: the version that is here.
    """

    def __init__(self, twin_id: int, current: int) -> None:
        super().__init__(f"the record of twin {twin_id} has version {current}: sign a greater version")
        self.current = current


class RegistryFull(RegistryRefused):
    """No further id can be allocated."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The answer to a claim.

    Attributes:
        id: the account's twin id.
        new: whether it was allocated just now.
    """

    id: int
    new: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """A piece of the feed of changes, in which each twin appears once, at its latest change.

    Attributes:
        feed: name of the numbering; when it differs from the last one seen, start again from 0.
        next: number to ask after for what follows.
        twins: the records, as they are now.
    """

    feed: str
    next: int
    twins: list[SignedTwin]


class RegistryStore:
    """The registry on `redis`. It does not own the connection: `close` leaves that open.

    Reads raise `RegistryUnavailable` when the store does not answer, as the contract of `Registry` says.
    """

    def __init__(
        self,
        redis: Store,
        *,
        twins_max: int = TWINS_MAX,
        claim_keep_s: float = CLAIM_KEEP_S,
        clock: Callable[[], float] = time.time,
        watch_poll_s: float = WATCH_POLL_S,
    ) -> None:
        self._redis: Any = redis  # the types of both clients' commands differ without need
        self._twins_max = twins_max
        self._claim_keep_s = claim_keep_s
        self._clock = clock
        self._watch_poll_s = watch_poll_s
        self._claim_script: AsyncScript = self._redis.register_script(_CLAIM_SCRIPT)
        self._store_script: AsyncScript = self._redis.register_script(_STORE_SCRIPT)

    # --- the contract of `Registry` -----------------------------------------------------------------------------------

    async def get(self, twin_id: int) -> Twin | None:
        """The twin with this id; `None` when it has no record.

        Raises:
            RegistryUnavailable: the store does not answer.
        """
        record = await self.signed(twin_id)
        return None if record is None else record.twin

    async def get_by_account(self, account: bytes) -> Twin | None:
        """The twin of an account; `None` when it has no record, even if it has claimed an id.

        Raises:
            RegistryUnavailable: the store does not answer.
        """
        record = await self.signed_by_account(account)
        return None if record is None else record.twin

    async def put(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin:
        """Make the record of the signer's account say this; an equal record is left alone.

        Raises:
            RegistryUnavailable: the store does not answer.
            RegistryRefused: the registry is full, or somebody else with the same key is quicker again and again.
        """
        while True:
            now = await self.get_by_account(signer.account)
            if now is not None and (now.relays, now.public_key) == (relays, public_key):
                return now
            twin_id, version = (now.id, now.version) if now else ((await self.claim(signer.account)).id, 0)
            if version >= VERSION_MAX:
                raise RegistryRefused(f"the record of twin {twin_id} has the last version there is")
            twin = Twin(twin_id, signer.account, relays, public_key, version + 1)
            try:
                await self.store(sign_twin(twin, signer))
            except VersionNotGreater:
                continue  # another process wrote in between; its version is greater, so this ends
            return twin

    async def watch(self) -> AsyncIterator[Twin]:
        """Records that change from now on; never ends by itself, and goes on when the store comes back."""
        feed, after = "", None
        failed = False
        while True:
            try:
                changes = await self.changes(after, _WATCH_BATCH)
            except RegistryUnavailable as error:
                if not failed:
                    event(_LOG, logging.WARNING, "changes of twins cannot be read", reason=error.detail)
                failed = True
                await asyncio.sleep(self._watch_poll_s)
                continue
            failed = False
            if feed not in ("", changes.feed):
                feed, after = changes.feed, 0
                continue
            feed, after = changes.feed, changes.next
            for record in changes.twins:
                yield record.twin
            if len(changes.twins) < _WATCH_BATCH:
                await asyncio.sleep(self._watch_poll_s)

    async def close(self) -> None:
        """Nothing to release: whoever made the connection closes it."""

    # --- what the host adds -------------------------------------------------------------------------------------------

    async def claim(self, account: bytes) -> Claimed:
        """The id of an account, allocated when it has none.

        The caller has checked that the account asks for it. An id without a record is not visible to others.

        Raises:
            RegistryUnavailable: the store does not answer.
            RegistryFull: no further id can be allocated.
        """
        now = self._clock()
        number, new = await _answer(
            self._claim_script(
                keys=[_ACCOUNTS, _CLAIMS, _LAST_ID],
                args=[
                    account.hex(),
                    now,
                    now - self._claim_keep_s,
                    _CLAIMS_FORGOTTEN_AT_ONCE,
                    self._twins_max,
                    TWIN_ID_MAX,
                ],
            )
        )
        if number == 0:
            raise RegistryFull(f"this registry is full ({self._twins_max} twins): ask its operator to raise the limit")
        return Claimed(int(number), bool(new))

    async def store(self, record: SignedTwin) -> bool:
        """Keep a record that its twin has signed.

        Returns:
            whether it is the first of this twin.

        Raises:
            InvalidSignature: the twin did not sign this.
            IdNotYours: the id was not allocated to the account.
            VersionNotGreater: this or a later version is already here.
            RegistryUnavailable: the store does not answer.
        """
        record.verify()
        twin = record.twin
        outcome, current = await _answer(
            self._store_script(
                keys=[_ACCOUNTS, _CLAIMS, _RECORDS, _IDS, _CHANGES, _LAST_CHANGE],
                args=[twin.id, twin.account.hex(), twin.version, orjson.dumps(record.to_json())],
            )
        )
        if outcome in (b"old", "old"):
            raise VersionNotGreater(twin.id, int(current))
        if outcome in (b"not yours", "not yours"):
            raise IdNotYours(f"twin id {twin.id} does not belong to this account: claim an id for it first")
        return outcome in (b"created", "created")

    async def signed(self, twin_id: int) -> SignedTwin | None:
        """The record of a twin with its signature.

        Raises:
            RegistryUnavailable: the store does not answer.
        """
        return _read(await _answer(self._redis.hget(_RECORDS, str(twin_id))), twin_id)

    async def signed_by_account(self, account: bytes) -> SignedTwin | None:
        """The record of an account with its signature.

        Raises:
            RegistryUnavailable: the store does not answer.
        """
        twin_id = await _answer(self._redis.hget(_ACCOUNTS, account.hex()))
        return None if twin_id is None else await self.signed(int(twin_id))

    async def many(self, twin_ids: Sequence[int]) -> list[SignedTwin]:
        """The records of those twins that have one, in the order asked for.

        Raises:
            RegistryUnavailable: the store does not answer.
        """
        if not twin_ids:
            return []
        stored = await _answer(self._redis.hmget(_RECORDS, [str(twin_id) for twin_id in twin_ids]))
        records = (_read(text, twin_id) for text, twin_id in zip(stored, twin_ids, strict=True))
        return [record for record in records if record is not None]

    async def page(self, after: int, limit: int) -> list[SignedTwin]:
        """Up to `limit` records of twins with an id greater than `after`, by id.

        Raises:
            RegistryUnavailable: the store does not answer.
        """
        ids = await _answer(self._redis.zrangebyscore(_IDS, f"({after}", "+inf", start=0, num=limit))
        return await self.many([int(twin_id) for twin_id in ids])

    async def changes(self, after: int | None, limit: int) -> Changes:
        """Up to `limit` twins that changed after a number, oldest change first.

        Args:
            after: `next` of the previous piece; 0 for all twins; `None` to learn the number of now.
            limit: how many at most.

        Raises:
            RegistryUnavailable: the store does not answer.
        """
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(_FEED, secrets.token_hex(8), nx=True)
        pipe.get(_FEED)
        pipe.get(_LAST_CHANGE)
        if after is not None:
            pipe.zrangebyscore(_CHANGES, f"({after}", "+inf", start=0, num=limit, withscores=True)
        _, feed, last, *found = await _answer(pipe.execute())
        name = feed.decode() if isinstance(feed, bytes) else str(feed)
        if after is None:
            return Changes(name, int(last or 0), [])
        numbered = found[0]
        twins = await self.many([int(twin_id) for twin_id, _ in numbered])
        return Changes(name, int(numbered[-1][1]) if numbered else after, twins)


async def _answer(call: object) -> Any:
    """Wait for a command; failures of the store become the contract's.

    redis-py types its commands for the synchronous client too (`Awaitable[X] | X`); here they are always awaitable.

    It also sends through `asyncio.wait_for`, which on Python 3.11 loses a cancellation that arrives just as the sending
    ends (CPython issue 86296): the command then succeeds, and a cancelled `watch` would go on for ever. The task still
    counts the request, so it is noticed here and honoured.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        return await cast(Awaitable[Any], call)
    except (*STORE_ERRORS, TimeoutError) as error:
        raise RegistryUnavailable(f"the registry's store does not answer: {error}") from error
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


def _read(stored: Any, twin_id: int) -> SignedTwin | None:
    if stored is None:
        return None
    try:
        return SignedTwin.from_json(orjson.loads(stored))
    except (orjson.JSONDecodeError, BadRequest) as error:
        raise RegistryUnavailable(f"the stored record of twin {twin_id} cannot be read: {error}") from error
