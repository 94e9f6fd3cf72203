"""Who is twin N, as far as the relay asks: account, relays. It refuses to know which registry answers."""

from typing import Protocol

from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.cached import NotCached


class TwinLookup(Protocol):
    """What routing and sign-in need of `rmb_peer.registry.cached.CachedRegistry`."""

    def peek(self, twin_id: int) -> Twin | NotCached | None:
        """What is known without waiting: the twin, `None` if there is none, `NOT_CACHED` if only `get` can tell."""
        ...

    async def get(self, twin_id: int) -> Twin | None:
        """The twin, `None` if there is none.

        Raises:
            RegistryUnavailable: no answer.
        """
        ...


class NoTwins:
    """No registry: nobody is known, so nobody can sign in."""

    def peek(self, twin_id: int) -> None:
        """See `TwinLookup.peek`."""

    async def get(self, twin_id: int) -> None:
        """See `TwinLookup.get`."""
