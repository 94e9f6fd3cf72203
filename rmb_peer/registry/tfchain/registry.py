"""Twins on tfchain behind the contract of `registry/base.py`, and what has no place in that: creating, listing.

Reads share one connection and are gathered into batches; a write opens a connection of its own, because waiting for a
block must not hold up reads. `version` of a twin is 0: the chain itself orders updates.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rmb_peer.logs import event, get_logger
from rmb_peer.protocol.address import TWIN_ID_MAX
from rmb_peer.protocol.signatures import Signer
from rmb_peer.protocol.twin import Twin
from rmb_peer.registry.base import RegistryUnavailable
from rmb_peer.registry.tfchain.batching import Batcher
from rmb_peer.registry.tfchain.connection import WORK_S_MAX, ChainConnection
from rmb_peer.registry.tfchain.errors import (
    ChainUnavailable,
    NodeRefused,
    NoTwinToUpdate,
    RelayTextRefused,
    TwinExists,
)
from rmb_peer.registry.tfchain.node import Node
from rmb_peer.registry.tfchain.reading import (
    READ_KEYS_MAX,
    ChainCheck,
    Record,
    Unreadable,
    read_best_hash,
    read_last_twin_id,
    read_twin_of,
    read_twins,
)
from rmb_peer.registry.tfchain.records import PK_BYTES_MAX, relay_text
from rmb_peer.registry.tfchain.terms import Terms
from rmb_peer.registry.tfchain.urls import check_node_urls
from rmb_peer.registry.tfchain.writing import WRITE_S_MAX, Change, Written, write

_LOG = get_logger("chain")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list of all twins.

    Attributes:
        twins: those of this part.
        done: ids that have been looked at.
        total: ids altogether.
    """

    twins: Sequence[Twin]
    done: int
    total: int


class TfchainRegistry:
    """A client of the chain."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        connect: Callable[[Sequence[str]], ChainConnection] | None = None,
        read_s_max: float = WORK_S_MAX,
        write_s_max: float = WRITE_S_MAX,
    ) -> None:
        """Nothing is opened before the first question.

        Args:
            urls: nodes of one chain, `ws://` or `wss://`, preferred first.
            connect: makes connections, for tests.
            read_s_max: longest time for one question.
            write_s_max: longest time for one transaction.

        Raises:
            BadRequest: one of the URLs is none.
        """
        self._urls = check_node_urls(tuple(urls))
        check = ChainCheck()
        self._connect = connect or (lambda nodes: ChainConnection(nodes, check=check))
        self._reads = self._connect(self._urls)
        self._batches: Batcher[Record] = Batcher(self._read_twins, READ_KEYS_MAX)
        self._read_s_max = read_s_max
        self._write_s_max = write_s_max
        self._putting = asyncio.Lock()

    async def get(self, twin_id: int) -> Twin | None:
        """The twin with this id; `None` when there is none.

        Raises:
            ChainUnavailable: no node answers.
            RegistryUnavailable: the record cannot be read.
        """
        if not 1 <= twin_id <= TWIN_ID_MAX:
            return None
        return _readable(await self._batches.get(twin_id))

    async def get_by_account(self, account: bytes) -> Twin | None:
        """The twin of an account; `None` when there is none.

        Raises:
            ChainUnavailable: no node answers.
            RegistryUnavailable: the record cannot be read.
        """
        return _readable(await self._read(lambda node: read_twin_of(node, account)))

    async def put(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin:
        """Make the record of the signer's account say this. An equal record is left alone, since writing costs a fee.

        Raises:
            ChainUnavailable: no node answers, or nobody knows how a transaction ended.
            RegistryRefused: the chain does not do it; the text says what would help. See `errors`.
        """
        async with self._putting:
            now = await self.get_by_account(signer.account)
            if now is not None and (now.relays, now.public_key) == (relays, public_key):
                return now
            return await self._write(signer, now is None, relays, public_key, None)

    async def create(
        self, signer: Signer, relays: frozenset[str], public_key: bytes | None, terms: Terms | None = None
    ) -> Twin:
        """Make a twin for the signer's account.

        Args:
            signer: key of the account.
            relays: names as `records.chain_relays` gives them.
            public_key: 33 bytes, or `None` to receive plain payloads.
            terms: accepted in the same transaction, if the account has not accepted any.

        Raises:
            TwinExists: there is one.
            ChainUnavailable, RegistryRefused: as for `put`.
        """
        async with self._putting:
            now = await self.get_by_account(signer.account)
            if now is not None:
                raise TwinExists(f"this account has twin {now.id} already: change it with `rmb-peer twin update`")
            return await self._write(signer, True, relays, public_key, terms and terms.check())

    async def update(self, signer: Signer, relays: frozenset[str], public_key: bytes | None) -> Twin:
        """Like `put`, but never makes a twin.

        Raises:
            NoTwinToUpdate: there is none.
            ChainUnavailable, RegistryRefused: as for `put`.
        """
        if await self.get_by_account(signer.account) is None:
            raise NoTwinToUpdate("this account has no twin: make one with `rmb-peer twin create`")
        return await self.put(signer, relays, public_key)

    async def pages(self) -> AsyncIterator[Page]:
        """All twins, in the order of their ids, as they are in one block. Records that cannot be read are left out.

        Raises:
            ChainUnavailable: no node answers.
        """
        at, total = await self._read(_best_and_last)
        for first in range(1, total + 1, READ_KEYS_MAX):
            ids = range(first, min(first + READ_KEYS_MAX, total + 1))
            records = await self._read_twins(ids, at)
            yield Page([record for record in records.values() if isinstance(record, Twin)], ids[-1], total)

    async def watch(self) -> AsyncIterator[Twin]:
        """Nothing: changes are noticed when records expire, as in the Rust gateway. Never ends by itself."""
        await asyncio.Event().wait()
        yield Twin(0, b"", frozenset(), None)  # never reached: makes this a generator

    async def close(self) -> None:
        """Close the connections. Closing twice is harmless."""
        await self._batches.close()
        await self._reads.close()

    async def _read_twins(self, ids: Sequence[int], at: str | None = None) -> Mapping[int, Record]:
        return await self._read(lambda node: read_twins(node, ids, at))

    async def _read(self, work: Callable[[Node], Result]) -> Result:
        try:
            return await self._reads.call(work, limit_s=self._read_s_max)
        except NodeRefused as error:
            raise ChainUnavailable(f"the node refuses to answer: {error}") from None

    async def _write(
        self, signer: Signer, create: bool, relays: frozenset[str], public_key: bytes | None, terms: Terms | None
    ) -> Twin:
        if public_key is not None and len(public_key) > PK_BYTES_MAX:
            raise RelayTextRefused(
                f"the public key has {len(public_key)} bytes, the chain keeps at most {PK_BYTES_MAX}"
            )
        change = Change(create, relay_text(relays), public_key, terms)
        connection = self._connect(self._urls)
        try:
            written: Written = await connection.call(
                lambda node: write(node, signer, change), limit_s=self._write_s_max, repeat=False
            )
        finally:
            await connection.close()
        event(
            _LOG,
            logging.INFO if written.final else logging.WARNING,
            "our record was written" if written.final else "our record was written, but its block is not final yet",
            twin=written.twin.id,
            relays=sorted(written.twin.relays),
        )
        return written.twin


def _best_and_last(node: Node) -> tuple[str, int]:
    at = read_best_hash(node)
    return at, read_last_twin_id(node, at)


def _readable(record: Record) -> Twin | None:
    if isinstance(record, Unreadable):
        raise RegistryUnavailable(record.reason)
    return record
