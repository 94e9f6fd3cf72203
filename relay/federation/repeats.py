"""Which posts were handled before: marks in the store that expire, shared by all processes of the relay.

A mark is for a relay and a body, whatever the signature, because a relay that did not hear our answer signs the same
envelope again, at a later time. What is stored once is not stored again, and the answer is the same. A signature that
was refused is not looked at twice: somebody else shows it again.

A post is marked as begun before anything is done. When this process dies in between, the mark says so until it expires,
and then the post is handled as if it were new; it may have been stored by then, and gateways recognise the repeat.

This module refuses to know HTTP.
"""

import asyncio
import hashlib
import logging
import secrets
from dataclasses import dataclass
from enum import Enum
from typing import Any

from relay.keys import posted_key
from relay.store import STORE_ERRORS, Store
from rmb_peer.logs import event, get_logger

BEGUN_MS = 60_000
"""Longer than a post can take: 10 s for the registry and 20 s for the store."""

STORED_MS = 300_000
"""How long a repeat is recognised: ten of the longest pauses of our sender, after which a gateway has to. A guess; a
relay at its rate limit has 150,000 marks of about 130 bytes then, 20 MB."""

REFUSED_MS = 130_000
"""A signature may come from `CLOCK_S_MAX` in the future, and counts until as long after that: two minutes."""

CALLS_MAX = 16
"""Commands under way at once, which bounds connections to the store; a guess."""

_NEW, _BEGUN, _STORED, _REFUSED = b"", b"b", b"s", b"r"

_BEGIN = """
local held = redis.call('GET', KEYS[1])
local mine = 'b' .. ARGV[3]
if held and held ~= mine and (string.sub(held, 1, 1) ~= 'r' or held == 'r' .. ARGV[1]) then
  return string.sub(held, 1, 1)
end
redis.call('SET', KEYS[1], mine, 'PX', ARGV[2])
return ''
"""

_LOG = get_logger("relay.federation")


class MarksFailed(Exception):
    """The store does not answer."""


class Seen(Enum):
    """What is known about a post."""

    NEW = _NEW
    BEGUN = _BEGUN
    """It is being handled, here or by another process."""
    STORED = _STORED
    REFUSED = _REFUSED
    """With this very signature."""


@dataclass(frozen=True, slots=True)
class Post:
    """What recognises a post.

    Attributes:
        key: of its mark.
        signature: hex, empty when there is none.
    """

    key: str
    signature: str


def post_of(caller: str, body: bytes, signature: bytes) -> Post:
    """What recognises a post.

    Args:
        caller: who posts; what one relay posts never hides what another one does.
        body: as it came.
        signature: of the relay, empty when there is none.
    """
    digest = hashlib.blake2b(body, digest_size=16, key=hashlib.blake2b(caller.encode(), digest_size=32).digest())
    return Post(posted_key(digest.hexdigest()), signature.hex())


class Repeats:
    """Marks in a store."""

    def __init__(self, store: Store, stored_ms: int = STORED_MS, refused_ms: int = REFUSED_MS) -> None:
        """Set up; nothing is sent yet."""
        self._store: Any = store  # the types of both clients' commands differ without need
        self._stored_ms = stored_ms
        self._refused_ms = refused_ms
        self._script = self._store.register_script(_BEGIN)
        self._calls = asyncio.Semaphore(CALLS_MAX)

    async def begin(self, post: Post) -> Seen:
        """Mark a post as begun, unless it is marked already. After `NEW`, call one of the others.

        Raises:
            MarksFailed: the store does not answer.
        """
        attempt = secrets.token_hex(8)  # the client repeats a command whose answer was lost; that is no other post
        try:
            async with self._calls:
                found: Any = await self._script(keys=[post.key], args=[post.signature, BEGUN_MS, attempt])
        except STORE_ERRORS as error:
            raise MarksFailed(str(error)) from error
        return Seen(found)

    async def stored(self, post: Post) -> None:
        """It is in a mailbox."""
        await self._set(post, _STORED, self._stored_ms)

    async def refused(self, post: Post) -> None:
        """It goes nowhere, so this signature is used up. Without a signature there is nothing to remember."""
        if post.signature:
            await self._set(post, _REFUSED + post.signature.encode(), self._refused_ms)
        else:
            await self.failed(post)

    async def failed(self, post: Post) -> None:
        """Nothing came of it through a fault of ours: it may come again at once."""
        await self._set(post, None, 0)

    async def _set(self, post: Post, value: bytes | None, ms: int) -> None:
        """What happened has happened, and is answered whether or not it can be noted."""
        try:
            async with self._calls:
                if value is None:
                    await self._store.delete(post.key)
                else:
                    await self._store.set(post.key, value, px=ms)
        except STORE_ERRORS as error:
            event(_LOG, logging.WARNING, "a post could not be marked", reason=str(error))
