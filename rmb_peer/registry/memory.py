"""A registry in the memory of this process: for tests, and for trying things out in one process."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryRefused


class _Watcher:
    """What one watcher has yet to hear: each twin once, however often it changed, so that the list is bounded."""

    def __init__(self) -> None:
        self.pending: dict[int, Twin] = {}
        self.woken = asyncio.Event()


class MemoryRegistry:
    """Twins by id. Ids are allocated from 1, or above those given at the start."""

    def __init__(self, twins: Iterable[Twin] = (), *, twins_max: int = 1_000_000) -> None:
        self._twins = {twin.id: twin for twin in twins}
        self._ids = {twin.account: twin.id for twin in self._twins.values()}
        self._twins_max = twins_max
        self._watchers: set[_Watcher] = set()
        assert len(self._ids) == len(self._twins), "two twins with one account"

    async def get(self, twin_id: int) -> Twin | None:
        """The twin with this id; `None` when there is none."""
        return self._twins.get(twin_id)

    async def get_by_account(self, account: bytes) -> Twin | None:
        """The twin of an account; `None` when there is none."""
        twin_id = self._ids.get(account)
        return None if twin_id is None else self._twins[twin_id]

    async def put(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin:
        """Make the record of the signer's account say this; an equal record is left alone.

        Raises:
            RegistryRefused: there are too many twins.
        """
        old = await self.get_by_account(signer.account)
        if old is None:
            twin_id = max(self._twins, default=0) + 1
            if len(self._twins) >= self._twins_max or twin_id > TWIN_ID_MAX:
                raise RegistryRefused(f"this registry is full ({self._twins_max} twins)")
            twin = Twin(twin_id, signer.account, relays, public_key, version=1)
        else:
            if (old.relays, old.public_key) == (relays, public_key):
                return old
            twin = replace(old, relays=relays, public_key=public_key, version=old.version + 1)
        self._twins[twin.id] = twin
        self._ids[twin.account] = twin.id
        for watcher in self._watchers:
            watcher.pending[twin.id] = twin
            watcher.woken.set()
        return twin

    async def watch(self) -> AsyncIterator[Twin]:
        """Records that change from now on; never ends by itself."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            while True:
                await watcher.woken.wait()
                watcher.woken.clear()
                while watcher.pending:
                    yield watcher.pending.pop(next(iter(watcher.pending)))
        finally:
            self._watchers.discard(watcher)

    async def close(self) -> None:
        """Nothing to release."""
