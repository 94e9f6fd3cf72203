"""What goes to a client of rmb.2, without sockets: order, bounds, and what becomes of it when the store or the client
fails at the worst moment."""

import asyncio
from collections.abc import Sequence
from typing import Any

from relay.acknowledged_intake import AcknowledgedIntake
from relay.delivery import PACED_DEPTH, Delivery
from relay.exchange import Exchange
from relay.feed import Feed
from relay.handover import WAITING_BYTES_MAX, WAITING_MAX, Handover, OnLink, Parcel
from relay.horizon import UNKNOWN
from relay.mailboxes import ENTRIES_MAX, EntryId, MailboxFailed, Page, Receipt
from relay.memory_mailboxes import MemoryMailboxes
from relay.metrics import Metrics
from relay.sessions import Session, Sessions
from relay.switch import Refusal
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.link.endings import IS_AT_PEER, IS_SAFE, Outcome, Window
from rmb_peer.protocol.link.link import Link
from tests.support.relay import DOMAIN, Directory, request

D = Address(9)


class HeldMailboxes(MemoryMailboxes):
    """Appends take effect in order, when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: list[tuple[Address, bytes, int, asyncio.Future[Receipt]]] = []
        self.hold = True

    def append(
        self, owner: Address, data: bytes, lifetime_s: int, *, connected: bool = False
    ) -> "asyncio.Future[Receipt]":
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.queue.append((owner, data, lifetime_s, future))
        if not self.hold:
            self.release()
        return future

    def release(self, error: Exception | None = None) -> None:
        """Answer everything that was appended."""
        for owner, data, lifetime_s, future in self.queue:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(super().append(owner, data, lifetime_s).result())
        self.queue.clear()

    async def stored(self, owner: Address = D) -> list[bytes]:
        return [entry.data for entry in (await self.read(owner, (0, 0))).entries]


class Ear:
    """A sender."""

    def __init__(self) -> None:
        self.heard: dict[int, Outcome | Refusal] = {}
        self.pongs: list[Parcel] = []

    def settle(self, number: int, outcome: Outcome) -> None:
        assert number not in self.heard, f"{number} is settled twice"
        self.heard[number] = outcome

    def refuse(self, number: int, refusal: Refusal) -> None:
        assert number not in self.heard, f"{number} is settled twice"
        self.heard[number] = refusal

    def pong(self, pong: Parcel) -> None:
        self.pongs.append(pong)


class Client:
    """A connected session: its handover, fed by its mailbox, and the other end of its link."""

    def __init__(self, bench: "Bench", window: Window, patience_s: float) -> None:
        self.link: Link[OnLink] = Link(Window(10, 10_000))
        self.far: Link[None] = Link(window)
        self.feed = Feed(bench.read)
        self.handover = Handover(
            D, self.link, self.feed, bench.delivery, bench.metrics, lambda: None, patience_s=patience_s
        )
        self.session: Session = bench.sessions.register(D, self.feed, self.handover.close, self.handover)
        self.got: list[tuple[int, bytes]] = []
        self._pulling = asyncio.create_task(self._pull())
        self.hear()

    async def _pull(self) -> None:
        while True:
            self.handover.add(await self.feed.take())
            await self.handover.entries_gone.wait()

    def hear(self) -> None:
        """Whatever both ends have to say reaches the other."""
        self.handover.pump()
        while (frame := self.far.take_frame()) is not None:
            self.handover.settled(self.link.received(frame).ended)
        self.handover.pump()
        while (frame := self.link.take_frame()) is not None:
            self.got += self.far.received(frame).envelopes

    def settle(self, *numbers: int) -> None:
        for number in numbers:
            self.far.settle(number, IS_SAFE)
        self.hear()

    @property
    def data(self) -> list[bytes]:
        self.hear()
        return [data for _, data in self.got]

    async def end(self) -> None:
        self._pulling.cancel()
        await asyncio.gather(self._pulling, return_exceptions=True)


class Bench:
    def __init__(self) -> None:
        self.mailboxes, self.sessions, self.metrics = HeldMailboxes(), Sessions(10), Metrics()
        self.delivery = Delivery(self.mailboxes, self.sessions, self.metrics)
        self.ear = Ear()
        self.number = 0
        self.clients: list[Client] = []

    async def read(self, after: EntryId) -> Page:
        return await self.mailboxes.read(D, after)

    async def connect(self, window: Window = Window(1000, 10**7), patience_s: float = 600.0) -> Client:  # noqa: B008
        client = Client(self, window, patience_s)
        self.clients.append(client)
        await turns()
        return client

    def offer(self, client: Client, data: bytes) -> bool:
        self.number += 1
        return client.handover.offer(Parcel(data, 300, self.ear, self.number))

    async def __aenter__(self) -> "Bench":
        return self

    async def __aexit__(self, *_: Any) -> None:
        for client in self.clients:
            client.handover.close()
            await client.end()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_from_memory_in_order() -> None:
    """What is offered to a client whose mailbox is empty reaches it; the sender hears AT_PEER."""
    async with Bench() as bench:
        client = await bench.connect()
        assert all(bench.offer(client, b"%d" % n) for n in range(3))
        assert client.data == [b"0", b"1", b"2"]
        client.settle(2, 1)
        assert bench.ear.heard == {1: IS_AT_PEER, 2: IS_AT_PEER}
        assert bench.mailboxes.queue == []


async def test_not_while_something_is_on_its_way_to_the_store() -> None:
    """What was appended before has to be known, taken and on the link first."""
    async with Bench() as bench:
        client = await bench.connect()
        bench.delivery.deliver(D, b"stored", 300)
        assert not bench.offer(client, b"younger")
        bench.mailboxes.release()
        await asyncio.sleep(0)
        assert not bench.offer(client, b"younger")  # offered to the feed, not taken
        await turns()
        assert not bench.offer(client, b"younger")  # taken, not on the link
        client.hear()
        assert bench.offer(client, b"direct")
        assert client.data == [b"stored", b"direct"]


async def test_not_while_an_append_began_before_it_connected() -> None:
    """Its mailbox looks empty, and is not."""
    async with Bench() as bench:
        bench.delivery.deliver(D, b"early", 300)
        client = await bench.connect()
        assert client.feed.live
        assert not bench.offer(client, b"younger")
        bench.mailboxes.release()
        await turns()
        assert client.data == [b"early"]
        assert bench.offer(client, b"direct")


async def test_what_waits_for_the_window_is_bounded() -> None:
    """In number and in bytes; one large envelope may wait alone."""
    async with Bench() as bench:
        client = await bench.connect(Window(1, 10**9))
        assert all(bench.offer(client, b"x") for _ in range(1 + WAITING_MAX))
        assert not bench.offer(client, b"x")
    async with Bench() as bench:
        client = await bench.connect(Window(1, 10**9))
        large = bytes(WAITING_BYTES_MAX - 1)
        assert bench.offer(client, large)  # on the link, alone
        assert bench.offer(client, large)
        assert bench.offer(client, b"x")
        assert not bench.offer(client, b"x")
    async with Bench() as bench:
        client = await bench.connect(Window(1, 10**9))
        assert bench.offer(client, b"x") and bench.offer(client, bytes(2 * WAITING_BYTES_MAX))
        assert not bench.offer(client, b"x")


async def test_whatever_is_stored_comes_after_what_is_in_memory() -> None:
    """An append for the same mailbox stores everything older first, waiting or on the link; it comes once."""
    async with Bench() as bench:
        client = await bench.connect(Window(2, 10**6))
        client.hear()
        for n in range(4):
            assert bench.offer(client, b"%d" % n)
        bench.delivery.deliver(D, b"younger", 300)
        bench.mailboxes.release()
        await turns()
        assert await bench.mailboxes.stored() == [b"0", b"1", b"2", b"3", b"younger"]
        assert bench.ear.heard == dict.fromkeys((1, 2, 3, 4), IS_SAFE)
        for number in range(1, 6):
            client.hear()
            client.settle(number)
            await turns()
        assert client.data == [b"0", b"1", b"2", b"3", b"younger"]
        assert await bench.mailboxes.stored() == []
        assert bench.offer(client, b"direct")


async def test_settled_while_it_is_being_stored() -> None:
    """AT_PEER at once; the entry is removed when it is there."""
    async with Bench() as bench:
        client = await bench.connect()
        assert bench.offer(client, b"x")
        client.hear()
        client.handover.back_up_all()
        client.settle(1)
        assert bench.ear.heard == {1: IS_AT_PEER}
        bench.mailboxes.release()
        await turns()
        assert await bench.mailboxes.stored() == []


async def test_storing_what_is_on_the_link_does_not_end_the_direct_way() -> None:
    """It is older than what follows, and on the link already."""
    async with Bench() as bench:
        client = await bench.connect()
        assert bench.offer(client, b"slow")
        client.handover.back_up_all()
        assert bench.offer(client, b"next")
        bench.mailboxes.release()
        await turns()
        assert bench.offer(client, b"after")
        assert client.data == [b"slow", b"next", b"after"]


async def test_after_the_patience_it_is_stored() -> None:
    """Those that came in time to be late, oldest first; one timer for all, and none when nothing is held."""
    async with Bench() as bench:
        bench.mailboxes.hold = False
        client = await bench.connect(patience_s=0.02)
        assert bench.offer(client, b"0") and bench.offer(client, b"1")
        client.hear()
        async with asyncio.timeout(30):
            while len(bench.ear.heard) < 2:
                await asyncio.sleep(0.005)
        assert bench.ear.heard == {1: IS_SAFE, 2: IS_SAFE}
        assert await bench.mailboxes.stored() == [b"0", b"1"]
        assert bench.metrics.backed_up == 2
        client.settle(1, 2)
        await turns()
        assert await bench.mailboxes.stored() == []


async def test_superseded_while_a_backup_is_under_way() -> None:
    """The newer connection gets it from the mailbox, and nothing overtakes it."""
    async with Bench() as bench:
        older = await bench.connect()
        assert bench.offer(older, b"0") and bench.offer(older, b"1")
        older.hear()
        newer = await bench.connect()
        assert [data for _, data, _, _ in bench.mailboxes.queue] == [b"0", b"1"]
        assert not bench.offer(older, b"late")
        assert not bench.offer(newer, b"2")
        bench.delivery.deliver(D, b"2", 300)
        bench.mailboxes.release()
        await turns()
        assert newer.data == [b"0", b"1", b"2"]
        older.settle(1)  # said before it heard that it is superseded
        await turns()
        assert await bench.mailboxes.stored() == [b"1", b"2"]
        assert bench.ear.heard == {1: IS_SAFE, 2: IS_SAFE}


async def test_what_the_store_does_not_take_is_refused() -> None:
    """Even while it is on the link: younger ones may be stored by now. What its client says later is ignored."""
    async with Bench() as bench:
        client = await bench.connect()
        assert bench.offer(client, b"x")
        client.hear()
        client.handover.back_up_all()
        bench.mailboxes.release(MailboxFailed("the disk is full"))
        await turns()
        refusal = bench.ear.heard[1]
        assert isinstance(refusal, Refusal)
        assert refusal.text == "failed to route message to peer '9': the disk is full"
        client.settle(1)
        assert bench.offer(client, b"y")
        client.hear()
        client.settle(2)
        assert bench.ear.heard[2] == IS_AT_PEER


async def test_closing_twice_stores_once() -> None:
    """And nothing is taken afterwards."""
    async with Bench() as bench:
        client = await bench.connect()
        assert bench.offer(client, b"x")
        client.handover.close()
        client.handover.close()
        assert len(bench.mailboxes.queue) == 1
        assert not bench.offer(client, b"y")


async def test_a_feed_that_starts_anew_while_a_backup_is_under_way() -> None:
    """What is on the link may come again, which its client recognises; nothing is missing, and the order stays."""
    async with Bench() as bench:
        client = await bench.connect()
        assert bench.offer(client, b"x")
        client.hear()
        client.handover.back_up_all()
        client.feed.rewind()
        bench.mailboxes.release()
        await asyncio.sleep(0)
        await turns()
        bench.mailboxes.hold = False
        bench.delivery.deliver(D, b"y", 300)
        client.hear()
        await turns()
        assert list(dict.fromkeys(client.data)) == [b"x", b"y"]


async def test_a_page_that_is_read_later_leaves_out_what_is_on_the_link() -> None:
    """A feed that is not live yet hears of it, and skips it; a live one is not disturbed."""
    bench = Bench()
    bench.mailboxes.hold = False
    feed = Feed(bench.read)
    stored = [(await bench.mailboxes.append(D, b"%d" % n, 300)).id for n in range(3)]
    feed.has(stored[1])
    assert [entry.data for entry in await feed.take()] == [b"0", b"2"]
    assert feed.drained
    feed.has((await bench.mailboxes.append(D, b"3", 300)).id)
    assert feed.drained
    feed.has(stored[0])  # ids that do not grow: somebody else deleted the stream; it is read again, without those
    assert not feed.drained
    await bench.mailboxes.append(D, b"4", 300)
    assert [entry.data for entry in await feed.take()] == [b"4"]


# --- the other way: envelopes of a client -----------------------------------------------------------------------------


def intake(bench: Bench, spawn: Any) -> AcknowledgedIntake:
    exchange = Exchange(bench.delivery, Directory(7, 9), frozenset({DOMAIN}), None, bench.metrics, lambda: NOW_S)
    return AcknowledgedIntake(Address(7), exchange, bench.ear, spawn, message_bytes_max=1000)


NOW_S = 1_700_000_000.0


def envelopes(count: int, first: int = 1) -> Sequence[tuple[int, bytes]]:
    data = request(7, 9)
    data.timestamp = int(NOW_S)
    return [(number, data.SerializeToString()) for number in range(first, first + count)]


async def test_senders_to_a_client_that_is_behind_are_slowed_down() -> None:
    """The further behind, the more, as in rmb.1; what they say about what they got does not wait for it."""
    async with Bench() as bench, asyncio.TaskGroup() as tasks:
        bench.mailboxes.hold = False
        client = await bench.connect()
        client.handover.close()  # so that everything is stored
        taking = intake(bench, tasks.create_task)
        client.session.depth = PACED_DEPTH
        taking.take(list(envelopes(10)))
        assert taking.has_room
        client.session.depth = ENTRIES_MAX
        taking.take(list(envelopes(1, 11)))
        assert not taking.has_room
        await taking.room()
        assert taking.has_room


async def test_every_way_counts_once_in_the_delivery_times() -> None:
    """Handed over at once, after waiting for the window, and from the mailbox: written once and confirmed once each."""
    async with Bench() as bench:
        bench.mailboxes.hold = False
        bench.delivery.deliver(D, b"stored", 300)
        client = await bench.connect(Window(2, 10**7))
        await turns()
        assert client.data == [b"stored"]
        assert bench.offer(client, b"at once") and bench.offer(client, b"waits")
        assert client.data == [b"stored", b"at once"]
        client.settle(*(number for number, _ in client.got))
        assert client.data == [b"stored", b"at once", b"waits"]
        client.settle(client.got[-1][0])
        client.hear()
        assert sum(bench.metrics.written.counts) == sum(bench.metrics.confirmed.counts) == 3


async def test_a_sender_that_came_from_elsewhere_waits_for_a_look() -> None:
    """Until the feed has read its mailbox after the sender came, his envelopes go through the mailbox."""
    bench = Bench()
    client = await bench.connect()
    try:
        assert bench.offer(client, b"anybody's")
        assert not client.handover.offer(Parcel(b"his", 300, bench.ear, 100), UNKNOWN)
        assert client.feed.live  # nobody knows yet since when he is here, so looking would not help
        assert not client.handover.offer(Parcel(b"his", 300, bench.ear, 101), 1)
        assert not client.feed.live
        await turns()
        assert client.feed.live
        assert bench.offer(client, b"anybody's")
    finally:
        await client.end()


async def test_everything_is_stored_before_a_page_is_read() -> None:
    """What the client was given without the mailbox is stored, and its id is known, before anybody reads."""
    bench = Bench()
    client = await bench.connect()
    try:
        assert all(bench.offer(client, b"%d" % n) for n in range(3))
        stored = asyncio.create_task(client.handover.all_stored())
        await turns()
        assert not stored.done()
        bench.mailboxes.release()
        await asyncio.wait_for(stored, 60)
        await asyncio.wait_for(client.handover.all_stored(), 60)  # nothing to do
        assert await bench.mailboxes.stored() == [b"0", b"1", b"2"]
    finally:
        await client.end()
