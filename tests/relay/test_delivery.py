"""Delivery: into the mailbox, and to whoever is connected."""

import asyncio

import pytest

from relay.delivery import PACE_S_MAX, PACED_DEPTH, Delivery
from relay.feed import Feed
from relay.mailboxes import ENTRIES_MAX, MailboxFull, Receipt
from relay.memory_mailboxes import MemoryMailboxes
from relay.metrics import Metrics
from relay.sessions import Session, Sessions
from rmb_peer.protocol.address import Address

A = Address(9)


class Bench:
    def __init__(self) -> None:
        self.mailboxes, self.sessions, self.metrics = MemoryMailboxes(), Sessions(10), Metrics()
        self.delivery = Delivery(self.mailboxes, self.sessions, self.metrics)

    async def deliver(self, data: bytes) -> None:
        """Deliver to `A`, and let the event loop tell everybody."""
        await self.delivery.deliver(A, data, 300)
        await asyncio.sleep(0)

    def connect(self, owner: Address = A) -> Session:
        return self.sessions.register(owner, Feed(lambda after: self.mailboxes.read(owner, after)), lambda: None)


async def test_an_absent_session_gets_it_later() -> None:
    """Stored, counted, and there when the session connects."""
    bench = Bench()
    await bench.deliver(b"early")
    assert not bench.delivery.connected(A)
    assert (bench.metrics.message_rx, bench.metrics.message_rx_bytes) == (1, 5)
    session = bench.connect()
    assert bench.delivery.connected(A)
    assert [entry.data for entry in await session.feed.take()] == [b"early"]
    await bench.deliver(b"now")
    assert [entry.data for entry in await session.feed.take()] == [b"now"]


async def test_a_connected_session_of_the_same_twin_is_somebody_else() -> None:
    """Only the exact identity hears of it."""
    bench = Bench()
    other = bench.connect(Address(9, ""))
    await bench.deliver(b"x")
    assert not bench.delivery.connected(A)
    assert other.feed.queued == 0


async def test_failures_are_counted() -> None:
    """What the store refuses is not counted as received."""
    bench = Bench()
    for _ in range(ENTRIES_MAX):
        await bench.deliver(b"x")
    with pytest.raises(MailboxFull):
        await bench.deliver(b"x")
    await asyncio.sleep(0)
    assert (bench.metrics.message_rx, bench.metrics.append_failures) == (ENTRIES_MAX, 1)


@pytest.mark.parametrize(
    ("depth", "pace_s"),
    [
        (0, 0.0),
        (PACED_DEPTH, 0.0),
        (PACED_DEPTH + (ENTRIES_MAX - PACED_DEPTH) // 2, PACE_S_MAX / 2),
        (ENTRIES_MAX, PACE_S_MAX),
    ],
)
async def test_senders_are_slowed_down_for_a_client_that_is_behind(depth: int, pace_s: float) -> None:
    """The further behind, the more; only for connected clients, who take away what is stored."""
    bench = Bench()
    heard: list[Receipt | Exception] = []

    def deliver() -> float:
        return bench.delivery.deliver_then(A, b"x", 300, heard.append)

    assert deliver() == 0.0
    session = bench.connect()
    session.depth = depth
    assert deliver() == pytest.approx(pace_s)
    bench.sessions.unregister(session)
    assert deliver() == 0.0
    while len(heard) < 3:
        await asyncio.sleep(0)
    assert [receipt.depth for receipt in heard if isinstance(receipt, Receipt)] == [1, 2, 3]
