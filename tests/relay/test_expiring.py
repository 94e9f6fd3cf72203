"""What has expired in a mailbox is not delivered, and its sender is told once."""

import asyncio

import pytest

from relay.delivery import Delivery
from relay.dropping import Dropping
from relay.expiring import ExpiringMailboxes, Expiry, Sieve
from relay.mailboxes import START, Entry, Mailboxes, MailboxFailed, Why
from relay.memory_mailboxes import MemoryMailboxes
from relay.metrics import Metrics
from relay.sessions import Sessions
from relay.telling import Telling
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, parse_envelope
from tests.support.relay import DOMAIN, Directory, request

A = Address(9)
T0 = 1_700_000_000


def envelope(uid: str, lifetime_s: int, timestamp: int = T0) -> bytes:
    made = request(7, 9, uid)
    made.timestamp, made.expiration = timestamp, lifetime_s
    return made.SerializeToString()


class Bench:
    def __init__(self, retain_age_s: int = 1000) -> None:
        self.now_s = float(T0)
        self.inner = MemoryMailboxes(lambda: self.now_s)
        self.gone: list[tuple[str, Why]] = []
        self.sieve = Sieve(
            self.inner, Expiry(retain_age_s), lambda e, why: self.gone.append((e.uid, why)), lambda: self.now_s
        )
        self.mailboxes: Mailboxes = ExpiringMailboxes(self.inner, self.sieve)

    async def read(self) -> list[bytes]:
        return [entry.data for entry in (await self.mailboxes.read(A, START)).entries]


@pytest.mark.parametrize(
    ("data", "now_s", "expected"),
    [
        (envelope("u", 60), T0 + 59, (T0 + 60, None, "expired")),
        (envelope("u", 60), T0 + 60, (T0 + 60, "u", "expired")),
        (envelope("u", 5000), T0 + 999, (T0 + 1000, None, "age")),
        (envelope("u", 5000), T0 + 1000, (T0 + 1000, "u", "age")),
        (envelope("u", 2**63), T0 + 1000, (T0 + 1000, "u", "age")),
        (b"\xff no envelope", T0 + 1000, (T0 + 1000, None, "age")),
    ],
)
def test_when_an_entry_ends(data: bytes, now_s: int, expected: tuple[int, str | None, Why]) -> None:
    """At the end of its own lifetime or at the age that nothing survives, whichever is earlier; at the very second."""
    ends_at_s, found, why = Expiry(1000).look_at(Entry((T0 * 1000 + 999, 0), data), now_s)
    assert (ends_at_s, found.uid if found else None, why) == expected


async def test_what_has_expired_is_left_out_and_removed() -> None:
    """Others stay, in their order; the room is free; whoever reads again finds nothing to tell."""
    bench = Bench()
    data = [envelope("a", 100), envelope("b", 500), envelope("c", 100), b"no envelope"]
    for each in data:
        await bench.mailboxes.append(A, each, 500)
    assert await bench.read() == data
    bench.now_s += 100
    assert await bench.read() == [data[1], data[3]]
    assert await bench.read() == [data[1], data[3]]
    assert bench.gone == [("a", "expired"), ("c", "expired")]
    assert [entry.data for entry in (await bench.inner.read(A, START)).entries] == [data[1], data[3]]


async def test_a_page_of_expired_entries_is_not_the_end() -> None:
    """Reading goes on behind them."""
    bench = Bench()
    for n in range(150):
        await bench.mailboxes.append(A, envelope(str(n), 100 if n < 149 else 500), 500)
    bench.now_s += 100
    page = await bench.mailboxes.read(A, START)
    assert (page.entries, page.complete) == ([], False)
    page = await bench.mailboxes.read(A, page.last)
    assert [parse_envelope(entry.data).uid for entry in page.entries] == ["149"]
    assert page.complete and len(bench.gone) == 149


async def test_two_readers_tell_once() -> None:
    """Only the one who removed it tells."""
    bench = Bench()
    await bench.mailboxes.append(A, envelope("a", 100), 500)
    page = await bench.inner.read(A, START)
    bench.now_s += 100
    await asyncio.gather(bench.sieve.sift(A, page.entries), bench.sieve.sift(A, page.entries))
    assert bench.gone == [("a", "expired")]


async def test_the_sieve_says_what_ends_next() -> None:
    """The earliest end of what is left."""
    bench = Bench()
    for uid, lifetime_s in (("a", 300), ("b", 200), ("c", 100)):
        await bench.mailboxes.append(A, envelope(uid, lifetime_s), 500)
    entries = (await bench.inner.read(A, START)).entries
    bench.now_s += 100
    kept, earliest_s = await bench.sieve.sift(A, entries)
    assert ([entry.data for entry in kept], earliest_s) == ([entry.data for entry in entries[:2]], T0 + 200)


async def test_a_store_that_fails_fails_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing was delivered and nobody told; reading again does both."""
    bench = Bench()
    await bench.mailboxes.append(A, envelope("a", 100), 500)
    bench.now_s += 100

    async def fail(owner: Address, ids: object) -> None:
        raise MailboxFailed("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(bench.inner, "remove", fail)
        with pytest.raises(MailboxFailed):
            await bench.read()
        assert bench.gone == []
    assert await bench.read() == []
    assert bench.gone == [("a", "expired")]


async def test_the_rest_is_passed_on() -> None:
    """Everything but reading is what the other mailboxes do."""
    bench = Bench()
    boxes = bench.mailboxes
    first, second = [(await boxes.append(A, envelope(uid, 500), 500, connected=True)).id for uid in "ab"]
    await boxes.delete(A, [first])
    assert await boxes.remove(A, [first, second]) == [second]
    assert boxes.has_room()
    await boxes.room()
    await boxes.ping()
    await boxes.close()


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("expired", "message has expired"),
        ("age", "message dropped: no message waits for more than 1000 s at this relay"),
        ("cap", "message dropped: the mailbox of its receiver was full, and newer messages came"),
    ],
)
async def test_senders_are_told_why(why: Why, text: str) -> None:
    """Each reason has its text (spec rmb 6.8 gives the first) and its count; what is no envelope is counted alone."""
    mailboxes, metrics = MemoryMailboxes(), Metrics()
    delivery = Delivery(mailboxes, Sessions(10), metrics)
    telling = Telling(delivery, Directory(7), frozenset({DOMAIN}), metrics, lambda: T0)
    dropping = Dropping(telling, metrics, 1000)
    if why == "cap":
        dropping.made_room(request(7, 9, "u").SerializeToString())
        dropping.made_room(b"\xff no envelope")
    else:
        dropping.gone(request(7, 9, "u"), why)
        dropping.gone(Envelope(), why)
    await telling.close()
    (entry,) = (await mailboxes.read(Address(7), START)).entries
    assert (parse_envelope(entry.data).uid, parse_envelope(entry.data).error.message) == ("u", text)
    assert metrics.dropped == {why: 2}
    assert metrics.told == {"mailbox": 1, "no_request": 1}
