"""The registry that our relay offers, found on first use.

A gateway can thus start before its relay does. This module refuses to know any backend.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from rmb_peer.protocol.errors import BadRequest
from rmb_peer.protocol.names import relay_of_url
from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import Registry, RegistryRefused, RegistryUnavailable
from rmb_peer.registry.opening import open_registry, registry_of_relay

PAUSE_S = 1.0
"""Shortest time between two rounds of asking the relays; a guess."""


class DiscoveredRegistry:
    """Asks the relays in their order until one offers a registry, and then stays with that."""

    def __init__(
        self,
        relays: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        opener: Callable[[str], Registry] = open_registry,
    ) -> None:
        """Nothing is asked before the first use.

        Args:
            relays: `ws://` or `wss://` URLs.
            clock: monotonic seconds.
            opener: makes a registry of the URL that a relay offers.

        Raises:
            BadRequest: there are no relays, or one of them is no relay's URL.
        """
        if not relays:
            raise BadRequest("no relay to ask for a registry: give --relay or --registry")
        for relay in relays:
            relay_of_url(relay)
        self._relays = list(relays)
        self._clock = clock
        self._opener = opener
        self._inner: Registry | None = None
        self._failure: RegistryUnavailable | RegistryRefused | None = None
        self._ask_again_at = 0.0
        self._lock = asyncio.Lock()
        self._closed = False

    async def get(self, twin_id: int) -> Twin | None:
        """The twin with this id; `None` when there is none.

        Raises:
            RegistryUnavailable: no registry found, or no answer from it.
        """
        return await (await self._for_reading()).get(twin_id)

    async def get_by_account(self, account: bytes) -> Twin | None:
        """The twin of an account; `None` when there is none.

        Raises:
            RegistryUnavailable: no registry found, or no answer from it.
        """
        return await (await self._for_reading()).get_by_account(account)

    async def put(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin:
        """Make the record of the signer's account say this.

        Raises:
            RegistryUnavailable: no relay answers, or the registry does not.
            RegistryRefused: no relay offers a registry, or it does not accept the record.
        """
        return await (await self._found()).put(signer, relays, public_key)

    async def watch(self) -> AsyncIterator[Twin]:
        """Records that change, once a registry is found; never ends by itself."""
        while True:
            try:
                inner = await self._for_reading()
                break
            except RegistryUnavailable:
                await asyncio.sleep(PAUSE_S)
        async for twin in inner.watch():
            yield twin

    async def close(self) -> None:
        """Close the registry, if one was found. Closing twice is harmless."""
        self._closed = True
        if self._inner is not None:
            await self._inner.close()

    async def _for_reading(self) -> Registry:
        try:
            return await self._found()
        except RegistryRefused as error:  # a read fails in one way only; see the contract
            raise RegistryUnavailable(error.detail) from error

    async def _found(self) -> Registry:
        if self._inner is not None:
            return self._inner
        async with self._lock:
            if self._inner is None:
                if self._closed:
                    raise RegistryUnavailable("the registry was closed")
                if self._failure is None or self._clock() >= self._ask_again_at:
                    await self._ask()
            if self._inner is not None:
                return self._inner
            assert self._failure is not None
            raise type(self._failure)(self._failure.detail)

    async def _ask(self) -> None:
        refused: RegistryRefused | None = None
        silent: RegistryUnavailable | None = None
        for relay in self._relays:
            try:
                self._inner = self._opener(await registry_of_relay(relay))
                return
            except RegistryRefused as error:
                refused = refused or error
            except RegistryUnavailable as error:
                silent = silent or error
        # A relay that is silent now may offer one later; "refused" is final only when all have answered.
        self._failure = silent or refused
        self._ask_again_at = self._clock() + PAUSE_S
