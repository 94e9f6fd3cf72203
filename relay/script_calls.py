"""How the scripts that are called for every batch reach the store.

A single server is reached by our own pipelined connection, which costs a fraction of the library's client; a cluster by
the library's client, which knows what is where. Neither repeats a call that may have happened: whoever calls does, with
care. This module refuses to know what the scripts do.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from redis.asyncio import Redis

from relay.store import Store
from rmb_peer.store.address import StoreAddress
from rmb_peer.store.client import StoreClient
from rmb_peer.store.script import KeyedScript
from rmb_peer.store.wire import ANSWER_S_MAX


class ScriptCalls(Protocol):
    """Scripts on one store. Any number of callers at once."""

    async def run(
        self, script: KeyedScript, keys: Sequence[str], arguments: Sequence[str | bytes | int], *, large: bool = False
    ) -> Any:
        """Run a script, which the store is told where it does not know it.

        Args:
            script: which one.
            keys: KEYS; on a cluster they share a slot.
            arguments: ARGV.
            large: whether an argument may be so large that it should not be copied (`wire.LARGE_BYTES`).

        Raises:
            RedisError, RedisClusterException, OSError: `store.STORE_ERRORS`, the same classes for every store.
        """
        ...

    async def close(self) -> None:
        """Release what was opened for the calls; calls that are under way fail."""
        ...


class ServerCalls:
    """`ScriptCalls` on a single server."""

    def __init__(self, redis: Redis) -> None:
        """Nothing is connected yet.

        Args:
            redis: tells where the server is, how to sign in there, and how long to wait; it is not used for calls.
        """
        answer_s_max = redis.connection_pool.connection_kwargs.get("socket_timeout") or ANSWER_S_MAX
        self._client = StoreClient(StoreAddress.of(redis), answer_s_max=answer_s_max)

    async def run(
        self, script: KeyedScript, keys: Sequence[str], arguments: Sequence[str | bytes | int], *, large: bool = False
    ) -> Any:
        """See `ScriptCalls.run`."""
        return await self._client.run_packed(script.packed(tuple(keys), tuple(arguments), large), script.load)

    async def close(self) -> None:
        """See `ScriptCalls.close`."""
        await self._client.close()


class LibraryCalls:
    """`ScriptCalls` on a cluster, by the library's client."""

    def __init__(self, store: Store) -> None:
        """Set up; the client is not owned."""
        self._store: Any = store  # the types of both clients' commands differ without need
        self._scripts: dict[KeyedScript, Callable[..., Any]] = {}

    async def run(
        self, script: KeyedScript, keys: Sequence[str], arguments: Sequence[str | bytes | int], *, large: bool = False
    ) -> Any:
        """See `ScriptCalls.run`."""
        run = self._scripts.get(script)
        if run is None:
            self._scripts[script] = run = self._store.register_script(script.source)
        return await run(keys=keys, args=arguments)

    async def close(self) -> None:
        """See `ScriptCalls.close`: the client is not ours."""


def script_calls(store: Store) -> ScriptCalls:
    """The way to run scripts on a store.

    Args:
        store: a client of it, which must not repeat calls by itself.
    """
    return ServerCalls(store) if isinstance(store, Redis) else LibraryCalls(store)
