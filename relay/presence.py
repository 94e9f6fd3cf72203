"""The contract of presence: where the sessions of all processes on one store are connected.

A process enters a session when it is connected and takes it out when it has gone. The newest entry wins: the store
carries them out one after the other, and whoever held the place before is told, wherever it is. An entry names the
process and the number of the registration there, so only that registration can be taken out by it.

Implementations: `redis_presence`; `Alone`, for a relay that shares its store with nobody.
"""

import asyncio
from typing import Protocol

from relay.sessions import Session
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.cached import NotCached
from rmb_peer.registry.lookup import TwinLookup


class Presence(Protocol):
    """Where sessions are."""

    @property
    def others(self) -> bool:
        """Whether other processes live."""
        ...

    def enter(self, session: Session) -> "asyncio.Future[None]":
        """A session is connected here; whoever has its place elsewhere is superseded.

        Returns:
            a future that ends when the store knows; before, the mailbox must not be read. It never fails.
        """
        ...

    def leave(self, session: Session) -> None:
        """A session is no longer connected here. Doing so twice is harmless."""
        ...

    def peek(self, owner: Address) -> bool | None:
        """Whether a session is connected to another process, as far as is known; `None` when `ask` can tell."""
        ...

    async def ask(self, twin: int) -> None:
        """Find out where the sessions of a twin are; then `peek` knows for a moment."""
        ...


class Alone:
    """The presence of a relay with one process and nobody else."""

    others = False

    def enter(self, session: Session) -> "asyncio.Future[None]":
        """See `Presence.enter`."""
        session.since = 0
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def leave(self, session: Session) -> None:
        """See `Presence.leave`; nobody was told that it is here."""

    def peek(self, owner: Address) -> bool | None:
        """See `Presence.peek`."""
        return False

    async def ask(self, twin: int) -> None:
        """See `Presence.ask`."""


ALONE = Alone()


async def connected_elsewhere(presence: Presence, owner: Address) -> bool:
    """Whether a session is connected to another process, asking if need be."""
    known = presence.peek(owner)
    if known is None:
        await presence.ask(owner.twin)
        known = presence.peek(owner)
    return bool(known)


class LookupWithPresence:
    """Who is twin N, and where are its sessions: one question for both, while there are other processes."""

    def __init__(self, lookup: TwinLookup, presence: Presence) -> None:
        """Join the two."""
        self._lookup = lookup
        self._presence = presence

    def peek(self, twin_id: int) -> Twin | NotCached | None:
        """See `TwinLookup.peek`; about the twin only."""
        return self._lookup.peek(twin_id)

    async def get(self, twin_id: int) -> Twin | None:
        """See `TwinLookup.get`."""
        if self._presence.others:
            await self._presence.ask(twin_id)
        return await self._lookup.get(twin_id)
