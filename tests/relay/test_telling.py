"""Telling requesters that something was dropped (spec rmb 6.3, 6.8)."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from relay.delivery import Delivery
from relay.federation.inbound_settings import InboundSettings
from relay.feed import Feed
from relay.mailboxes import START
from relay.memory_mailboxes import MemoryMailboxes
from relay.metrics import Metrics
from relay.sessions import Sessions
from relay.telling import TEXT_CHARS_MAX, Telling
from rmb_peer.protocol.address import Address
from rmb_peer.protocol.envelope import Envelope, destination_of, parse_envelope
from rmb_peer.protocol.errors import LocalError
from rmb_peer.protocol.twin import Twin
from tests.support.relay import DOMAIN, Directory, receive, relay, request, response

NOW_S = 1_700_000_000


class Forwards:
    """Takes everything, or refuses it."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.got: list[tuple[Envelope, bytes, Twin]] = []

    async def forward(self, envelope: Envelope, data: bytes, twin: Twin) -> None:
        if self.refuses:
            raise LocalError("outbox is full")
        self.got.append((envelope, data, twin))


class Bench:
    """Twin 7 lives here, twin 8 on another relay."""

    def __init__(self, **options: int) -> None:
        self.mailboxes, self.metrics, self.sessions = MemoryMailboxes(), Metrics(), Sessions(10)
        self.delivery = Delivery(self.mailboxes, self.sessions, self.metrics)
        self.directory = Directory(7)
        self.directory.add(8, ("other.test", "third.test"))
        self.telling = Telling(
            self.delivery, self.directory, frozenset({DOMAIN}), self.metrics, lambda: NOW_S, **options
        )

    async def stored(self, owner: Address) -> list[Envelope]:
        page = await self.mailboxes.read(owner, START)
        return [parse_envelope(entry.data) for entry in page.entries]

    async def tell(self, envelope: Envelope, text: str = "message has expired") -> None:
        await self.telling.tell_sender(envelope, text)


async def test_the_error_has_the_form_of_a_relay() -> None:
    """Code 0, expiration 300, uid of the request, and neither source, destination, signature nor payload."""
    bench = Bench()
    await bench.tell(request("7:js", 9, "u", payload=b"secret"))
    (error,) = await bench.stored(Address(7, "js"))
    expected = Envelope(uid="u", timestamp=NOW_S, expiration=300)
    expected.error.message = "message has expired"
    assert error.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
    assert bench.metrics.told == {"mailbox": 1}


async def test_a_connected_requester_is_told_at_once() -> None:
    """Also when its twin lists other relays: a twin may connect anywhere (spec rmb 6.4)."""
    bench = Bench()
    feed = Feed(lambda after: bench.mailboxes.read(Address(8), after))
    bench.sessions.register(Address(8), feed, lambda: None)
    await bench.tell(request(8, 9))
    assert [parse_envelope(entry.data).error.message for entry in await feed.take()] == ["message has expired"]
    assert bench.metrics.told == {"session": 1}
    assert not bench.directory.asked


async def test_a_requester_elsewhere_is_told_through_its_relays() -> None:
    """The error names its destination then, or nobody could deliver it; still no source and no signature."""
    bench = Bench()
    bench.telling.forwards = forwards = Forwards()
    await bench.tell(request("8:s", 9, "u"), "remote relay rejected permanently: no")
    ((envelope, data, twin),) = forwards.got
    assert parse_envelope(data) == envelope
    assert destination_of(envelope) == Address(8, "s")
    assert not envelope.HasField("source") and not envelope.HasField("signature")
    assert (envelope.uid, envelope.error.message) == ("u", "remote relay rejected permanently: no")
    assert twin.relays == {"other.test", "third.test"}
    assert bench.metrics.told == {"relay": 1}


async def test_other_relays_accept_such_an_error(tmp_path: Path) -> None:
    """What is forwarded is accepted by a relay of ours, and reaches the requester there."""
    bench = Bench()
    bench.telling.forwards = forwards = Forwards()
    await bench.tell(request("8:s", 9, "u"))
    inbound = InboundSettings(open_to_all=True)
    async with (
        relay(tmp_path, Directory(8), inbound=inbound) as bed,
        bed.client(8, "s") as client,
        aiohttp.ClientSession() as http,
    ):
        envelope = forwards.got[0][0]
        envelope.timestamp = request(1, 1).timestamp
        async with http.post(f"{bed.http}/", data=envelope.SerializeToString()) as answer:
            assert answer.status == 202
        assert (await receive(client)).error.message == "message has expired"


@pytest.mark.parametrize("kind", ["response", "error", "ping", "pong", None])
async def test_only_requests_are_answered(kind: str | None) -> None:
    """Above all errors are not: so errors about errors cannot go round in circles."""
    bench = Bench()
    envelope = response(7, 9)
    envelope.ClearField("response")
    if kind:
        getattr(envelope, kind).SetInParent()
    await bench.tell(envelope)
    bench.telling.tell_soon(envelope, "x")
    assert not await bench.stored(Address(7))
    assert bench.metrics.told == {"no_request": 2}


@pytest.mark.parametrize(
    ("source", "how"), [("0", "no_source"), ("7:" + "s" * 4097, "no_source"), ("77", "unknown_twin"), ("8", "relay")]
)
async def test_requesters_that_cannot_be_told(source: str, how: str) -> None:
    """Nobody, nobody who could sign in, a twin without record; each is counted under its own name."""
    bench = Bench()
    bench.telling.forwards = Forwards()
    await bench.tell(request(source, 9))
    assert bench.metrics.told == {how: 1}


async def test_what_fails_on_the_way_is_counted() -> None:
    """No way to other relays, one that refuses, a registry that does not answer, a store that does not take it."""
    bench = Bench()
    await bench.tell(request(8, 9))
    bench.telling.forwards = Forwards(refuses=True)
    await bench.tell(request(8, 9))
    bench.directory.failing[7] = "down"
    await bench.tell(request(7, 9))
    bench.directory.failing.clear()
    bench.directory.uncached.add(7)
    await asyncio.gather(*(bench.mailboxes.append(Address(7), b"", 300) for _ in range(10_000)))
    await bench.tell(request(7, 9))
    assert bench.metrics.told == {"no_forwarding": 1, "not_forwarded": 1, "lookup_failed": 1, "store_failed": 1}


async def test_a_registry_that_hangs_does_not_hold_up_for_ever() -> None:
    """The look-up ends after a while, and the error is dropped."""
    bench = Bench(lookup_s_max=0)
    bench.directory.gates[7] = asyncio.Event()
    await bench.tell(request(7, 9))
    assert bench.metrics.told == {"lookup_failed": 1}


async def test_what_is_under_way_is_bounded_by_number() -> None:
    """At the bound everything is told, one more is dropped and counted; afterwards there is room again."""
    bench = Bench(under_way_max=2)
    bench.directory.gates[7] = gate = asyncio.Event()
    for _ in range(3):
        bench.telling.tell_soon(request(7, 9), "x")
    assert bench.metrics.told == {"busy": 1}
    await asyncio.sleep(0)  # the two have begun to wait
    bench.telling.tell_soon(request(7, 9), "x")
    await bench.tell(request(7, 9))
    assert bench.metrics.told == {"busy": 3}
    gate.set()
    await bench.telling.close()
    assert bench.metrics.told == {"busy": 3, "mailbox": 2}
    await bench.tell(request(7, 9))
    assert bench.metrics.told["mailbox"] == 3


async def test_what_is_under_way_is_bounded_by_bytes() -> None:
    """Requesters choose their uids: at the bound one is told, one byte over it is dropped."""
    bench = Bench(under_way_bytes_max=100)
    await bench.tell(request(7, 9, "u" * 100))
    await bench.tell(request(7, 9, "u" * 101))
    await bench.tell(request("7:s", 9, "u" * 100))
    assert bench.metrics.told == {"mailbox": 1, "busy": 2}


async def test_long_texts_are_cut() -> None:
    """What another relay said may be long."""
    bench = Bench()
    await bench.tell(request(7, 9), "x" * 5000)
    assert [len(error.error.message) for error in await bench.stored(Address(7))] == [TEXT_CHARS_MAX]


async def test_closing_ends_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that never ends does not hold up the end of the relay; closing twice is harmless."""
    monkeypatch.setattr("relay.telling.CLOSE_S_MAX", 0.01)
    bench = Bench()
    bench.directory.gates[7] = asyncio.Event()
    bench.telling.tell_soon(request(7, 9), "x")
    await bench.telling.close()
    await bench.telling.close()
    assert bench.metrics.told == {"cancelled": 1}
