"""Who is twin N, for those who only ask: what is known at once, and a question. It refuses to know who answers."""

from typing import Protocol

from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.cached import NotCached


class TwinLookup(Protocol):
    """What routing, sign-in and sending need of `cached.CachedRegistry`."""

    def peek(self, twin_id: int) -> Twin | NotCached | None:
        """What is known without waiting: the twin, `None` if there is none, `NOT_CACHED` if only `get` can tell."""
        ...

    async def get(self, twin_id: int) -> Twin | None:
        """The twin, `None` if there is none.

        Raises:
            RegistryUnavailable: no answer.
        """
        ...
